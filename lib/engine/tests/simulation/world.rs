//! A world: queues, tables and receivers, what goes wrong in it, and the processes that work there.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD as STANDARD, Engine as _};
use fastrand::Rng;
use serde_json::json;
use signpost_core::delivery::attempt::AttemptClass;
use signpost_core::delivery::{DeliveryKey, Track};
use signpost_core::endpoint::signing_secrets::SecretVersion;
use signpost_core::endpoint::{DISABLED_TYPE, EndpointId, NOTICE_TYPES};
use signpost_core::event::{Event, EventId, EventKey, TenantId};
use signpost_core::signing::public_key::PublicKey;
use signpost_core::signing::signer::Signer;
use signpost_core::signing::standard_webhooks::EndpointKeys;
use signpost_engine::metrics::{Meter, Metric};
use signpost_engine::ports::endpoints::StoredEndpoint;
use uuid::Uuid;

use crate::calm::{Failure, Watch};
use crate::clock::{Bell, Clock, Numbers, START};
use crate::heat::Heat;
use crate::laws::Laws;
use crate::ports::Which;
use crate::queue::{Body, Mischief, Queue};
use crate::receivers::Receiver;
use crate::tables::{Tables, index_of};

/// `VisibilityTimeout` of `EventsQueue`, and of `DeliveriesQueue` and `SlowDeliveriesQueue`, in the template.
const EVENTS_VISIBILITY_MS: u64 = 60_000;
const DELIVERIES_VISIBILITY_MS: u64 = 100_000;
/// How long a call to AWS takes at most: `CALL_TIMEOUT` of `lib/io/src/aws/mod.rs`.
const CALL_TIMEOUT_MS: u64 = 4_000;

pub struct World {
    pub clock: Rc<Clock>,
    pub dice: RefCell<Rng>,
    pub plan: Plan,
    pub tables: RefCell<Tables>,
    pub events: Pipe,
    pub own_events: Pipe,
    pub deliveries: Pipe,
    pub slow_deliveries: Pipe,
    pub dead_letters: Pipe,
    pub rejected: Pipe,
    /// The copies of notices for the operator.
    pub notices: Pipe,
    pub receivers: RefCell<Vec<Receiver>>,
    pub laws: RefCell<Laws>,
    pub keys: Vec<SecretVersion<Arc<EndpointKeys>>>,
    pub signer: Option<Arc<Signer>>,
    /// The metrics, and how many attempts the invocations have counted.
    pub meter: Meter,
    pub measured_attempts: Cell<u64>,
    /// How many calls were made by `deliver`, and by all.
    pub calls: Cell<u64>,
    pub calls_of_all: Cell<u64>,
    /// Which of all calls is refused.
    pub refuses: Cell<Option<u64>>,
    /// The writes to each partition, if a test counts them.
    pub heat: RefCell<Option<Heat>>,
    /// The observations of a test, if it makes some.
    pub watch: RefCell<Option<Watch>>,
    parsed: RefCell<HashMap<u32, Event, Numbers>>,
}

/// Makes a signing key: a pair of `openssl genpkey`.
fn signer() -> Signer {
    let der = |pem: &str| {
        let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        STANDARD.decode(lines).unwrap()
    };
    let (private, public) =
        (include_str!("../../../core/tests/data/p256.pem"), include_str!("../../../core/tests/data/p256.public.pem"));
    let public = PublicKey::from_spki("070725bf-7dac-4712-b61a-420ba3701263", &der(public)).unwrap();
    Signer::from_pkcs8(&public, &der(private)).unwrap()
}

/// How many subjects the events are about.
const SUBJECTS: u32 = 3;
/// How many events are remembered after they were parsed.
const PARSED: usize = 1_000;

/// A queue, and the bell that rings when a message comes.
pub struct Pipe {
    pub queue: RefCell<Queue>,
    pub bell: Bell,
}

impl Pipe {
    fn new(visibility_ms: u64, is_fair: bool) -> Self {
        Self { queue: RefCell::new(Queue::new(visibility_ms, is_fair)), bell: Bell::default() }
    }
}

