//! Shows settings, and changes them by a patch.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::input::fault::{Fault, FaultCode};
use crate::input::json::{self, Members};

/// Returns the settings for display: without secrets, a client certificate by its properties, trusted authorities in
/// PEM.
#[must_use]
pub fn shown(endpoint: &Endpoint, trusted: Option<&str>) -> Value {
    let mut shown = json!(endpoint);
    if let Some(pem) = trusted {
        shown["auth"]["trustStore"] = json!({"format": "pem", "content": pem});
    }
    if let Some(auth) = shown["auth"].as_object_mut() {
        auth.remove("secretHeader"); // A part of the secret's text, which is not shown.
    }
    if let (Some(_), Some(shown)) = (&endpoint.destination, shown.as_object_mut()) {
        shown.remove("url"); // It follows from the destination.
    }
    shown
}

/// Applies a JSON Merge Patch (RFC 7396) to the settings. Returns the complete result, as input for [`super::read`].
///
/// Another `auth.kind` replaces all of `auth`. Another kind of retry policy replaces all of `retry`. The members of the
/// old kind mean nothing for the new kind.
///
/// The result keeps a member that the patch removes, as `null`, and it keeps duplicate members. Therefore the reader
/// validates the patch and not only its result. The spelling of values does not change.
///
/// # Errors
/// The patch is not a JSON object.
pub fn patched(endpoint: &Endpoint, trusted: Option<&str>, patch: &str) -> Result<String, Vec<Fault>> {
    const EXPECTED: &str = "a JSON Merge Patch (RFC 7396) of the settings";
    let patch = json::parse(patch, EXPECTED)?;
    let Some(members) = members_of(patch) else {
        return Err(vec![Fault::whole("not a JSON object", EXPECTED).code(FaultCode::WrongType)]);
    };
    let mut settings = shown(endpoint, trusted);
    if let Some(auth) = settings["auth"].as_object_mut() {
        auth.remove("certificate"); // It is read-only.
        let kind = member(&members, "auth").and_then(|auth| member(&members_of(auth)?, "kind"));
        if kind.is_some_and(|kind| value_of(kind).as_ref() != auth.get("kind")) {
            auth.clear();
        }
    }
    change_target(&mut settings, &members);
    if let Some(retry) = settings["retry"].as_object_mut()
        && member(&members, "retry").and_then(members_of).is_some_and(|new| is_another_kind(&new, retry))
    {
        retry.clear();
    }
    if let Some(headers) = settings["headers"].as_object_mut()
        && let Some(new) = member(&members, "headers").and_then(members_of)
    {
        // The names of headers are case-insensitive (RFC 9110, section 5.1).
        headers.retain(|known, _| !new.iter().any(|(name, _)| name.eq_ignore_ascii_case(known)));
    }
    Ok(merged(Some(&settings), patch, MAX_LEVELS))
}

/// The maximum depth of a merge, which is more than settings have: a filter has ten objects in each other. Deeper members
/// are not settings, and the reader reports them.
const MAX_LEVELS: usize = 16;

type MembersOf<'a> = [(Cow<'a, str>, &'a RawValue)];

fn members_of(value: &RawValue) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_str(value.get()).ok().map(|Members(members)| members)
}

fn member<'a>(members: &MembersOf<'a>, name: &str) -> Option<&'a RawValue> {
    members.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

fn value_of(value: &RawValue) -> Option<Value> {
    serde_json::from_str(value.get()).ok()
}

/// Removes what a patch of the destination replaces: another kind replaces all of it, and a destination replaces the URL.
fn change_target(settings: &mut Value, members: &MembersOf<'_>) {
    let new = member(members, "destination").and_then(members_of);
    let Some(settings) = settings.as_object_mut() else { return };
    if let Some(destination) = settings.get_mut("destination").and_then(Value::as_object_mut) {
        destination.remove("externalId"); // It is read-only.
        let kind = new.as_ref().and_then(|new| member(new, "kind"));
        if kind.is_some_and(|kind| value_of(kind).as_ref() != destination.get("kind")) {
            destination.clear();
        }
    } else if new.is_some() && member(members, "url").is_none() {
        settings.remove("url");
    }
}

