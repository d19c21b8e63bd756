//! Bodies of requests about an endpoint that are not its settings.

use std::time::Duration;

use crate::endpoint::EndpointId;
use crate::endpoint::filter::Filter;
use crate::event::{Event, TenantId};
use crate::input::fault::{Fault, FaultCode, Faults};
use crate::input::json;
use crate::input::moment::{MOMENT, unix_ms};
use crate::input::object::{Found, Object};

/// How long the old signing secret still signs after a rotation, unless the operator sets another time.
pub const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// The effect of a rotation on the older secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// All older secrets end at once, even if they had a later end, because one has leaked.
    EndAllOthers,
    /// The newest of the older secrets still signs for this time. Secrets that already have an end keep it.
    Overlap(Duration),
}

/// Reads how to rotate a secret: `{"overlapSeconds":…}`, 0 to a week, or `{"endAllOthers":true}`. The body is optional.
///
/// # Errors
/// All faults.
pub fn rotation(text: Option<&str>) -> Result<Rotation, Vec<Fault>> {
    let Some(text) = text else { return Ok(Rotation::Overlap(DEFAULT_OVERLAP)) };
    let value = json::parse(text, "{\"overlapSeconds\":…}, {\"endAllOthers\":true}, or no body")?;
    let mut faults = Faults::default();
    let (mut overlap, mut ends_all) = (Some(DEFAULT_OVERLAP), false);
    if let Some(mut object) = Object::open(&Found::whole(value), &mut faults) {
        let seconds = object.member("overlapSeconds");
        if let Some(found) = object.member("endAllOthers") {
            ends_all = found.read("true or false", &mut faults).unwrap_or_default();
            if ends_all && seconds.is_some() {
                let expected = "either `endAllOthers` or `overlapSeconds`";
                faults.push(Fault::at(&found.pointer, found.value, expected).code(FaultCode::Conflict));
            }
        }
        if let Some(found) = seconds {
            overlap = found.within(0..=604_800, &mut faults).map(|seconds| Duration::from_secs(seconds.into()));
        }
        object.close(&mut faults);
    }
    faults.none()?;
    let overlap = Rotation::Overlap(overlap.unwrap_or(DEFAULT_OVERLAP));
    Ok(if ends_all { Rotation::EndAllOthers } else { overlap })
}

/// Reads the type of a test event: `{"type":"…"}`. The body is optional.
///
/// # Errors
/// All faults.
pub fn test_type(text: Option<&str>) -> Result<Option<String>, Vec<Fault>> {
    let Some(text) = text else { return Ok(None) };
    let value = json::parse(text, "{\"type\":\"…\"}, or no body")?;
    let mut faults = Faults::default();
    let mut kind = None;
    if let Some(mut object) = Object::open(&Found::whole(value), &mut faults) {
        kind = object.member("type").and_then(|found| found.text(MAX_TYPE, &mut faults));
        object.close(&mut faults);
    }
    faults.none().map(|()| kind)
}

/// How many characters the type of a test event may have.
const MAX_TYPE: usize = 128;

/// The body of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The endpoint, even if its types do not include the event; none for every endpoint that subscribes to it.
    pub endpoint: Option<EndpointId>,
    /// Whether to send nothing, and only list the endpoints.
    pub is_dry_run: bool,
}

/// Reads a replay, `{"endpoint":"ep_…","dryRun":true}`. The body is optional, and so is each member.
///
/// # Errors
/// All faults.
pub fn replay(text: Option<&str>) -> Result<Replay, Vec<Fault>> {
    let (Some(text), mut replay) = (text, Replay::default()) else { return Ok(Replay::default()) };
    let value = json::parse(text, "{\"endpoint\":\"ep_…\"}, {\"dryRun\":true}, or no body")?;
    let mut faults = Faults::default();
    if let Some(mut object) = Object::open(&Found::whole(value), &mut faults) {
        if let Some(found) = object.member("endpoint") {
            let text: Option<String> = found.read(ENDPOINT_ID, &mut faults);
            replay.endpoint = text.as_deref().and_then(EndpointId::parse);
            if text.is_some() && replay.endpoint.is_none() {
                faults.push(Fault::at(&found.pointer, found.value, ENDPOINT_ID));
            }
        }
        if let Some(found) = object.member("dryRun") {
            replay.is_dry_run = found.read("true or false", &mut faults).unwrap_or_default();
        }
        object.close(&mut faults);
    }
    faults.none().map(|()| replay)
}