/// The settings of a world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub trouble: Trouble,
    pub mischief: Mischief,
    /// From when on nothing goes wrong any more.
    pub quiet_from: u64,
    /// `MaximumConcurrency` of the event source mapping of `DeliveriesQueue`.
    pub concurrency: usize,
    /// `MaximumConcurrency` of the event source mapping of `SlowDeliveriesQueue`, and a tenant's share of it.
    pub slow_concurrency: usize,
    pub slow_per_tenant: u16,
    /// Returns the tenant of an endpoint, both by index.
    pub tenant_of: fn(usize) -> usize,
    pub is_fair: bool,
    /// The longest time that most calls take.
    pub call_ms: u64,
    /// How far a process's clock may be off.
    pub skew_ms: u64,
    /// Whether endpoints have keys of their own, and Signpost has a signing key. Signing takes most of a schedule's time.
    pub signs: bool,
}

impl Plan {
    /// Returns whether every call of a process that lives is answered.
    pub fn is_answered(&self) -> bool {
        self.trouble.refused == 0.0 && self.trouble.lost == 0.0
    }
}

/// How likely it is that something goes wrong with a call, or wherever else a process waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    pub crash: f64,
    /// It fails, and nothing was done.
    pub refused: f64,
    /// It was done, and the answer gets lost.
    pub lost: f64,
    /// It takes as long as it may.
    pub slow: f64,
}

/// A call: the port, and its method.
pub type Call = (&'static str, &'static str);

/// A call failed.
#[derive(Clone, Copy, Debug)]
pub struct Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("call failed")
    }
}

impl std::error::Error for Fault {}

/// The settings of an endpoint, by its index. It receives the events whose type names it ([`type_for`]).
pub fn endpoint(index: usize, settings: &serde_json::Value) -> StoredEndpoint {
    let mut all = json!({"url": format!("https://receiver.example/{index}"), "signatures": []});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    StoredEndpoint::new(serde_json::from_value(all).unwrap(), 0)
}

/// Returns the type of events that go to these endpoints.
pub fn type_for(endpoints: &[usize]) -> String {
    match endpoints {
        [index] if *index >= 100 => format!("n{index}"), // Of a large world, where no two get the same event.
        _ => format!("t{}", endpoints.iter().map(|index| 1_u128 << index).sum::<u128>()),
    }
}

/// Returns the filters of an endpoint: the types that name it, of all that name some of the first `count` endpoints.
pub fn types_of(index: usize, count: usize) -> serde_json::Value {
    (0..1_u32 << count).filter(|mask| mask >> index & 1 == 1).map(|mask| json!({"type": format!("t{mask}")})).collect()
}

/// Returns the name of a tenant.
pub fn tenant_name(index: usize) -> String {
    if index == 0 { "acme".into() } else { format!("t{index}") }
}

pub fn tenant_index(tenant: &TenantId) -> usize {
    tenant.as_str().strip_prefix('t').map_or(0, |digits| digits.parse().unwrap())
}

/// The tenant of all endpoints.
pub fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn endpoint_id(index: usize) -> EndpointId {
    EndpointId::new(Uuid::from_u128(index as u128))
}

impl World {
    pub fn new(plan: Plan, endpoints: Vec<StoredEndpoint>, receivers: Vec<Receiver>) -> Rc<Self> {
        let is_enabled =
            |(index, stored): (usize, &StoredEndpoint)| stored.disabled.is_none().then_some((index, stored.version));
        let enabled_versions = endpoints.iter().enumerate().filter_map(is_enabled).collect();
        let endpoints = endpoints.into_iter().map(Some).collect();
        let keys = plan.signs.then(|| Arc::new(EndpointKeys::new([1; 32], [2; 32]).unwrap()));
        let slow_deliveries = Pipe::new(DELIVERIES_VISIBILITY_MS, plan.is_fair);
        slow_deliveries.queue.borrow_mut().track = Track::Slow;
        Rc::new(Self {
            clock: Rc::new(Clock::new(plan.seed)),
            dice: RefCell::new(Rng::with_seed(plan.seed ^ 0x5eed)),
            tables: RefCell::new(Tables { endpoints, enabled_versions, ..Tables::default() }),
            events: Pipe::new(EVENTS_VISIBILITY_MS, true),
            own_events: Pipe::new(EVENTS_VISIBILITY_MS, true),
            deliveries: Pipe::new(DELIVERIES_VISIBILITY_MS, plan.is_fair),
            slow_deliveries,
            dead_letters: Pipe::new(EVENTS_VISIBILITY_MS, false),
            rejected: Pipe::new(EVENTS_VISIBILITY_MS, false),
            notices: Pipe::new(EVENTS_VISIBILITY_MS, false),
            receivers: RefCell::new(receivers),
            laws: RefCell::default(),
            keys: keys.into_iter().map(|secret| SecretVersion { secret, created_at: 0, expires_at: None }).collect(),
            signer: plan.signs.then(|| Arc::new(signer())),
            meter: Meter::default(),
            measured_attempts: Cell::default(),
            calls: Cell::default(),
            calls_of_all: Cell::default(),
            refuses: Cell::default(),
            heat: RefCell::default(),
            watch: RefCell::default(),
            parsed: RefCell::default(),
            plan,
        })
    }

