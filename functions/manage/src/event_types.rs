//! The operators' routes for the catalogue: the event types of a tenant, beside those that are built in
//! ([`signpost_core::event::catalogue`]).

use http::header::LOCATION;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use signpost_core::event::catalogue::{BUILT_IN, BuiltIn, EventType, MAX_CATALOGUE_BYTES, MAX_EVENT_TYPES, TypeName};
use signpost_core::input::fault::Fault;
use signpost_core::input::problem::Problem;
use signpost_io::runtime::api_gateway::{empty, respond, with_header};
use signpost_io::runtime::clock::unix_now;
use signpost_io::tables::event_types::{Page, PutResult, StoredEventType};

use crate::api_request::ApiRequest;
use crate::endpoints::{JSON, moment};
use crate::{Answer, App, Refusal};

/// How many event types of the tenant a page of the list may have: with 65 KiB each, they fit into an answer of Lambda.
const MAX_PAGE: i32 = 50;

impl App {
    /// Registers an event type, or replaces it.
    pub(crate) async fn put_event_type(&self, asked: &ApiRequest<'_>) -> Answer {
        let name = own_name(asked)?;
        let event_type = EventType::parse(&asked.body(&[JSON])?, self.retention).map_err(Problem::bad_request)?;
        self.refuse_while_erased(asked).await?;
        let now = unix_now().as_secs();
        let before = self.event_types.get(&asked.tenant, &name).await?;
        let was = audited(before.as_ref().map(|before| &before.event_type));
        asked.trail.event_type(&name, was, audited(Some(&event_type)));
        let before = match self.event_types.put(&asked.tenant, &name, &event_type, now).await? {
            PutResult::Written(before) => before,
            PutResult::Full { types, bytes } => {
                let detail = format!(
                    "the tenant has {types} event types of {bytes} bytes; it can have {MAX_EVENT_TYPES}, and \
                     {MAX_CATALOGUE_BYTES} bytes of schemas, examples and descriptions; remove some"
                );
                return Err(Problem::conflict(detail).into());
            }
        };
        tracing::info!(tenant.id = %asked.tenant, event_type.name = %name, "event_type.set");
        let stored = StoredEventType {
            event_type,
            version: before.as_ref().map_or(1, |before| before.version + 1),
            created_at: before.as_ref().map_or(now, |before| before.created_at),
            updated_at: now,
        };
        let status = if before.is_some() { 200 } else { 201 };
        let answer = respond(status, JSON, spelled(&shown(&name, &stored)));
        let location = format!("/v1/tenants/{}/event-types/{name}", asked.tenant);
        Ok(if status == 201 { with_header(answer, LOCATION, &location) } else { answer })
    }

    /// Lists the event types: those of the tenant by name, and on the first page those that are built in before them.
    pub(crate) async fn list_event_types(&self, asked: &ApiRequest<'_>) -> Answer {
        let (limit, cursor) = (asked.limit(MAX_PAGE), asked.parameter("cursor"));
        let mut faults: Vec<_> = limit.as_ref().err().cloned().into_iter().collect();
        let after = cursor.as_deref().map(TypeName::parse);
        if after == Some(None) {
            let found = cursor.as_deref().unwrap_or_default();
            faults.push(Fault::of_text("?cursor".into(), found, "the `cursor` of the page before"));
        }
        let limit = match limit {
            Ok(limit) if faults.is_empty() => limit,
            _ => return Err(Problem::bad_request(faults).into()),
        };
        let Page { types, next } =
            self.event_types.page(&asked.tenant, after.clone().flatten().as_ref(), limit).await?;
        let built_in = BUILT_IN.iter().filter(|_| after.is_none()).map(shown_built_in);
        let own = types.iter().map(|(name, stored)| shown(name, stored));
        let list = List { types: built_in.chain(own).collect(), cursor: next.as_ref().map(TypeName::as_str) };
        Ok(respond(200, JSON, spelled(&list)))
    }

    /// Shows an event type.
    pub(crate) async fn read_event_type(&self, asked: &ApiRequest<'_>) -> Answer {
        let name = asked.event_type().ok_or_else(no_such_type)?;
        if let Some(built_in) = name.built_in() {
            return Ok(respond(200, JSON, spelled(&shown_built_in(built_in))));
        }
        let stored = self.event_types.get(&asked.tenant, &name).await?.ok_or_else(no_such_type)?;
        Ok(respond(200, JSON, spelled(&shown(&name, &stored))))
    }