/// A filter and an event that are to be compared.
#[derive(Debug)]
pub struct FilterTest {
    /// The filter.
    pub filter: Filter,
    /// The event, as a producer of the tenant would submit it.
    pub event: Event,
}

/// Reads a filter and an event, `{"filter":{…},"event":{…}}`.
///
/// # Errors
/// All faults of both. An event of another tenant than `tenant` is one of them.
pub fn filter_test(text: &str, tenant: &TenantId) -> Result<FilterTest, Vec<Fault>> {
    const FILTER: &str = "a filter";
    const EVENT: &str = "an event in the CloudEvents JSON format";
    let value = json::parse(text, "{\"filter\":{…},\"event\":{…}}")?;
    let (mut faults, mut filter, mut event) = (Faults::default(), None, None);
    if let Some(mut object) = Object::open(&Found::whole(value), &mut faults) {
        match object.member("filter") {
            None => faults.push(Fault::missing("filter", FILTER)),
            Some(found) => filter = Filter::read(&found, &mut faults),
        }
        match object.member("event") {
            None => faults.push(Fault::missing("event", EVENT)),
            Some(found) => match Event::parse(found.value.get()) {
                Ok(parsed) if parsed.key.tenant != *tenant => {
                    let expected = format!("`{tenant}`, the tenant of the path");
                    faults.push(Fault::of_text("/event/tenant".into(), parsed.key.tenant.as_str(), expected));
                }
                Ok(parsed) => event = Some(parsed),
                Err(found) => faults.extend(found.into_iter().map(|fault| {
                    let pointer = format!("/event{}", fault.pointer);
                    fault.under(pointer)
                })),
            },
        }
        object.close(&mut faults);
    }
    faults.none()?;
    let both = filter.zip(event).map(|(filter, event)| FilterTest { filter, event });
    both.ok_or_else(|| vec![Fault::whole("a value that cannot be read", "a filter and an event")])
}

/// Reads the start time of an endpoint's recovery, `{"since":"2026-01-31T10:00:00Z"}`. Returns milliseconds since the
/// Unix epoch.
///
/// # Errors
/// All faults.
pub fn since(text: &str) -> Result<u64, Vec<Fault>> {
    let value = json::parse(text, "{\"since\":…}")?;
    let (mut faults, mut since) = (Faults::default(), None);
    if let Some(mut object) = Object::open(&Found::whole(value), &mut faults) {
        match object.member("since") {
            None => faults.push(Fault::missing("since", MOMENT)),
            Some(found) => {
                let text: Option<String> = found.read(MOMENT, &mut faults);
                since = text.as_deref().and_then(unix_ms);
                if text.is_some() && since.is_none() {
                    faults.push(Fault::at(&found.pointer, found.value, MOMENT));
                }
            }
        }
        object.close(&mut faults);
    }
    faults.none().map(|()| since.unwrap_or_default())
}