    /// Takes over what an invocation has measured.
    pub fn take_measured(&self) {
        let numbers = self.meter.take().all.numbers;
        let attempts = AttemptClass::ALL.iter().filter_map(|class| numbers.get(&Metric::of_attempt(*class)));
        self.measured_attempts.update(|before| before + attempts.sum::<u64>());
    }

    /// Has an event accepted that goes to these endpoints. Returns its number.
    pub fn accept(&self, endpoints: &[usize]) -> u32 {
        self.laws.borrow_mut().accept(None, endpoints, self.now())
    }

    /// Notes an event of Signpost's own when it is sent for the first time. Returns its number.
    pub fn accept_own(&self, event: &Event) -> u32 {
        if let Some(number) = self.laws.borrow().own_event(event.key.id.as_str()) {
            return number;
        }
        if event.kind == DISABLED_TYPE && self.has_laws() {
            self.check_disabling(event);
        }
        let is_notice = NOTICE_TYPES.contains(&&*event.kind);
        if is_notice && self.has_laws() {
            self.laws.borrow_mut().noticed(event, self.now());
        }
        let kind = if event.kind == "token-request" || is_notice { &*event.kind } else { DISABLED_TYPE };
        let wants = |stored: &StoredEndpoint| stored.settings.types.iter().any(|filter| filter.kind == kind);
        let is_about = |index| is_notice && event.subject.as_deref() == Some(endpoint_id(index).as_str());
        let endpoints: Vec<_> = {
            let tables = self.tables.borrow();
            let some = tables.endpoints.iter().enumerate();
            let wanted = some.filter(|(index, stored)| stored.as_ref().is_some_and(wants) && !is_about(*index));
            wanted.map(|(index, _)| index).collect()
        };
        self.laws.borrow_mut().accept(Some(event), &endpoints, self.now())
    }

    /// An event about a disabling is sent while its endpoint is enabled, or was enabled with that version.
    fn check_disabling(&self, event: &Event) {
        let of = |name: &str| event.key.id.as_str().split('-').nth(if name == "endpoint" { 1 } else { 2 }).unwrap();
        let (index, version) = (index_of(&EndpointId::parse(of("endpoint")).unwrap()), of("version").parse().unwrap());
        let was_enabled = self.tables.borrow().enabled_versions.contains(&(index, version));
        assert!(was_enabled, "event `{}` is about an endpoint that was disabled before", event.key.id);
    }

    /// Returns the text of an event.
    pub fn text_of(&self, number: u32) -> String {
        let laws = self.laws.borrow();
        let event = &laws.events[number as usize];
        match &event.own {
            Some(own) => own.json().to_owned(),
            None => format!(
                r#"{{"specversion":"1.0","id":"e{number}","source":"/core","type":"{}","tenant":"{}","subject":"s{}","data":{{"n":{number}}}}}"#,
                type_for(&event.endpoints),
                self.tenant_of_event(&event.endpoints),
                number % SUBJECTS,
            ),
        }
    }

    fn tenant_of_event(&self, endpoints: &[usize]) -> String {
        tenant_name(endpoints.first().map_or(0, |index| (self.plan.tenant_of)(*index)))
    }

    /// Returns the tenant of an event.
    pub fn tenant_of_number(&self, laws: &Laws, number: u32) -> usize {
        let event = &laws.events[number as usize];
        match &event.own {
            Some(own) => tenant_index(&own.key.tenant),
            None => event.endpoints.first().map_or(0, |index| (self.plan.tenant_of)(*index)),
        }
    }

    /// Returns the tenant of a delivery.
    pub fn tenant_of(&self, delivery: u32) -> usize {
        (self.plan.tenant_of)(self.endpoint_of(delivery))
    }

    /// Returns an event, with the number that it was stored with.
    pub fn event(&self, number: u32) -> Event {
        let mut event = self.parsed_event(number);
        if let Some(first) = self.tables.borrow().events.get(&number) {
            event.number = first.number;
            event.retention_days = first.retention_days;
        }
        event
    }