/// Returns whether a patch changes the kind of a retry policy: with or without a schedule, or with another backoff.
fn is_another_kind(new: &MembersOf<'_>, retry: &Map<String, Value>) -> bool {
    let is_removed = |value: &RawValue| value.get() == "null";
    let schedule = member(new, "schedule");
    let gets_schedule = schedule.is_some_and(|schedule| schedule.get().starts_with('['));
    let loses_schedule = retry.contains_key("schedule")
        && (schedule.is_some_and(is_removed) || new.iter().any(|(_, value)| !is_removed(value)));
    let backoff = member(new, "backoff").map(|backoff| value_of(backoff).filter(|value| !value.is_null()));
    let changes_backoff = backoff.zip(retry.get("backoff")).is_some_and(|(new, old)| {
        new.unwrap_or_else(|| "fixed".into()) != *old // The default, if the policy has none.
    });
    gets_schedule || loses_schedule || changes_backoff
}

/// Merges a patch into its target (RFC 7396, section 2) and returns the JSON of the result. Each `null` of the patch
/// stays in it.
fn merged(target: Option<&Value>, patch: &RawValue, levels: usize) -> String {
    let Some(members) = members_of(patch).filter(|_| levels > 0) else { return patch.get().to_owned() };
    let target = target.and_then(Value::as_object);
    let kept = target.into_iter().flatten().filter(|(name, _)| members.iter().all(|(known, _)| *known != **name));
    let kept = kept.map(|(name, value)| format!("{}:{value}", json!(name)));
    let patched = members.iter().map(|(name, value)| {
        let target = target.and_then(|target| target.get(&**name));
        format!("{}:{}", json!(name), merged(target, value, levels - 1))
    });
    format!("{{{}}}", kept.chain(patched).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::settings::tests::CONTEXT;
    use crate::endpoint::settings::{Context, Stored, read};

    #[test]
    fn a_patch_is_validated_and_not_only_its_result() {
        let stored = |auth: &str| -> Endpoint {
            let settings = r#"{"url":"https://a.example","headers":{"X-Team":"a"},"retry":{"schedule":[7]},"auth":"#;
            serde_json::from_str(&format!("{settings}{auth}}}")).unwrap()
        };
        let none = stored(r#"{"kind":"none"}"#);
        let named = stored(r#"{"kind":"apiKey","header":"X-Key"}"#);
        let vendors = stored(r#"{"kind":"apiKey","secretHeader":"x-key"}"#);
        let mtls = stored(r#"{"kind":"mtls","certificate":{"subject":"CN=a","notAfter":"2100-01-01T00:00:00Z"}}"#);
        let cases: [(_, _, &[&str], _); 33] = [
            (&none, r#"{"colour":null}"#, &["/colour"], "an unknown member, removed"),
            (&none, r#"{"auth":{"colour":null}}"#, &["/auth/colour"], "further in"),
            (&none, r#"{"retry":{"colour":null}}"#, &["/retry/colour"], "further in"),
            (&none, r#"{"Description":null}"#, &["/Description"], "another case"),
            (&none, r#"{"id":null}"#, &["/id"], "read-only"),
            (&none, r#"{"enabled":null}"#, &["/enabled"], "read-only"),
            (&none, r#"{"auth":{"secret":null}}"#, &["/auth/secret"], "of another kind"),
            (&none, r#"{"description":"a","description":"b"}"#, &["/description"], "a member twice"),
            (&none, r#"{"description":"a","description":null}"#, &["/description"], "a member twice, once removed"),
            (&none, r#"{"headers":{"a":"1","a":null}}"#, &["/headers/a"], "a header twice"),
            (&none, r#"{"headers":{"a":"1","A":"2"}}"#, &["/headers/a"], "a header in two cases"),
            (&none, r#"{"types":[{"type":"a","type":"b"}]}"#, &["/types/0/type"], "a member twice in a list"),
            (&none, r#"{"types":[{"type":"a","statuses":null}]}"#, &["/types/0/statuses"], "no merge in lists"),
            (&none, r#"{"description":{"a":null}}"#, &["/description"], "an object instead of a text"),
            (&none, r#"{"fields":{"a":{"b":null}}}"#, &["/fields/a"], "an object instead of a list"),
            (&none, r#"{"fields":{"":null}}"#, &["/fields/"], "no event type"),
            (&none, r#"{"headers":{"Host":null}}"#, &["/headers/Host"], "a header that Signpost sets"),
            (&none, r#"{"headers":{"a b":null}}"#, &["/headers/a b"], "not a header name"),
            (&none, r#"{"retry":{"maxRetries":1e400}}"#, &["/retry/maxRetries"], "a number too large to parse"),
            (&none, r#"{"url":null}"#, &["/url"], "required"),
            (&none, r#"{"description":null,"headers":{"x-absent":null},"auth":null,"retry":null}"#, &[], "defaults"),
            (&none, r#"{"retry":{"maxRetries":null}}"#, &[], "nothing to remove"),
            (&none, r#"{"headers":{"x-team":"b"}}"#, &[], "the header in another case"),
            (&named, r#"{"headers":{"x-key":"b"}}"#, &["/headers"], "the API key's own header"),
            (&vendors, r#"{"headers":{"X-Key":"b"}}"#, &["/headers"], "the API key's own header"),
            (&vendors, r#"{"auth":{"secret":"x-team:v"}}"#, &["/auth/secret"], "a header of its own"),
            (&named, r#"{"auth":{"header":"X-Other"}}"#, &["/auth/secret"], "the secret was sealed with its header"),
            (&named, r#"{"auth":{"secret":null}}"#, &["/auth/secret"], "nothing authenticates without it"),
            (&named, r#"{"auth":{"header":null}}"#, &["/auth/secret"], "the secret was sealed with its header"),
            (&vendors, r#"{"auth":{"header":"X-KEY"}}"#, &[], "the same header"),
            (&vendors, r#"{"auth":{"secretHeader":null}}"#, &["/auth/secretHeader"], "internal, for storage only"),
            (&mtls, r#"{"auth":{"certificate":{"subject":"CN=b"}}}"#, &["/auth/certificate"], "read-only"),
            (
                &mtls,
                r#"{"auth":{"certificate":{"subject":"CN=a","notAfter":"2100-01-01T00:00:00Z"}}}"#,
                &[],
                "unchanged",
            ),
        ];
        for (endpoint, patch, expected, why) in cases {
            let context = Context { stored: Some(Stored { endpoint, trusted: None }), ..CONTEXT };
            let faults = read(&patched(endpoint, None, patch).unwrap(), context).err().unwrap_or_default();
            assert_eq!(faults.iter().map(|fault| &*fault.pointer).collect::<Vec<_>>(), expected, "{patch}: {why}");
        }
    }

    #[test]
    fn a_patch_of_another_case_replaces_or_removes_a_header() {
        let endpoint: Endpoint =
            serde_json::from_str(r#"{"url":"https://a.example","headers":{"X-Team":"a","b":"1"}}"#).unwrap();
        for (patch, expected) in [
            (r#"{"headers":{"x-team":"c"}}"#, json!({"x-team": "c", "b": "1"})),
            (r#"{"headers":{"x-team":null}}"#, json!({"b": "1"})),
        ] {
            let context = Context { stored: Some(Stored { endpoint: &endpoint, trusted: None }), ..CONTEXT };
            let read = read(&patched(&endpoint, None, patch).unwrap(), context).unwrap();
            assert_eq!(json!(read.endpoint.headers), expected);
        }
    }

    #[test]
    fn a_filter_is_merged_too() {
        let endpoint: Endpoint =
            serde_json::from_str(r#"{"url":"https://a.example","filter":{"data":{"a":[1]},"type":["x"]}}"#).unwrap();
        let context = Context { stored: Some(Stored { endpoint: &endpoint, trusted: None }), ..CONTEXT };
        let cases = [
            (r#"{"filter":{"data":{"b":[2]}}}"#, json!({"data": {"a": [1], "b": [2]}, "type": ["x"]}), "a field more"),
            (r#"{"filter":{"data":{"a":null,"b":[null]}}}"#, json!({"data": {"b": [null]}, "type": ["x"]}), "one less"),
            (r#"{"filter":{"data":null}}"#, json!({"type": ["x"]}), "no fields of `data`"),
            (
                r#"{"filter":{"data":{"a":{"b":{"c":[3]}}}}}"#,
                json!({"data": {"a": {"b": {"c": [3]}}}, "type": ["x"]}),
                "deep",
            ),
            (r#"{"filter":null}"#, Value::Null, "no filter"),
            (r#"{"description":"d"}"#, json!({"data": {"a": [1]}, "type": ["x"]}), "it stays"),
        ];
        for (patch, expected, why) in cases {
            let read = read(&patched(&endpoint, None, patch).unwrap(), context).unwrap();
            assert_eq!(json!(read.endpoint.filter), expected, "{why}");
        }
        for (patch, expected) in [
            (r#"{"filter":{"data":{"a":null}}}"#, "/filter/data"),
            (r#"{"filter":{"data":{"a":[1],"a":[2]}}}"#, "/filter/data/a"),
            (r#"{"filter":{"data":{"a":[1],"a":null}}}"#, "/filter/data/a"),
            (r#"{"filter":{"time":null}}"#, "/filter/time"),
            (r#"{"filter":[]}"#, "/filter"),
        ] {
            let faults = read(&patched(&endpoint, None, patch).unwrap(), context).unwrap_err();
            assert_eq!(faults[0].pointer, expected, "{patch}");
        }
    }

    #[test]
    fn a_patch_is_merged_as_rfc_7396_says_and_a_new_kind_of_authentication_starts_afresh() {
        let endpoint = |settings: &str| serde_json::from_str::<Endpoint>(settings).unwrap();
        let oauth2 = r#"{"url":"https://a.example","description":"d","auth":{"kind":"oauth2","tokenUrl":"https://t.example","clientId":"c","scope":"s"},"headers":{"a":"1","b":"2"}}"#;
        let cases = [
            (
                r#"{"description":null,"headers":{"a":null,"c":"3"}}"#,
                "/headers",
                json!({"a": null, "b": "2", "c": "3"}),
            ),
            (r#"{"auth":{"scope":null}}"#, "/auth/scope", Value::Null),
            (r#"{"auth":{"clientId":"d"}}"#, "/auth/scope", json!("s")),
            (r#"{"auth":{"kind":"basic","secret":"u:p"}}"#, "/auth", json!({"kind": "basic", "secret": "u:p"})),
            (r#"{"auth":null}"#, "/auth", Value::Null),
            (r#"{"retry":{"maxRetries":3}}"#, "/retry", json!({"maxRetries": 3})), // The default's schedule goes.
            (r#"{"retry":{"schedule":[7]}}"#, "/retry", json!({"schedule": [7]})),
            (r#"{"retry":{"backoff":"exponential"}}"#, "/retry", json!({"backoff": "exponential"})),
            (r#"{"retry":{"backoff":null,"maxRetries":2}}"#, "/retry/maxRetries", json!(2)),
            ("{}", "/url", json!("https://a.example")),
        ];
        for (patch, pointer, expected) in cases {
            let merged: Value = serde_json::from_str(&patched(&endpoint(oauth2), None, patch).unwrap()).unwrap();
            assert_eq!(merged.pointer(pointer).cloned().unwrap_or_default(), expected, "{patch}");
        }
        for bad in ["[]", "null", "{", "\"url\""] {
            assert!(patched(&endpoint(oauth2), None, bad).is_err(), "{bad}");
        }
    }
}