    /// Removes an event type. Its events are accepted without a check then.
    pub(crate) async fn delete_event_type(&self, asked: &ApiRequest<'_>) -> Answer {
        let name = asked.event_type().ok_or_else(no_such_type)?;
        refuse_built_in(&name)?;
        let before = self.event_types.get(&asked.tenant, &name).await?;
        let was = audited(before.as_ref().map(|before| &before.event_type));
        asked.trail.event_type(&name, was, Value::Null);
        self.event_types.delete(&asked.tenant, &name).await?.ok_or_else(no_such_type)?;
        tracing::info!(tenant.id = %asked.tenant, event_type.name = %name, "event_type.removed");
        Ok(empty(204))
    }

    /// Returns the example of an event type: a payload.
    pub(crate) async fn example(&self, asked: &ApiRequest<'_>, kind: &str) -> Result<String, Refusal> {
        let unknown = || {
            let expected = "a type of the catalogue; list them to see which there are";
            Refusal::from(Problem::bad_request(vec![Fault::of_text("/type".into(), kind, expected)]))
        };
        let name = TypeName::parse(kind).ok_or_else(unknown)?;
        if let Some(built_in) = name.built_in() {
            return built_in.example().ok_or_else(unknown);
        }
        let stored = self.event_types.get(&asked.tenant, &name).await?.ok_or_else(unknown)?;
        Ok(stored.event_type.example)
    }
}

/// Returns the name in the path, if a tenant may have a type of this name.
fn own_name(asked: &ApiRequest<'_>) -> Result<TypeName, Problem> {
    let name = asked.event_type().ok_or_else(|| {
        let found = asked.request().path_parameters.get("type").map(String::as_str).unwrap_or_default();
        Problem::bad_request(vec![Fault::of_text("?type".into(), found, TypeName::EXPECTED)])
    })?;
    refuse_built_in(&name)?;
    Ok(name)
}

fn refuse_built_in(name: &TypeName) -> Result<(), Problem> {
    match name.built_in() {
        Some(built_in) => Err(Problem::conflict(format!(
            "`{name}` is built in, as the payload format of {}; it cannot be replaced or removed",
            built_in.vendor
        ))),
        None => Ok(()),
    }
}

fn no_such_type() -> Problem {
    Problem::not_found("the tenant has no such event type; list them to see which there are")
}

/// Returns an event type in the form of the audit log, which shortens long texts.
fn audited(event_type: Option<&EventType>) -> Value {
    event_type.map_or(Value::Null, |EventType { description, schema, example, deprecated, retention_days }| {
        json!({"description": description, "schema": schema, "example": example, "deprecated": deprecated,
               "retentionDays": retention_days})
    })
}

/// A page of the list.
#[derive(Serialize)]
struct List<'a> {
    types: Vec<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
}

/// An event type in the form of answers. Schema and example are spelled as the operator did.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    built_in: bool,
    /// The vendor of a payload format.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a str>,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Box<RawValue>>,
    example: Option<Box<RawValue>>,
    deprecated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_days: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
}

fn shown<'a>(name: &'a TypeName, stored: &'a StoredEventType) -> Shown<'a> {
    let EventType { description, schema, example, deprecated, retention_days } = &stored.event_type;
    Shown {
        kind: name.as_str(),
        built_in: false,
        format: None,
        description,
        schema: raw(schema),
        example: raw(example),
        deprecated: *deprecated,
        retention_days: *retention_days,
        created_at: Some(moment(stored.created_at)),
        updated_at: Some(moment(stored.updated_at)),
    }
}

fn shown_built_in(built_in: &BuiltIn) -> Shown<'_> {
    Shown {
        kind: built_in.kind,
        built_in: true,
        format: Some(built_in.vendor),
        description: built_in.description,
        schema: None,
        example: built_in.example().as_deref().and_then(raw),
        deprecated: false,
        retention_days: None,
        created_at: None,
        updated_at: None,
    }
}

fn raw(json: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(json.to_owned()).ok()
}

fn spelled(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).unwrap_or_default() // Texts, flags and JSON always serialize.
}
