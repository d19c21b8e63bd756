//! The schemas of tenants' event types: what a warm environment knows about them, and the check of events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use lru::LruCache;
use signpost_core::event::catalogue::may_have_schema;
use signpost_core::event::schema::Schema;
use signpost_core::event::{Event, TenantId};
use signpost_core::input::fault::Fault;

use crate::logs::Chain;
use crate::ports::clock::{Clock, millis};
use crate::ports::subscriptions::{Subscriptions, TypeRules, Version};
use crate::slots::lock;

/// The schemas of a tenant's event types, as JSON, and for how many days their events are kept.
#[derive(Clone, Debug, Default)]
pub struct TenantSchemas(BTreeMap<Box<str>, (Arc<str>, Option<u16>)>);

impl TenantSchemas {
    /// Creates them from what the table holds.
    #[must_use]
    pub fn new(rules: Vec<TypeRules>) -> Self {
        let entry = |TypeRules { kind, schema, retention_days }| (kind.into(), (schema.into(), retention_days));
        Self(rules.into_iter().map(entry).collect())
    }

    /// Returns for how many days events of a type are kept, if the type says so.
    #[must_use]
    pub fn retention_days(&self, kind: &str) -> Option<u16> {
        self.0.get(kind).and_then(|(_, days)| *days)
    }

    /// Returns about how many bytes of memory they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(kind, (schema, _))| ENTRY_BYTES + kind.len() + schema.len()).sum()
    }
}

/// The memory for an entry of a map besides its texts.
const ENTRY_BYTES: usize = 64;

/// The schemas that were used most recently, compiled, as many as fit into 8 MiB.
#[derive(Debug)]
pub struct Schemas {
    max_bytes: usize,
    compiled: Mutex<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    /// By tenant and type: the schema as JSON, and compiled. None if it cannot be read.
    schemas: LruCache<Key, Entry>,
    bytes: usize,
}

type Key = (TenantId, Box<str>);
type Entry = (Arc<str>, Option<Arc<Schema>>);

/// How much memory all compiled schemas may take.
const MAX_COMPILED_BYTES: usize = 8 * 1024 * 1024;

impl Default for Schemas {
    fn default() -> Self {
        Self::new(MAX_COMPILED_BYTES)
    }
}

impl Schemas {
    fn new(max_bytes: usize) -> Self {
        Self { max_bytes, compiled: Mutex::new(Compiled { schemas: LruCache::unbounded(), bytes: 0 }) }
    }

    /// Checks the payload of an event, if the tenant has a schema for its type.
    ///
    /// # Errors
    /// All faults, with pointers into the event (`/data/…`).
    pub fn check(&self, event: &Event, schemas: &TenantSchemas) -> Result<(), Vec<Fault>> {
        let Some((kind, (text, _))) = schemas.0.get_key_value(&*event.kind) else { return Ok(()) };
        match self.compiled(&event.key.tenant, kind, text) {
            Some(schema) => schema.check(event.data(), "/data"),
            None => Ok(()), // A newer release has written it. It has been logged.
        }
    }

    fn compiled(&self, tenant: &TenantId, kind: &str, text: &Arc<str>) -> Option<Arc<Schema>> {
        let key = (tenant.clone(), kind.into());
        if let Some((known, schema)) = lock(&self.compiled).schemas.get(&key)
            && known == text
        {
            return schema.clone();
        }
        let schema = Schema::parse(text, "").map(Arc::new);
        if let Err(faults) = &schema {
            tracing::error!(tenant.id = %tenant, event_type.name = kind, faults = faults.len(), "schema.unreadable");
        }
        let schema = schema.ok();
        self.put(key, (Arc::clone(text), schema.clone()));
        schema
    }

    fn put(&self, key: Key, entry: Entry) {
        let mut compiled = lock(&self.compiled);
        compiled.bytes += bytes(&entry);
        if let Some((_, before)) = compiled.schemas.push(key, entry) {
            compiled.bytes -= bytes(&before);
        }
        while compiled.bytes > self.max_bytes
            && let Some((_, oldest)) = compiled.schemas.pop_lru()
        {
            compiled.bytes -= bytes(&oldest);
        }
    }
}