const ENDPOINT_ID: &str = "an endpoint's id, `ep_` and 32 hexadecimal digits";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_tried_with_an_event_of_the_tenant() {
        let tenant = TenantId::parse("acme").unwrap();
        let event = r#"{"specversion":"1.0","id":"1","source":"/core","type":"invoice","tenant":"acme","data":{}}"#;
        let read = |text: &str| filter_test(text, &tenant);
        let fine = read(&format!(r#"{{"filter":{{"type":["invoice"]}},"event":{event}}}"#)).unwrap();
        assert_eq!((fine.filter.json(), &*fine.event.kind), (r#"{"type":["invoice"]}"#, "invoice"));
        let foreign = event.replace("acme", "initech");
        let cases = [
            ("[]".to_owned(), vec![""]),
            ("{}".to_owned(), vec!["/filter", "/event"]),
            (format!(r#"{{"filter":null,"event":{event}}}"#), vec!["/filter"]),
            (
                r#"{"filter":{"type":[]},"event":{"id":7},"colour":1}"#.to_owned(),
                vec![
                    "/filter/type",
                    "/event/specversion",
                    "/event/id",
                    "/event/source",
                    "/event/type",
                    "/event/tenant",
                    "/event/data",
                    "/colour",
                ],
            ),
            (format!(r#"{{"filter":{{"type":["a"]}},"event":{foreign}}}"#), vec!["/event/tenant"]),
        ];
        for (text, expected) in cases {
            let faults = read(&text).unwrap_err();
            assert_eq!(faults.iter().map(|fault| &*fault.pointer).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn a_recovery_begins_at_a_moment() {
        assert_eq!(since(r#"{"since":"1970-01-01T00:00:01.5Z"}"#), Ok(1_500));
        assert_eq!(since(r#"{"since":"1970-01-01T01:00:00+01:00"}"#), Ok(0));
        assert_eq!(since(r#"{"since":"1969-12-31T23:59:59Z"}"#), Ok(0));
        for bad in ["", "{}", r#"{"since":"yesterday"}"#, r#"{"since":7}"#, r#"{"since":null}"#] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_replay_is_for_all_or_for_one() {
        let id = "ep_00000000000000000000000000000007";
        let named = format!(r#"{{"endpoint":"{id}"}}"#);
        assert_eq!((replay(None), replay(Some("{}"))), (Ok(Replay::default()), Ok(Replay::default())));
        assert_eq!(replay(Some(&named)), Ok(Replay { endpoint: EndpointId::parse(id), is_dry_run: false }));
        let dry = replay(Some(r#"{"dryRun":true}"#));
        assert_eq!(dry, Ok(Replay { endpoint: None, is_dry_run: true }));
        for bad in ["", "7", r#"{"endpoint":"x"}"#, r#"{"endpoint":7}"#, r#"{"endpoints":[]}"#] {
            assert!(replay(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_overlap_is_a_day_by_default() {
        let cases = [
            (None, Some(86_400)),
            (Some("{}"), Some(86_400)),
            (Some(r#"{"overlapSeconds":null}"#), None),
            (Some(r#"{"overlapSeconds":60.0}"#), Some(60)),
            (Some(r#"{"overlapSeconds":60.5}"#), None),
            (Some(r#"{"overlapSeconds":1e400}"#), None),
            (Some(r#"{"overlapSeconds":0}"#), Some(0)),
            (Some(r#"{"overlapSeconds":604800}"#), Some(604_800)),
            (Some(r#"{"overlapSeconds":604801}"#), None),
            (Some(r#"{"overlapSeconds":-1}"#), None),
            (Some(r#"{"overlap":5}"#), None),
            (Some("7"), None),
            (Some("{"), None),
            (Some(r#"{"endAllOthers":false,"overlapSeconds":60}"#), Some(60)),
            (Some(r#"{"endAllOthers":true,"overlapSeconds":60}"#), None),
            (Some(r#"{"endAllOthers":"true"}"#), None),
        ];
        assert_eq!(rotation(Some(r#"{"endAllOthers":true}"#)), Ok(Rotation::EndAllOthers));
        for (text, seconds) in cases {
            let expected = seconds.map(|seconds| Rotation::Overlap(Duration::from_secs(seconds)));
            assert_eq!(rotation(text).ok(), expected, "{text:?}");
        }
    }
}