    /// Returns an event as its producer sent it.
    pub fn parsed_event(&self, number: u32) -> Event {
        let own = self.laws.borrow().events[number as usize].own.clone();
        if let Some(own) = own {
            return own;
        }
        let mut parsed = self.parsed.borrow_mut();
        if parsed.len() > PARSED {
            parsed.clear(); // Large worlds have millions.
        }
        parsed.entry(number).or_insert_with(|| Event::parse(&self.text_of(number)).unwrap()).clone()
    }

    pub fn number_of(&self, id: &EventId) -> u32 {
        let own = || self.laws.borrow().own_event(id.as_str());
        id.as_str().strip_prefix('e').and_then(|digits| digits.parse().ok()).or_else(own).unwrap()
    }

    /// Returns the number of a delivery.
    pub fn delivery(&self, key: DeliveryKey<'_>) -> u32 {
        let arrived_unix_ms = self.arrival_of(self.number_of(&key.event.id));
        assert!(arrived_unix_ms.is_none_or(|at| at == key.arrived_unix_ms), "{key:?} arrived at {arrived_unix_ms:?}");
        self.delivery_of(key.event, key.endpoint)
    }

    /// Finds the delivery in the text of a message. `deliver` parses the text.
    pub fn delivery_in(&self, text: &str) -> u32 {
        let value = |name: &str| text.split_once(name).and_then(|(_, rest)| rest.split('"').next()).unwrap();
        let (endpoint, event) = (value(r#""endpoint":""#), value(r#""id":""#));
        let (index, event) = (index_of(&EndpointId::parse(endpoint).unwrap()), EventId::parse(event).unwrap());
        let number = self.number_of(&event);
        self.laws.borrow().events[number as usize].delivery_to(index).unwrap()
    }

    fn arrival_of(&self, number: u32) -> Option<u64> {
        self.tables.borrow().events.get(&number).map(|first| first.arrival.moment.arrived_unix_ms())
    }

    /// Returns the event, the endpoint and the arrival of a delivery.
    pub fn parts_of(&self, id: u32) -> (EventKey, EndpointId, u64) {
        let number = self.laws.borrow().event_of(id);
        let own = self.laws.borrow().events[number as usize].own.as_ref().map(|own| own.key.clone());
        let key = own.unwrap_or_else(|| EventKey {
            tenant: TenantId::parse(&self.tenant_of_event(&self.laws.borrow().events[number as usize].endpoints))
                .unwrap(),
            source: "/core".into(),
            id: EventId::parse(&format!("e{number}")).unwrap(),
        });
        (key, endpoint_id(self.endpoint_of(id)), self.arrival_of(number).unwrap_or_default())
    }

    pub fn delivery_of(&self, event: &EventKey, endpoint: &EndpointId) -> u32 {
        let (number, endpoint) = (self.number_of(&event.id), index_of(endpoint));
        let id = self.laws.borrow().events[number as usize].delivery_to(endpoint);
        id.unwrap_or_else(|| panic!("{event:?} does not go to endpoint {endpoint}"))
    }

    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Keeps the history of a delivery, so that a failed schedule can be examined.
    pub fn tell(&self, id: u32, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.laws.borrow_mut().story {
            story.push((id, format!("{:>12.3} s  task {:>6}  {}", self.seconds(), self.clock.this(), what())));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "for the eye")]
    fn seconds(&self) -> f64 {
        (self.now() - START) as f64 / 1_000.0
    }

    pub fn chance(&self, likelihood: f64) -> bool {
        likelihood > 0.0 && self.dice.borrow_mut().f64() < likelihood
    }

    pub fn below(&self, end: u64) -> u64 {
        self.dice.borrow_mut().u64(..end.max(1))
    }

    pub fn mischief(&self) -> Mischief {
        if self.now() < self.plan.quiet_from { self.plan.mischief } else { Mischief::default() }
    }

    /// Notes until when the event of a delivery is kept. It is never shortened.
    pub fn keep(&self, id: u32, unix_ms: u64) {
        let mut laws = self.laws.borrow_mut();
        let kept = laws.kept_until.entry(id).or_default();
        *kept = unix_ms.max(*kept);
    }

    /// Returns how many of the messages of a call SQS refuses.
    pub fn may_refuse_some(&self, count: usize) -> usize {
        let is_refused = self.chance(self.trouble().refused);
        if is_refused { self.dice.borrow_mut().usize(1..=count) } else { 0 }
    }

    fn trouble(&self) -> Trouble {
        if self.now() < self.plan.quiet_from { self.plan.trouble } else { Trouble::default() }
    }

    pub fn endpoint_of(&self, id: u32) -> usize {
        self.laws.borrow().facts[id as usize].endpoint
    }

    /// Puts the message of a delivery into one of the queues of `deliver`.
    pub fn queue_delivery(&self, which: Which, id: u32, body: Body, delay_seconds: u64) {
        self.tell(id, || format!("into {which:?}, since {:?}, after {delay_seconds} s", body.since));
        let pipe = which.pipe(self);
        pipe.queue.borrow_mut().send(body, self.tenant_of(id), delay_seconds, self.now());
        pipe.bell.ring();
    }

    /// Returns the most messages that were in flight at once in one of the queues of `deliver`.
    pub fn most_in_flight(&self) -> usize {
        [&self.deliveries, &self.slow_deliveries]
            .map(|pipe| pipe.queue.borrow().most_in_flight)
            .into_iter()
            .max()
            .unwrap()
    }
}

/// One process: an environment of a function, or an operator at work.
#[derive(Clone)]
pub struct Process {
    pub world: Rc<World>,
    pub role: Role,
    skew_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Deliver,
    Fanout,
    Sweep,
    /// An operator, who repeats what failed, and is never killed.
    Operator,
}

impl Process {
    pub fn new(world: &Rc<World>, role: Role) -> Self {
        let skew_ms = world.below(2 * world.plan.skew_ms + 1);
        Self { world: Rc::clone(world), role, skew_ms }
    }

    /// The moment by this process's own clock.
    pub fn now(&self) -> u64 {
        self.world.now() + self.skew_ms - self.world.plan.skew_ms
    }

    pub async fn may_die(&self) {
        if self.role != Role::Operator && self.world.chance(self.world.trouble().crash) {
            self.world.laws.borrow_mut().figures.crashes += 1;
            self.world.clock.die().await;
        }
    }

    /// Makes a call that does something at once, some time after it was made and some time before its answer is here.
    pub async fn call<T>(&self, what: Call, work: impl FnOnce(&World) -> T) -> Result<T, Fault> {
        let (world, trouble) = (&self.world, self.world.trouble());
        world.calls_of_all.set(world.calls_of_all.get() + 1);
        let number = world.calls_of_all.get();
        if self.role == Role::Deliver {
            world.calls.set(world.calls.get() + 1);
        }
        let (broken, slow_ms) = world.watch.borrow_mut().as_mut().map(|watch| watch.begin(what)).unwrap_or_default();
        self.may_die().await;
        if broken == Some(Failure::KilledBefore) {
            world.clock.die().await;
        }
        let most = if world.chance(trouble.slow) { CALL_TIMEOUT_MS } else { world.plan.call_ms };
        let (there, back) = (world.below(most), world.below(most));
        world.clock.sleep(there / 2 + slow_ms).await;
        let is_chosen = world.refuses.get() == Some(number) || broken == Some(Failure::Refused);
        if is_chosen || world.chance(trouble.refused) {
            return Err(Fault);
        }
        let done = work(world);
        world.clock.sleep(back / 2).await;
        self.may_die().await;
        if broken == Some(Failure::KilledAfter) {
            world.clock.die().await;
        }
        let is_lost = broken == Some(Failure::Lost) || world.chance(trouble.lost);
        if is_lost { Err(Fault) } else { Ok(done) }
    }

    /// Counts a write to a partition, if a test counts them.
    pub fn heats(&self, kind: &'static str, key: impl FnOnce() -> String) {
        if let Some(heat) = self.world.heat.borrow_mut().as_mut() {
            heat.add(kind, key(), self.world.now());
        }
    }

    /// A call to the tables.
    pub async fn table<T>(&self, what: Call, work: impl FnOnce(&mut Tables) -> T) -> Result<T, Fault> {
        self.call(what, |world| work(&mut world.tables.borrow_mut())).await
    }

    /// A call that is part of a delivery's story.
    pub async fn of_delivery<T>(&self, id: u32, what: Call, work: impl FnOnce(&mut Tables) -> T) -> Result<T, Fault> {
        self.call(what, |world| {
            let done = work(&mut world.tables.borrow_mut());
            world.tell(id, || format!("{}: {:?}", what.1, world.tables.borrow().records.get(&id)));
            done
        })
        .await
    }
}
