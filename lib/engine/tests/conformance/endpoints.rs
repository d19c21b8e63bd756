//! Endpoints and subscriptions.

use std::fmt::Debug;

use signpost_core::endpoint::subscription::Subscription;
use signpost_core::endpoint::{DisabledBecause, EndpointId};
use signpost_core::event::TenantId;
use signpost_engine::ports::endpoints::{Endpoints, StoredEndpoint, Written};
use signpost_engine::ports::subscriptions::{Subscriptions, TypeRules};

/// Returns the event type that [`EndpointWrite::SetSchema`] writes: its events are kept for a week.
pub fn invoice(schema: &str) -> TypeRules {
    TypeRules { kind: "invoice".to_owned(), schema: schema.to_owned(), retention_days: Some(7) }
}

/// A write of an endpoint.
#[derive(Clone, Copy, Debug)]
pub enum EndpointWrite {
    /// Creates it, with these types.
    Create(&'static str),
    /// Sets its filter, or removes it.
    SetFilter(Option<&'static str>),
    /// Sets its types.
    SetTypes(&'static str),
    /// Sets its description.
    Describe,
    Disable,
    Remove,
    /// Sets the schema of the event type `invoice`, or removes the type.
    SetSchema(Option<&'static str>),
}

/// The version of a tenant's subscriptions changes with each that is added, changed or removed, and with nothing else.
pub async fn subscriptions<S: Subscriptions<Error: Debug>>(
    table: &S,
    tenant: &TenantId,
    id: &EndpointId,
    write: impl AsyncFn(EndpointWrite),
) {
    let version = async || table.versions(&[tenant]).await.pop().unwrap().unwrap();
    assert_eq!((version().await, table.of_tenant(tenant).await.unwrap()), (None, Vec::new()), "no endpoint yet");
    let one = r#"[{"type":"a","statuses":["b"]}]"#;
    let filter = Some(r#"{"data":{"total":[{"numeric":[">",100]}]}}"#);
    let cases = [
        (EndpointWrite::Create("[]"), Some("[]"), None, true),
        (EndpointWrite::Describe, Some("[]"), None, false),
        (EndpointWrite::SetTypes(one), Some(one), None, true),
        (EndpointWrite::SetFilter(filter), Some(one), filter, true),
        (EndpointWrite::Disable, Some(one), filter, false),
        (EndpointWrite::SetTypes("[]"), Some("[]"), filter, true),
        (EndpointWrite::SetFilter(None), Some("[]"), None, true),
        (EndpointWrite::Remove, None, None, true),
    ];
    for (change, types, filter, is_new) in cases {
        let before = version().await;
        write(change).await;
        let after = version().await;
        assert!(after.is_some() && (after != before) == is_new, "{change:?}: {before:?}, {after:?}");
        let expected: Vec<_> =
            types.map(|types| (id.clone(), Subscription::parse(types, filter))).into_iter().collect();
        assert_eq!(table.of_tenant(tenant).await.unwrap(), expected, "{change:?}");
    }
    for schema in [Some(r#"{"type":"object"}"#), Some("true"), None] {
        let before = version().await.unwrap();
        write(EndpointWrite::SetSchema(schema)).await;
        let after = version().await.unwrap();
        assert!(after.number != before.number && after.has_event_types == schema.is_some(), "{before:?}, {after:?}");
        let expected: Vec<_> = schema.map(invoice).into_iter().collect();
        assert_eq!(table.schemas(tenant).await.unwrap(), expected);
        assert_eq!(table.of_tenant(tenant).await.unwrap(), [], "no endpoint");
    }
    let both = table.versions(&[tenant, &TenantId::parse("initech").unwrap()]).await;
    assert_eq!(*both[0].as_ref().unwrap(), version().await, "in the order of the tenants");
    assert_eq!(both.len(), 2);
}

/// An endpoint is disabled once, and enabled by the proof of its own origin.
pub async fn an_endpoint<E: Endpoints<Error: Debug>>(
    table: &E,
    tenant: &TenantId,
    missing: &EndpointId,
    stored: &StoredEndpoint,
    put: impl AsyncFn(StoredEndpoint) -> EndpointId,
) {
    assert!(!table.exists(tenant, missing).await.unwrap());
    assert_eq!(table.get(tenant, missing).await.unwrap(), None);
    assert_eq!(table.disable(tenant, missing, DisabledBecause::Gone).await.unwrap(), Written::Overtaken);
    assert_eq!(table.verify(tenant, missing, "https://receiver.example").await.unwrap(), Written::Overtaken);
    assert!(!table.exists(tenant, missing).await.unwrap(), "nothing was written");

    let read = async |id: &EndpointId| {
        let mut read = table.get(tenant, id).await.unwrap().unwrap();
        read.updated_at = stored.updated_at;
        read
    };
    let id = put(stored.clone()).await;
    assert!(table.exists(tenant, &id).await.unwrap());
    assert_eq!(read(&id).await, *stored);
    assert_eq!(table.verify(tenant, &id, "https://receiver.example").await.unwrap(), Written::Overtaken, "enabled");
    assert_eq!(table.disable(tenant, &id, DisabledBecause::Gone).await.unwrap(), Written::Yes);
    assert_eq!(table.disable(tenant, &id, DisabledBecause::Failing).await.unwrap(), Written::Overtaken);
    let gone = StoredEndpoint { disabled: Some(DisabledBecause::Gone), version: stored.version + 1, ..stored.clone() };
    assert_eq!(read(&id).await, gone);
    assert_eq!(table.verify(tenant, &id, "https://receiver.example").await.unwrap(), Written::Overtaken, "gone");
    assert_eq!(read(&id).await, gone);

    let unverified = StoredEndpoint { disabled: Some(DisabledBecause::Unverified), ..stored.clone() };
    let id = put(unverified.clone()).await;
    assert_eq!(table.verify(tenant, &id, "https://other.example").await.unwrap(), Written::Overtaken);
    assert_eq!(read(&id).await, unverified);
    assert_eq!(table.verify(tenant, &id, "https://receiver.example").await.unwrap(), Written::Yes);
    let origin = Some("https://receiver.example".to_owned());
    assert_eq!(
        read(&id).await,
        StoredEndpoint { verified_origin: origin, version: stored.version + 1, ..stored.clone() }
    );
    assert_eq!(table.verify(tenant, &id, "https://receiver.example").await.unwrap(), Written::Overtaken);
}