/// Returns about how many bytes of memory a schema takes, as JSON and compiled.
fn bytes((text, schema): &Entry) -> usize {
    2 * ENTRY_BYTES + text.len() + schema.as_ref().map_or(0, |schema| schema.heap_bytes())
}

/// The event types of tenants for a function that may learn of changes later: it reads those of a tenant at most once in a
/// minute. If they cannot be read, it accepts the events. `fanout` checks them again.
pub struct Catalogue<S: Subscriptions, C: Clock> {
    subscriptions: S,
    clock: C,
    known: Mutex<LruCache<TenantId, Known>>,
    schemas: Schemas,
}

#[derive(Clone, Debug)]
struct Known {
    version: Option<Version>,
    schemas: Arc<TenantSchemas>,
    /// Until when they count, in milliseconds since the Unix epoch.
    until_unix_ms: u64,
}

/// A tenant's version, and its schemas.
type Read = (Option<Version>, Arc<TenantSchemas>);

/// How long what was read counts. Changes have an effect within this time.
pub const KNOWN_FOR: Duration = Duration::from_mins(1);
/// How long it takes until the next try after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long a request waits for the table.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// How many tenants are remembered, and how many bytes of their schemas.
const MAX_TENANTS: usize = 1_000;
const MAX_BYTES: usize = 8 * 1024 * 1024;

