//! Settings shown, and changed by a patch.

use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::fault::Fault;

/// Gives the settings as they are shown: without secrets, a client certificate by its facts, trusted authorities in PEM.
#[must_use]
pub fn shown(endpoint: &Endpoint, trusted: Option<&str>) -> Value {
    let mut shown = json!(endpoint);
    if let Some(pem) = trusted {
        shown["auth"]["trustStore"] = json!({"format": "pem", "content": pem});
    }
    shown
}

/// Applies a JSON Merge Patch (RFC 7396) to the settings and gives the whole of what comes out, to be [`super::read`].
///
/// Another `auth.kind` replaces all of `auth`, and a retry policy of another kind all of `retry`: what belongs to the
/// former kind means nothing under the new one.
///
/// # Errors
/// The patch is no JSON object.
pub fn patched(endpoint: &Endpoint, trusted: Option<&str>, patch: &str) -> Result<String, Vec<Fault>> {
    const EXPECTED: &str = "a JSON Merge Patch (RFC 7396) of the settings";
    let patch: Value = serde_json::from_str(patch).map_err(|error| vec![Fault::whole(error.to_string(), EXPECTED)])?;
    if !patch.is_object() {
        return Err(vec![Fault::whole("no JSON object", EXPECTED)]);
    }
    let mut settings = shown(endpoint, trusted);
    if let Some(auth) = settings["auth"].as_object_mut() {
        auth.remove("certificate"); // It is shown, and not set.
        if patch["auth"].get("kind").is_some_and(|kind| Some(kind) != auth.get("kind")) {
            auth.clear();
        }
    }
    if let Some(retry) = settings["retry"].as_object_mut() {
        let new = &patch["retry"];
        let gets_schedule = new["schedule"].is_array();
        let loses_schedule = retry.contains_key("schedule") && new.as_object().is_some_and(|new| !new.is_empty());
        let changes_backoff = new.get("backoff").is_some_and(|backoff| Some(backoff) != retry.get("backoff"));
        if gets_schedule || loses_schedule || changes_backoff {
            retry.clear();
        }
    }
    json_patch::merge(&mut settings, &patch);
    Ok(settings.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_merged_as_rfc_7396_says_and_a_new_kind_of_authentication_starts_afresh() {
        let endpoint = |settings: &str| serde_json::from_str::<Endpoint>(settings).unwrap();
        let oauth2 = r#"{"url":"https://a.example","description":"d","auth":{"kind":"oauth2","tokenUrl":"https://t.example","clientId":"c","scope":"s"},"headers":{"a":"1","b":"2"}}"#;
        let cases = [
            (r#"{"description":null,"headers":{"a":null,"c":"3"}}"#, "/headers", json!({"b": "2", "c": "3"})),
            (r#"{"auth":{"scope":null}}"#, "/auth/scope", Value::Null),
            (r#"{"auth":{"clientId":"d"}}"#, "/auth/scope", json!("s")),
            (r#"{"auth":{"kind":"basic","secret":"u:p"}}"#, "/auth", json!({"kind": "basic", "secret": "u:p"})),
            (r#"{"auth":null}"#, "/auth", Value::Null),
            (r#"{"retry":{"maxRetries":3}}"#, "/retry", json!({"maxRetries": 3})), // The default's schedule goes.
            (r#"{"retry":{"schedule":[7]}}"#, "/retry", json!({"schedule": [7]})),
            (r#"{"retry":{"backoff":"exponential"}}"#, "/retry", json!({"backoff": "exponential"})),
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