impl<S: Subscriptions, C: Clock> Catalogue<S, C>
where
    S::Error: std::error::Error + 'static,
{
    /// Creates it. It knows nothing yet.
    pub fn new(subscriptions: S, clock: C) -> Self {
        Self { subscriptions, clock, known: Mutex::new(LruCache::unbounded()), schemas: Schemas::default() }
    }

    /// Checks events. Returns the faults of each, in the order of `events`. Payload formats are not looked up.
    pub async fn check(&self, events: &[Event]) -> Vec<Result<(), Vec<Fault>>> {
        let may_be_typed = |event: &&Event| may_have_schema(&event.kind);
        let tenants: BTreeSet<_> = events.iter().filter(may_be_typed).map(|event| &event.key.tenant).collect();
        if !tenants.is_empty() {
            self.refresh(tenants.into_iter().collect()).await;
        }
        events.iter().map(|event| self.check_one(event)).collect()
    }

    fn check_one(&self, event: &Event) -> Result<(), Vec<Fault>> {
        if !may_have_schema(&event.kind) {
            return Ok(());
        }
        let known = lock(&self.known).get(&event.key.tenant).map(|known| Arc::clone(&known.schemas));
        known.map_or(Ok(()), |schemas| self.schemas.check(event, &schemas))
    }

    /// Reads what is not known, or not any more.
    async fn refresh(&self, mut tenants: Vec<&TenantId>) {
        let now = self.clock.unix_ms();
        tenants.retain(|tenant| lock(&self.known).peek(*tenant).is_none_or(|known| known.until_unix_ms <= now));
        if tenants.is_empty() {
            return;
        }
        let read = self.clock.within(READ_WITHIN, self.read(&tenants)).await;
        let read = read.unwrap_or_else(|| {
            tracing::warn!(tenants = tenants.len(), error = "no answer in time", "catalogue.not_read");
            tenants.iter().map(|_| None).collect()
        });
        for (tenant, read) in tenants.into_iter().zip(read) {
            self.remember(tenant, read, now);
        }
    }

    async fn read(&self, tenants: &[&TenantId]) -> Vec<Option<Read>> {
        let versions = self.subscriptions.versions(tenants).await;
        let read = tenants.iter().zip(versions).map(async |(tenant, version)| {
            let read = async {
                let version = version?;
                let before = lock(&self.known).peek(*tenant).cloned();
                let schemas = match (version, before) {
                    (Some(Version { has_event_types: true, .. }), Some(known)) if known.version == version => {
                        known.schemas
                    }
                    (Some(Version { has_event_types: true, .. }), _) => {
                        Arc::new(TenantSchemas::new(self.subscriptions.schemas(tenant).await?))
                    }
                    (Some(_) | None, _) => Arc::default(),
                };
                Ok::<_, S::Error>((version, schemas))
            };
            let read = read.await;
            if let Err(error) = &read {
                tracing::warn!(tenant.id = %tenant, error = %Chain(error), "catalogue.not_read");
            }
            read.ok()
        });
        join_all(read).await
    }

    fn remember(&self, tenant: &TenantId, read: Option<Read>, now: u64) {
        let mut known = lock(&self.known);
        let is_read = read.is_some();
        let before = || known.pop(tenant).map(|known| (known.version, known.schemas));
        let (version, schemas) = read.or_else(before).unwrap_or_default();
        let until_unix_ms = now + millis(if is_read { KNOWN_FOR } else { RETRY_AFTER });
        let entry = Known { version, schemas, until_unix_ms };
        known.put(tenant.clone(), entry);
        let bytes = |known: &LruCache<TenantId, Known>| known.iter().map(|(_, one)| one.schemas.bytes()).sum::<usize>();
        while known.len() > 1 && (known.len() > MAX_TENANTS || bytes(&known) > MAX_BYTES) {
            known.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use futures_util::FutureExt as _;
    use signpost_core::endpoint::EndpointId;
    use signpost_core::endpoint::subscription::Subscription;

    use super::*;

    /// A table, which answers at once, and counts its calls.
    #[derive(Clone, Default)]
    struct Table(Rc<Content>);

    #[derive(Default)]
    struct Content {
        types: RefCell<Vec<TypeRules>>,
        changes: Cell<u64>,
        is_broken: Cell<bool>,
        versions_read: Cell<usize>,
        schemas_read: Cell<usize>,
    }

    fn rules(kind: &str, schema: &str) -> TypeRules {
        TypeRules { kind: kind.to_owned(), schema: schema.to_owned(), retention_days: None }
    }

    impl Table {
        fn set(&self, types: &[(&str, &str)]) {
            *self.0.types.borrow_mut() = types.iter().map(|(kind, schema)| rules(kind, schema)).collect();
            self.0.changes.set(self.0.changes.get() + 1);
        }

        fn calls(&self) -> (usize, usize) {
            (self.0.versions_read.get(), self.0.schemas_read.get())
        }
    }

    impl Subscriptions for Table {
        type Error = std::io::Error;

        async fn versions(&self, tenants: &[&TenantId]) -> Vec<Result<Option<Version>, Self::Error>> {
            self.0.versions_read.set(self.0.versions_read.get() + 1);
            let has_event_types = !self.0.types.borrow().is_empty();
            let answer = |_: &&TenantId| match (self.0.is_broken.get(), self.0.changes.get()) {
                (true, _) => Err(std::io::Error::other("broken")),
                (false, 0) => Ok(None),
                (false, number) => Ok(Some(Version { number, has_event_types, erased_until_unix_ms: 0 })),
            };
            tenants.iter().map(answer).collect()
        }

        async fn of_tenant(&self, _: &TenantId) -> Result<Vec<(EndpointId, Option<Subscription>)>, Self::Error> {
            unreachable!("only schemas are read")
        }

        async fn schemas(&self, _: &TenantId) -> Result<Vec<TypeRules>, Self::Error> {
            self.0.schemas_read.set(self.0.schemas_read.get() + 1);
            Ok(self.0.types.borrow().clone())
        }
    }

    #[derive(Clone, Default)]
    struct Now(Rc<Cell<Duration>>);

    impl Clock for Now {
        fn unix(&self) -> Duration {
            self.0.get()
        }

        fn elapsed(&self) -> Duration {
            self.0.get()
        }

        async fn sleep(&self, _: Duration) {
            std::future::pending::<()>().await;
        }
    }

    impl Now {
        fn pass(&self, seconds: u64) {
            self.0.set(self.0.get() + Duration::from_secs(seconds));
        }
    }

    fn event(kind: &str, data: &str) -> Event {
        let text =
            format!(r#"{{"specversion":"1.0","id":"1","source":"/","type":"{kind}","tenant":"acme","data":{data}}}"#);
        Event::parse(&text).unwrap()
    }

    fn accepts(catalogue: &Catalogue<Table, Now>, event: &Event) -> bool {
        catalogue.check(std::slice::from_ref(event)).now_or_never().unwrap().remove(0).is_ok()
    }

    const TOTAL: &str = r#"{"required":["total"]}"#;

    #[test]
    fn a_change_has_an_effect_within_a_minute_and_costs_one_call_a_minute() {
        let (table, now, invoice) = (Table::default(), Now::default(), event("invoice", "{}"));
        let catalogue = Catalogue::new(table.clone(), now.clone());
        assert!(accepts(&catalogue, &invoice) && accepts(&catalogue, &invoice));
        assert_eq!(table.calls(), (1, 0), "that there are none is remembered too");
        table.set(&[("invoice", TOTAL)]);
        now.pass(59);
        assert!(accepts(&catalogue, &invoice));
        now.pass(1);
        assert!(!accepts(&catalogue, &invoice) && !accepts(&catalogue, &invoice));
        assert_eq!(table.calls(), (2, 1));
        now.pass(60);
        assert!(!accepts(&catalogue, &invoice));
        assert_eq!(table.calls(), (3, 1), "nothing has changed");
        assert!(accepts(&catalogue, &event("order", "{}")), "another type");
        table.set(&[]);
        now.pass(60);
        assert!(accepts(&catalogue, &invoice));
        assert_eq!(table.calls(), (4, 1));
    }

    #[test]
    fn a_failure_refuses_nothing_and_forgets_nothing() {
        let (table, now, invoice) = (Table::default(), Now::default(), event("invoice", "{}"));
        let catalogue = Catalogue::new(table.clone(), now.clone());
        table.set(&[("invoice", TOTAL)]);
        table.0.is_broken.set(true);
        assert!(accepts(&catalogue, &invoice) && accepts(&catalogue, &invoice), "fanout will check it");
        assert_eq!(table.calls(), (1, 0), "it is not asked again at once");
        table.0.is_broken.set(false);
        now.pass(5);
        assert!(!accepts(&catalogue, &invoice));
        table.0.is_broken.set(true);
        now.pass(60);
        assert!(!accepts(&catalogue, &invoice), "what was known counts");
    }

    #[test]
    fn payload_formats_are_not_looked_up() {
        let table = Table::default();
        let catalogue = Catalogue::new(table.clone(), Now::default());
        assert!(accepts(&catalogue, &event("operation", r#"{"type":"OPERATION","operationId":"1"}"#)));
        assert_eq!(table.calls(), (0, 0));
    }

    #[test]
    fn a_schema_is_compiled_once_for_each_version_and_an_unreadable_one_accepts_all() {
        let schemas = Schemas::default();
        let [first, same, other, newer] = [TOTAL, TOTAL, r#"{"type":"object"}"#, r#"{"newKeyword":1}"#]
            .map(|schema| TenantSchemas::new(vec![rules("invoice", schema)]));
        let (invoice, acme) = (event("invoice", "{}"), TenantId::parse("acme").unwrap());
        let compiled = |of: &TenantSchemas| schemas.compiled(&acme, "invoice", &of.0["invoice"].0);
        let one = compiled(&first).unwrap();
        assert!(Arc::ptr_eq(&one, &compiled(&same).unwrap()));
        assert_eq!(schemas.check(&invoice, &first).unwrap_err()[0].pointer, "/data/total");
        assert!(!Arc::ptr_eq(&one, &compiled(&other).unwrap()));
        assert!(schemas.check(&invoice, &other).is_ok() && schemas.check(&invoice, &newer).is_ok());
    }

    #[test]
    fn compiled_schemas_never_take_more_than_their_bound() {
        let schemas = Schemas::new(20_000);
        let acme = TenantId::parse("acme").unwrap();
        for number in 0..50 {
            let text: Arc<str> = format!(r#"{{"pattern":"^[a-z]{{{number}}}$"}}"#).into();
            assert!(schemas.compiled(&acme, &format!("t{number}"), &text).is_some());
            let compiled = lock(&schemas.compiled);
            assert!(compiled.bytes <= 20_000);
            assert_eq!(compiled.bytes, compiled.schemas.iter().map(|(_, entry)| bytes(entry)).sum::<usize>());
        }
    }
}
