//! The engine's ports, in a world: every call takes its time, and may fail, lose its answer, or be the last of its
//! process.

use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use signpost_core::delivery::attempt::Attempt;
use signpost_core::delivery::breaker::Breaker;
use signpost_core::delivery::drain::drain_shard;
use signpost_core::delivery::limits::HeldSlot;
use signpost_core::delivery::list::{OldestFirst, key_of};
use signpost_core::delivery::parking::{LONGEST_IN_QUEUE, Lane, place};
use signpost_core::delivery::replay::{Replay, ReplayId};
use signpost_core::delivery::{
    DeadLetterReason, Delivery, DeliveryKey, DeliveryRecord, DeliveryStatus, Progress, ReplayKind,
};
use signpost_core::endpoint::subscription::Subscription;
use signpost_core::endpoint::{DisabledBecause, EndpointId, Limit};
use signpost_core::event::sequence::SequenceNumber;
use signpost_core::event::{Event, EventKey, TenantId};
use signpost_core::random_secret::SecretHash;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::signer::Signer;
use signpost_core::status::state::Moment;
use signpost_core::tenant_erasure::{ErasureId, ErasureStage, NOT_ENDED, Removed, TenantErasure};
use signpost_core::token_request::{RequestId, TokenRequest};
use signpost_engine::ports::clock::{Clock, Random};
use signpost_engine::ports::deliveries::{Deliveries, Lease, LeaseResult};
use signpost_engine::ports::endpoints::{Endpoints, OpenedSecrets, Secrets, StoredEndpoint, Written};
use signpost_engine::ports::events::{Arrival, EventTraces, Events, FirstFanOut, Insertion, States, StoredEvent};
use signpost_engine::ports::limits::{Breakers, ConcurrencySlot, Counted, Limits, SlotPool};
use signpost_engine::ports::parking::{Drain, Parked, Parking, SweepState, Waiting};
use signpost_engine::ports::queue::{Message, Queue, Received};
use signpost_engine::ports::replays::{DeliveryLists, ListStretch, ListedDelivery, Replays, RunningReplay};
use signpost_engine::ports::subscriptions::{Subscriptions, TypeRules, Version};
use signpost_engine::ports::tenant_erasures::{ErasureStep, RunningErasure, TenantErasures};
use signpost_engine::ports::token_requests::{Changed, TokenRequests};
use signpost_engine::ports::webhooks::Signers;
use signpost_engine::ports::{self, Ports};

use crate::queue::Body;
use crate::tables::{Place, Pool, Request, Tables, end_note, index_of};
use crate::world::{Call, Fault, Pipe, Process, Role, World, endpoint_id, tenant_index};

/// The ports of a world.
pub struct Sim;

impl Ports for Sim {
    type Error = Fault;
    type Clock = Process;
    type Random = Process;
    type Queue = QueueOf;
    type Breakers = Process;
    type Deliveries = Process;
    type DeliveryLists = Process;
    type Endpoints = Process;
    type Events = Process;
    type Limits = Process;
    type Parking = Process;
    type Replays = Process;
    type States = Process;
    type Subscriptions = Process;
    type TenantErasures = Process;
    type TokenRequests = Process;
    type Secrets = Process;
    type Signers = Process;
    type Webhooks = Process;
}

impl Clock for Process {
    fn unix(&self) -> Duration {
        Duration::from_millis(self.now())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.world.now())
    }

    async fn sleep(&self, wait: Duration) {
        self.world.clock.sleep(ports::clock::millis(wait)).await;
    }
}

impl Random for Process {
    fn u64(&self) -> u64 {
        self.world.dice.borrow_mut().u64(..)
    }
}

/// A queue, as a process sees it.
#[derive(Clone)]
pub struct QueueOf {
    pub process: Process,
    pub which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Deliveries,
    DeadLetters,
    Events,
    Notices,
    OwnEvents,
    Rejected,
    SlowDeliveries,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Deliveries => "DeliveriesQueue",
            Self::DeadLetters => "DeadLetterQueue",
            Self::Events => "EventsQueue",
            Self::Notices => "NoticesTopicQueue",
            Self::OwnEvents => "OwnEventsQueue",
            Self::Rejected => "RejectedQueue",
            Self::SlowDeliveries => "SlowDeliveriesQueue",
        }
    }

    pub fn pipe(self, world: &World) -> &Pipe {
        match self {
            Self::Deliveries => &world.deliveries,
            Self::DeadLetters => &world.dead_letters,
            Self::Events => &world.events,
            Self::Notices => &world.notices,
            Self::OwnEvents => &world.own_events,
            Self::Rejected => &world.rejected,
            Self::SlowDeliveries => &world.slow_deliveries,
        }
    }
}

/// Finds the event's number in the text of a delivery's message.
fn number_in(text: &str) -> Option<SequenceNumber> {
    let (_, rest) = text.split_once(r#","sequence":""#)?;
    SequenceNumber::parse(rest.split('"').next()?)
}

/// How many messages one call may have.
const BATCH: usize = 10;

impl QueueOf {
    fn send(&self, message: &Message) {
        let world = &self.process.world;
        if let Some(watch) = world.watch.borrow_mut().as_mut() {
            watch.sent.push((self.which, message.clone()));
            if watch.foreign.contains(&message.body) {
                return;
            }
        }
        let attribute = |name| message.attributes.iter().find(|(one, _)| *one == name).map(|(_, value)| value.as_str());
        let (since, reason) =
            (attribute("since").map(|since| since.parse().unwrap()), attribute("reason").map(Rc::from));
        let receives = attribute("receives").map_or(0, |receives| receives.parse().unwrap());
        let text = Rc::from(message.body.as_str());
        let delay_seconds = message.delay.as_secs().min(900);
        match self.which {
            Which::DeadLetters if reason.as_deref() == Some(DeadLetterReason::BadMessage.as_str()) => {
                assert!(Delivery::parse(&text).is_err(), "a delivery is taken for a foreign message: {text}");
                let body = Body { text, id: u32::MAX, since, receives, reason };
                world.dead_letters.queue.borrow_mut().send(body, 0, 0, world.now());
            }
            Which::Deliveries | Which::SlowDeliveries | Which::DeadLetters => {
                let id = world.delivery_in(&message.body);
                let body = Body { text: Rc::clone(&text), id, since, receives, reason };
                if self.which == Which::DeadLetters {
                    world.tell(id, || format!("a dead letter: {:?}", body.reason));
                    world.check_dead_letter(id, body.reason.as_deref().and_then(DeadLetterReason::parse).unwrap());
                    world.dead_letters.queue.borrow_mut().send(body, 0, 0, world.now());
                    return;
                }
                let number = world.laws.borrow().event_of(id);
                let stored = world.tables.borrow().events.get(&number).and_then(|first| first.number);
                if world.has_laws() {
                    let sent = number_in(&message.body);
                    assert_eq!(sent, stored, "delivery {id} is queued with another number than its event has");
                }
                let tenant = message.body.split_once(r#""tenant":""#).and_then(|(_, rest)| rest.split('"').next());
                assert_eq!(message.group.as_deref(), tenant, "the group of a delivery");
                if self.process.role == Role::Fanout {
                    let number = world.laws.borrow().event_of(id);
                    let is_known = world.laws.borrow().states.contains(&number);
                    assert!(is_known, "delivery {id} is queued before the state of event {number} can be polled");
                    if since.is_some() {
                        world.may_overlap(id);
                    }
                }
                world.queue_delivery(self.which, id, body, delay_seconds);
            }
            Which::Events | Which::Notices | Which::OwnEvents | Which::Rejected => {
                let event = Event::parse_own(&message.body).unwrap();
                let is_own = self.which == Which::OwnEvents;
                let id = if is_own { world.accept_own(&event) } else { world.number_of(&event.key.id) };
                let pipe = self.which.pipe(world);
                pipe.queue.borrow_mut().send(Body { text, id, since, receives, reason }, 0, delay_seconds, world.now());
                pipe.bell.ring();
            }
        }
    }

    /// Returns whether a test has calls with one of these messages fail.
    fn is_refused(&self, batch: &[Message]) -> bool {
        let watch = self.process.world.watch.borrow();
        let refused = watch.as_ref().and_then(|watch| watch.refused);
        refused.is_some_and(|text| batch.iter().any(|message| message.body.contains(text)))
    }

    pub fn receipt(message: &crate::queue::Received) -> String {
        format!("{}#{}", message.message, message.receipt.receives)
    }

    fn of_receipt(receipt: &str) -> (u64, u32) {
        let (message, receives) = receipt.split_once('#').unwrap();
        (message.parse().unwrap(), receives.parse().unwrap())
    }
}

impl Queue for QueueOf {
    type Error = Fault;

    /// Of the messages of one call, SQS may refuse some.
    async fn send_all(&self, messages: impl IntoIterator<Item = Message>) -> Result<(), Fault> {
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let batch: Vec<_> = messages.by_ref().take(BATCH).collect();
            if self.is_refused(&batch) {
                self.process.call((self.which.name(), "send_all"), |_| ()).await?;
                return Err(Fault);
            }
            let refused = self.process.world.may_refuse_some(batch.len());
            let accepted = batch.len() - refused;
            self.process
                .call((self.which.name(), "send_all"), |_| {
                    batch.iter().take(accepted).for_each(|message| self.send(message));
                })
                .await?;
            if refused > 0 {
                return Err(Fault);
            }
        }
        Ok(())
    }

    async fn delay_retry(&self, receipt: &str, wait: Duration) -> Result<(), Fault> {
        let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap();
        let (message, receives) = Self::of_receipt(receipt);
        assert!(seconds <= LONGEST_IN_QUEUE.as_secs(), "a message is in flight for {seconds} s");
        if let Some(watch) = self.process.world.watch.borrow_mut().as_mut() {
            watch.waits.push((receipt.to_owned(), seconds));
        }
        self.process
            .call((self.which.name(), "delay_retry"), |world| {
                let pipe = self.which.pipe(world);
                pipe.queue.borrow_mut().hide(message, receives, seconds, world.now());
                pipe.bell.ring();
            })
            .await
    }

    async fn receive(&self, hidden_for: Duration) -> Result<Vec<Received>, Fault> {
        let received = self.process.call((self.which.name(), "receive"), |world| {
            let pipe = self.which.pipe(world);
            let (mischief, dice) = (world.mischief(), &mut world.dice.borrow_mut());
            let mut queue = pipe.queue.borrow_mut();
            let received = queue.receive(BATCH, world.now(), mischief, dice);
            for one in &received {
                queue.hide(one.message, one.receipt.receives, hidden_for.as_secs(), world.now());
            }
            received
        });
        let received = received.await?.into_iter().map(|one| Received {
            id: one.message.to_string(),
            receipt: Self::receipt(&one),
            sent_unix_ms: one.sent,
            body: one.body.text.as_ref().to_owned(),
            reason: one.body.reason.as_deref().map(str::to_owned),
        });
        Ok(received.collect())
    }

    async fn remove_all(&self, receipts: impl IntoIterator<Item = String>) -> Result<(), Fault> {
        let receipts: Vec<_> = receipts.into_iter().collect();
        for batch in receipts.chunks(BATCH) {
            self.process
                .call((self.which.name(), "remove_all"), |world| {
                    let (mischief, dice) = (world.mischief(), &mut world.dice.borrow_mut());
                    for (message, receives) in batch.iter().map(|receipt| Self::of_receipt(receipt)) {
                        let mut queue = self.which.pipe(world).queue.borrow_mut();
                        queue.delete(message, receives, world.now(), mischief, dice);
                    }
                })
                .await?;
        }
        Ok(())
    }

    async fn release_all(&self, receipts: impl IntoIterator<Item = String>) -> Result<(), Fault> {
        for receipt in receipts {
            self.delay_retry(&receipt, Duration::ZERO).await?;
        }
        Ok(())
    }
}

impl Deliveries for Process {
    type Error = Fault;
    type Announced<'a> = ();

    async fn standing(&self, delivery: DeliveryKey<'_>) -> Result<Option<DeliveryRecord>, Fault> {
        let id = self.world.delivery(delivery);
        self.table(("Deliveries", "standing"), |tables| tables.standing(id)).await
    }

    async fn standing_batched(&self, delivery: DeliveryKey<'_>) -> Result<Option<DeliveryRecord>, Fault> {
        self.standing(delivery).await
    }

    async fn lease(&self, delivery: DeliveryKey<'_>, wanted: Lease) -> Result<LeaseResult, Fault> {
        let id = self.world.delivery(delivery);
        self.heats_delivery(id);
        self.of_delivery(id, ("Deliveries", "lease"), |tables| tables.lease(id, wanted)).await
    }

    async fn release(&self, delivery: DeliveryKey<'_>, leased_until_unix_ms: Option<u64>) -> Result<(), Fault> {
        let id = self.world.delivery(delivery);
        self.heats_delivery(id);
        self.of_delivery(id, ("Deliveries", "release"), |tables| tables.release_lease(id, leased_until_unix_ms)).await
    }

    fn announce_first(&self) {}

    async fn insert(&self, delivery: DeliveryKey<'_>, _: &Attempt, progress: Progress) -> Result<bool, Fault> {
        let id = self.world.delivery(delivery);
        self.recorded(id, ("Deliveries", "insert"), |world| world.tables.borrow_mut().insert(id, progress)).await
    }

    async fn update(
        &self,
        delivery: DeliveryKey<'_>,
        _: &Attempt,
        on_record: Option<u64>,
        progress: Progress,
    ) -> Result<bool, Fault> {
        let id = self.world.delivery(delivery);
        self.recorded(id, ("Deliveries", "update"), |world| world.tables.borrow_mut().update(id, on_record, progress))
            .await
    }

    async fn acknowledge(&self, delivery: DeliveryKey<'_>, _: &Attempt, progress: Progress) -> Result<bool, Fault> {
        let id = self.world.delivery(delivery);
        self.recorded(id, ("Deliveries", "acknowledge"), |world| world.tables.borrow_mut().acknowledge(id, progress))
            .await
    }

    async fn reset_for_replay(&self, delivery: DeliveryKey<'_>, replay: ReplayKind) -> Result<(), Fault> {
        let (id, now) = (self.world.delivery(delivery), self.now());
        self.call(("Deliveries", "reset_for_replay"), |world| {
            world.laws.borrow_mut().facts[id as usize].is_replayed = true;
            world.may_overlap(id);
            world.tables.borrow_mut().reset_for_replay(id, replay, now);
            world.tell(id, || format!("reset for {replay:?}"));
        })
        .await
    }

    async fn erase(&self, delivery: DeliveryKey<'_>) -> Result<(), Fault> {
        let (id, now) = (self.world.delivery(delivery), self.now());
        self.heats_delivery(id);
        self.of_delivery(id, ("Deliveries", "erase"), |tables| tables.erase(id, now)).await
    }

    async fn end(&self, delivery: DeliveryKey<'_>, _: DeadLetterReason) -> Result<(), Fault> {
        let (id, now) = (self.world.delivery(delivery), self.now());
        self.heats_delivery(id);
        self.of_delivery(id, ("Deliveries", "end"), |tables| tables.end(id, now)).await
    }
}

impl Process {
    /// A delivery is in one of the eight parts of its endpoint's list.
    fn heats_delivery(&self, id: u32) {
        self.heats("deliveries", || format!("{}#{}", self.world.endpoint_of(id), id % 8));
    }

    async fn recorded(&self, id: u32, what: Call, write: impl FnOnce(&World) -> bool) -> Result<bool, Fault> {
        self.heats_delivery(id);
        self.call(what, |world| {
            let is_written = write(world);
            if is_written {
                world.laws.borrow_mut().recorded(id, world.now());
            }
            world.tell(id, || format!("{}: {is_written}, {:?}", what.1, world.tables.borrow().records.get(&id)));
            is_written
        })
        .await
    }

    fn parked(&self, lane: &Lane, (at_unix_ms, id, token): (u64, u32, u64)) -> Parked {
        let (event, endpoint, arrived_unix_ms) = self.world.parts_of(id);
        let place = place(
            at_unix_ms,
            DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms, retention_days: None },
        );
        let (lane, arrived_unix_ms, fencing_token) = (lane.partition_of(&event), Some(arrived_unix_ms), Some(token));
        Parked { event, endpoint, at_unix_ms, arrived_unix_ms, retention_days: None, lane, place, fencing_token }
    }
}

impl Events for Process {
    type Error = Fault;

    async fn insert(&self, event: &Event, first: &FirstFanOut, counter: Option<&str>) -> Result<Insertion, Fault> {
        let number = self.world.number_of(&event.key.id);
        self.call(("Events", "insert"), |world| {
            let mut tables = world.tables.borrow_mut();
            if tables.erased.contains(&number) {
                return Insertion::Erased;
            }
            if let Some(existing) = tables.events.get(&number) {
                return Insertion::Stored(existing.clone());
            }
            world.laws.borrow().chosen(number, &first.endpoints, |index| tables.endpoints[index].is_none());
            let given = counter.map(|counter| {
                let last = tables.counters.get(counter).copied();
                let next = last.map_or_else(|| SequenceNumber::first(first.at_unix_seconds), SequenceNumber::next);
                tables.counters.insert(counter.to_owned(), next);
                next
            });
            world.laws.borrow_mut().numbered(number, counter, given);
            tables.events.insert(number, FirstFanOut { number: given, ..first.clone() });
            Insertion::New(given)
        })
        .await
    }

    async fn note_sent(&self, key: &EventKey, sent: usize) -> Result<(), Fault> {
        let number = self.world.number_of(&key.id);
        self.table(("Events", "note_sent"), |tables| {
            if let Some(first) = tables.events.get_mut(&number) {
                first.sent = first.sent.max(sent);
            }
        })
        .await
    }

    async fn get(&self, key: &EventKey) -> Result<Option<StoredEvent>, Fault> {
        let number = self.world.number_of(&key.id);
        self.call(("Events", "get"), |world| stored(world, number)).await
    }

    async fn get_some(&self, keys: &[&EventKey]) -> Result<Vec<Option<StoredEvent>>, Fault> {
        let mut numbers: Vec<_> = keys.iter().map(|key| self.world.number_of(&key.id)).collect();
        // Some events are so large that those after them need another call.
        let is_large = |number: &u32| number % 256 == 255;
        if let Some(large) = numbers.iter().position(is_large) {
            numbers.truncate(large + 1);
        }
        self.call(("Events", "get_some"), |world| numbers.into_iter().map(|number| stored(world, number)).collect())
            .await
    }

    async fn keep_until(&self, delivery: DeliveryKey<'_>, unix_ms: u64) -> Result<(), Fault> {
        let id = self.world.delivery(delivery);
        self.call(("Events", "keep_until"), |world| world.keep(id, unix_ms)).await
    }

    async fn keep_for_endpoint(&self, delivery: DeliveryKey<'_>) -> Result<(), Fault> {
        let id = self.world.delivery(delivery);
        self.call(("Events", "keep_for_endpoint"), |world| world.keep(id, u64::MAX)).await
    }

    async fn traces(&self, key: &EventKey) -> Result<Option<EventTraces>, Fault> {
        let number = self.world.number_of(&key.id);
        self.call(("Events", "traces"), |world| traces(world, number)).await
    }

    async fn erase(&self, key: &EventKey) -> Result<Option<EventTraces>, Fault> {
        let number = self.world.number_of(&key.id);
        self.call(("Events", "erase"), |world| {
            let before = traces(world, number);
            world.tables.borrow_mut().erased.insert(number);
            before
        })
        .await
    }
}

fn traces(world: &World, number: u32) -> Option<EventTraces> {
    let tables = world.tables.borrow();
    let is_erased = tables.erased.contains(&number);
    let Some(first) = tables.events.get(&number) else {
        return is_erased.then(|| EventTraces { event: None, moment: None, endpoints: Vec::new() });
    };
    let event = (!is_erased).then(|| world.event(number));
    Some(EventTraces { event, moment: Some(first.arrival.moment), endpoints: first.endpoints.clone() })
}

fn stored(world: &World, number: u32) -> Option<StoredEvent> {
    let arrived_unix_ms = {
        let tables = world.tables.borrow();
        let kept =
            tables.events.get(&number).filter(|_| !tables.gone.contains(&number) && !tables.erased.contains(&number));
        kept.map(|first| first.arrival.moment.arrived_unix_ms())
    };
    Some(StoredEvent { event: world.event(number), arrived_unix_ms: arrived_unix_ms? })
}

impl States for Process {
    type Error = Fault;

    async fn put(&self, event: &Event, _: Arrival, _: Option<&str>, _: Option<&str>) -> Result<(), Fault> {
        let number = self.world.number_of(&event.key.id);
        self.call(("States", "put"), |world| world.laws.borrow_mut().states.insert(number)).await.map(drop)
    }

    async fn erase(&self, _: &Event, _: Moment) -> Result<usize, Fault> {
        self.call(("States", "erase"), |_| 1).await
    }
}

impl Parking for Process {
    type Error = Fault;

    async fn park(&self, lane: Lane, unix_ms: u64, delivery: DeliveryKey<'_>) -> Result<(), Fault> {
        let (id, place, token) = (self.world.delivery(delivery), Place::of(&lane), self.u64());
        self.heats("lanes", || format!("{place:?}#{}", id % 8));
        let is_in_time =
            !self.world.has_laws() || !matches!(lane, Lane::Due { .. }) || lane == Lane::due_at(unix_ms, delivery);
        assert!(is_in_time, "delivery {id} is due at {unix_ms}, and parked in {place:?}");
        self.call(("Parking", "park"), |world| {
            world.check_parking(place, unix_ms, id);
            world.tables.borrow_mut().park(place, unix_ms, id, token);
            world.tell(id, || format!("parked in {place:?}"));
        })
        .await
    }

    async fn first_of(&self, lane: &Lane, limit: usize) -> Result<Vec<Parked>, Fault> {
        let first = self.table(("Parking", "first_of"), |tables| tables.first_of(Place::of(lane), limit)).await?;
        Ok(first.into_iter().map(|one| self.parked(lane, one)).collect())
    }

    async fn is_empty(&self, lane: &Lane) -> Result<bool, Fault> {
        self.table(("Parking", "is_empty"), |tables| tables.first_of(Place::of(lane), 1).is_empty()).await
    }

    async fn remove(&self, parked: &Parked) -> Result<(), Fault> {
        let (id, place) = (self.world.delivery_of(&parked.event, &parked.endpoint), Place::of_key(&parked.lane));
        let (at, token) = (parked.at_unix_ms, parked.fencing_token);
        self.heats("lanes", || format!("{place:?}#{}", id % 8));
        self.of_delivery(id, ("Parking", "remove"), |tables| tables.unpark(place, at, id, token)).await
    }

    async fn remove_all(&self, parked: &[Parked]) -> Result<(), Fault> {
        let items = parked.iter().map(|one| {
            let id = self.world.delivery_of(&one.event, &one.endpoint);
            self.heats("lanes", || format!("{:?}#{}", Place::of_key(&one.lane), id % 8));
            (Place::of_key(&one.lane), one.at_unix_ms, id, one.fencing_token)
        });
        let items: Vec<_> = items.collect();
        self.call(("Parking", "remove_all"), |world| {
            for (place, at, id, token) in items {
                world.tables.borrow_mut().unpark(place, at, id, token);
                world.tell(id, || "taken out of its lane".to_owned());
            }
        })
        .await
    }

    async fn ask_to_drain(&self, tenant: &TenantId, endpoint: &EndpointId) -> Result<(), Fault> {
        self.heats("drain", || (index_of(endpoint) % 8).to_string());
        let now = self.now() / 1_000;
        self.table(("Parking", "ask_to_drain"), |tables| tables.ask_to_drain(tenant, endpoint, now)).await
    }

    async fn is_drain_requested(&self, endpoint: &EndpointId) -> Result<bool, Fault> {
        self.table(("Parking", "is_drain_requested"), |tables| tables.drains.contains_key(endpoint)).await
    }

    async fn ask_to_drain_now(&self, tenant: &TenantId, endpoint: &EndpointId) -> Result<(), Fault> {
        let (now, token) = (self.now() / 1_000, self.u64());
        self.table(("Parking", "ask_to_drain_now"), |tables| tables.ask_to_drain_now(tenant, endpoint, now, token))
            .await
    }

    async fn drains(&self, shard: u8, after: Option<&EndpointId>, limit: usize) -> Result<Vec<Drain>, Fault> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.table(("Parking", "drains"), |tables| {
            let behind = tables.drains.range::<EndpointId, _>((after, Bound::Unbounded));
            let of_shard = behind.filter(|(endpoint, _)| drain_shard(endpoint) == shard).take(limit);
            let drain = |(endpoint, request): (&EndpointId, &Request)| Drain {
                endpoint: endpoint.clone(),
                tenant: request.tenant.clone(),
                asked_at: request.asked_at,
                not_before_unix_ms: request.not_before,
                fencing_token: request.token,
            };
            of_shard.map(drain).collect()
        })
        .await
    }

    async fn postpone_drain(&self, drain: &Drain, unix_ms: u64) -> Result<(), Fault> {
        self.table(("Parking", "postpone_drain"), |tables| tables.postpone_drain(drain, unix_ms)).await
    }

    async fn end_drain(&self, drain: &Drain) -> Result<(), Fault> {
        self.table(("Parking", "end_drain"), |tables| tables.end_drain(drain)).await
    }

    async fn note_waiting(&self, endpoint: &EndpointId) -> Result<(), Fault> {
        let now = self.now() / 1_000;
        self.table(("Parking", "note_waiting"), |tables| tables.waiting.insert(endpoint.clone(), now)).await.map(drop)
    }

    async fn waiting(&self, after: Option<&EndpointId>, limit: usize) -> Result<Vec<Waiting>, Fault> {
        let waiting = self.table(("Parking", "waiting"), |tables| tables.waiting.clone()).await?;
        let waiting = waiting.into_iter().filter(|(endpoint, _)| after.is_none_or(|after| endpoint > after));
        Ok(waiting.take(limit).map(|(endpoint, noted_at)| Waiting { endpoint, noted_at }).collect())
    }

    async fn end_waiting(&self, waiting: &Waiting) -> Result<(), Fault> {
        self.table(("Parking", "end_waiting"), |tables| {
            end_note(&mut tables.waiting, &waiting.endpoint, waiting.noted_at);
        })
        .await
    }

    async fn begin_sweep(&self, now: u64, until: u64, first_minute: u64) -> Result<Option<SweepState>, Fault> {
        self.call(("Parking", "begin_sweep"), |world| {
            let begun = world.tables.borrow_mut().begin_sweep(now, until, first_minute);
            if begun.is_some() && world.has_laws() {
                world.laws.borrow_mut().sweeps(world.now());
            }
            begun
        })
        .await
    }

    async fn end_sweep(&self, state: &SweepState) -> Result<(), Fault> {
        self.call(("Parking", "end_sweep"), |world| {
            world.laws.borrow_mut().sweep_ends();
            world.tables.borrow_mut().end_sweep(state.clone());
        })
        .await
    }
}

impl Replays for Process {
    type Error = Fault;

    async fn running(&self) -> Result<Vec<RunningReplay>, Fault> {
        self.table(("Replays", "running"), |tables| tables.running_replays.clone()).await
    }

    async fn get(&self, tenant: &TenantId, id: &ReplayId) -> Result<Option<Replay>, Fault> {
        let key = (tenant.to_string(), id.clone());
        self.table(("Replays", "get"), |tables| tables.replays.get(&key).cloned()).await
    }

    async fn replace(&self, after: &Replay) -> Result<bool, Fault> {
        self.table(("Replays", "replace"), |tables| tables.replace_replay(after)).await
    }

    async fn end_running(&self, running: &RunningReplay) -> Result<(), Fault> {
        self.table(("Replays", "end_running"), |tables| tables.end_running_replay(running)).await
    }
}

impl TenantErasures for Process {
    type Error = Fault;

    async fn running(&self) -> Result<Vec<RunningErasure>, Fault> {
        self.table(("TenantErasures", "running"), |tables| tables.running_erasures.clone()).await
    }

    async fn get(&self, tenant: &TenantId, id: &ErasureId) -> Result<Option<TenantErasure>, Fault> {
        let key = (tenant.to_string(), id.clone());
        self.table(("TenantErasures", "get"), |tables| tables.erasures.get(&key).cloned()).await
    }

    async fn replace(&self, after: &TenantErasure) -> Result<bool, Fault> {
        self.table(("TenantErasures", "replace"), |tables| tables.replace_erasure(after)).await
    }

    async fn end_running(&self, running: &RunningErasure) -> Result<(), Fault> {
        self.table(("TenantErasures", "end_running"), |tables| tables.running_erasures.retain(|one| one != running))
            .await
    }

    async fn step(&self, erasure: &TenantErasure) -> Result<ErasureStep, Fault> {
        let now = self.now();
        self.call(("TenantErasures", "step"), |world| world.erase_step(erasure, now)).await
    }
}

/// How many things a step removes at most.
const ERASED_AT_ONCE: usize = 3;

impl World {
    /// Removes some of what the tables have of a tenant.
    fn erase_step(&self, erasure: &TenantErasure, now: u64) -> ErasureStep {
        let tenant = tenant_index(&erasure.tenant);
        let is_own = |endpoint: usize| (self.plan.tenant_of)(endpoint) == tenant;
        let tables = &mut *self.tables.borrow_mut();
        let mut removed = Removed::default();
        let mut cursor = None;
        match erasure.stage {
            ErasureStage::Endpoints => {
                tables.erased_until.insert(erasure.tenant.to_string(), NOT_ENDED);
                for (index, stored) in tables.endpoints.iter_mut().enumerate().filter(|(index, _)| is_own(*index)) {
                    removed.endpoints += u64::from(stored.take().is_some());
                    tables.removed_endpoints.insert(index);
                }
            }
            ErasureStage::Events => {
                let own = tables
                    .events
                    .keys()
                    .copied()
                    .filter(|number| self.parsed_event(*number).key.tenant == erasure.tenant);
                let mut own: Vec<_> = own.collect();
                own.sort_unstable();
                cursor = (own.len() > ERASED_AT_ONCE).then(String::new);
                for number in own.into_iter().take(ERASED_AT_ONCE) {
                    removed.events += u64::from(tables.events.remove(&number).is_some());
                }
            }
            ErasureStage::Deliveries => {
                let Some(endpoint) = tables.removed_endpoints.iter().copied().find(|index| is_own(*index)) else {
                    return ErasureStep::default();
                };
                cursor = Some(endpoint.to_string());
                let of_it = tables.records.keys().copied().filter(|id| self.endpoint_of(*id) == endpoint);
                let of_it: Vec<_> = of_it.collect();
                if of_it.is_empty() {
                    tables.removed_endpoints.remove(&endpoint);
                    tables.breakers.remove(&endpoint);
                    tables.seconds.remove(&endpoint);
                    tables.slots.retain(|(pool, _), _| *pool != Pool::Endpoint(endpoint));
                    tables.waiting.remove(&endpoint_id(endpoint));
                }
                for id in of_it.into_iter().take(ERASED_AT_ONCE) {
                    removed.deliveries += u64::from(tables.records.remove(&id).is_some());
                }
            }
            ErasureStage::Parked => {
                for lane in tables.parked.values_mut() {
                    let before = lane.len();
                    lane.retain(|(_, id), _| !is_own(self.endpoint_of(*id)));
                    removed.parked += (before - lane.len()) as u64;
                }
                tables.parked.retain(|_, lane| !lane.is_empty());
                tables.drains.retain(|_, request| request.tenant != erasure.tenant);
            }
            ErasureStage::Ending => {
                let until = tables.erased_until.get_mut(erasure.tenant.as_str());
                if let Some(until) = until.filter(|until| **until == NOT_ENDED) {
                    *until = now; // A repetition does not move the end.
                }
            }
            ErasureStage::Settings
            | ErasureStage::TokenRequests
            | ErasureStage::Links
            | ErasureStage::Settling
            | ErasureStage::Done => {}
        }
        ErasureStep { removed, cursor }
    }
}

impl DeliveryLists for Process {
    type Error = Fault;

    async fn oldest_first(
        &self,
        _: &TenantId,
        endpoint: &EndpointId,
        part: OldestFirst,
        statuses: &[DeliveryStatus],
        looked_at: usize,
    ) -> Result<ListStretch, Fault> {
        let Some(range) = part.range() else { return Ok(ListStretch { deliveries: Vec::new(), read_to: None }) };
        self.call(("DeliveryLists", "oldest_first"), |world| {
            world.list_records();
            let (found, read_to) = world.tables.borrow().oldest_first(index_of(endpoint), range, statuses, looked_at);
            let listed = |(position, id, progress)| {
                let (event, ..) = world.parts_of(id);
                ListedDelivery { position, event, progress, retention_days: None }
            };
            ListStretch { deliveries: found.into_iter().map(listed).collect(), read_to }
        })
        .await
    }
}

impl World {
    /// Puts new records into the lists of their endpoints.
    fn list_records(&self) {
        let new = self.tables.borrow().not_listed();
        for id in new {
            let (event, endpoint, arrived_unix_ms) = self.parts_of(id);
            let (_, position) =
                key_of(DeliveryKey { event: &event, endpoint: &endpoint, arrived_unix_ms, retention_days: None });
            self.tables.borrow_mut().list(id, index_of(&endpoint), position);
        }
    }
}

impl Limits for Process {
    type Error = Fault;

    async fn held(&self, pool: &SlotPool, limit: Limit) -> Result<Vec<HeldSlot>, Fault> {
        self.table(("Limits", "held"), |tables| tables.held(Pool::of(pool), limit)).await
    }

    async fn take(&self, slot: &ConcurrencySlot, now_unix_ms: u64, until_unix_ms: u64) -> Result<bool, Fault> {
        let place = (Pool::of(&slot.pool), slot.index);
        self.heats("slots", || format!("{:?}#{}", place.0, slot.index % 8));
        let take = |tables: &mut Tables| tables.take_slot(place, slot.holder, now_unix_ms, until_unix_ms);
        let taken = self.table(("Limits", "take"), take).await;
        self.forgets_unless(&taken, slot.holder);
        taken
    }

    async fn renew(&self, slot: &ConcurrencySlot, now_unix_ms: u64, until_unix_ms: u64) -> Result<bool, Fault> {
        let place = (Pool::of(&slot.pool), slot.index);
        self.heats("slots", || format!("{:?}#{}", place.0, slot.index % 8));
        self.table(("Limits", "renew"), |tables| tables.renew_slot(place, slot.holder, now_unix_ms, until_unix_ms))
            .await
    }

    async fn release(&self, slot: ConcurrencySlot) -> Result<(), Fault> {
        let place = (Pool::of(&slot.pool), slot.index);
        self.heats("slots", || format!("{:?}#{}", place.0, slot.index % 8));
        let released = self.table(("Limits", "release"), |tables| tables.release_slot(place, slot.holder)).await;
        self.forgets_unless(&released, slot.holder);
        released
    }

    async fn count_first(&self, endpoint: &EndpointId, unix_seconds: u64, requests: u16) -> Result<Counted, Fault> {
        let index = index_of(endpoint);
        self.heats("second", || index.to_string());
        self.counted(("Limits", "count_first"), index, unix_seconds, requests, |world| {
            world.tables.borrow_mut().count_first(index, unix_seconds, requests)
        })
        .await
    }

    async fn count_more(
        &self,
        endpoint: &EndpointId,
        unix_seconds: u64,
        limit: Limit,
        requests: u16,
    ) -> Result<Counted, Fault> {
        let index = index_of(endpoint);
        self.heats("second", || index.to_string());
        self.counted(("Limits", "count_more"), index, unix_seconds, requests, |world| {
            world.tables.borrow_mut().count_more(index, unix_seconds, limit, requests)
        })
        .await
    }
}

impl Process {
    fn forgets_unless<T>(&self, answer: &Result<T, Fault>, holder: u64) {
        if answer.is_err() {
            self.world.laws.borrow_mut().forgotten_slots.insert(holder);
        }
    }

    async fn counted(
        &self,
        what: Call,
        endpoint: usize,
        unix_seconds: u64,
        requests: u16,
        count: impl FnOnce(&World) -> Counted,
    ) -> Result<Counted, Fault> {
        self.call(what, |world| {
            let counted = count(world);
            let tables = world.tables.borrow();
            let limit = tables.endpoints[endpoint].as_ref().and_then(|stored| stored.settings.max_per_second);
            if let (Counted::Yes, Some(limit)) = (counted, limit) {
                (0..requests).for_each(|_| world.laws.borrow_mut().granted(endpoint, unix_seconds, limit));
            }
            counted
        })
        .await
    }
}

impl Breakers for Process {
    type Error = Fault;

    async fn read(&self, endpoint: &EndpointId) -> Result<(Breaker, Option<u64>), Fault> {
        let read = self.table(("Breakers", "read"), |tables| tables.breakers.get(&index_of(endpoint)).cloned()).await?;
        Ok(read.map_or_else(Default::default, |(breaker, version)| (breaker, Some(version))))
    }

    async fn replace(
        &self,
        endpoint: &EndpointId,
        before: Option<u64>,
        breaker: &Breaker,
        version: u64,
    ) -> Result<bool, Fault> {
        let (index, breaker) = (index_of(endpoint), breaker.clone());
        self.heats("breaker", || index.to_string());
        let now = self.now();
        self.call(("Breakers", "replace"), |world| {
            let mut tables = world.tables.borrow_mut();
            let before_it = tables.breakers.get(&index).map_or_else(Breaker::default, |(breaker, _)| breaker.clone());
            let after_it = breaker.admits(now);
            let is_replaced = tables.replace_breaker(index, before, breaker, version);
            if is_replaced {
                world.laws.borrow_mut().breaker_changes(index, before_it.admits(now), after_it, world.now());
            }
            is_replaced
        })
        .await
    }
}

impl Subscriptions for Process {
    type Error = Fault;

    async fn versions(&self, tenants: &[&TenantId]) -> Vec<Result<Option<Version>, Fault>> {
        let read = self.table(("Subscriptions", "versions"), |tables| {
            let erased: Vec<_> = tenants.iter().map(|tenant| tables.erased_until(tenant)).collect();
            (tables.subscriptions_version(), erased)
        });
        let (version, erased) = match read.await {
            Ok((version, erased)) => (Ok(version), erased),
            Err(fault) => (Err(fault), vec![0; tenants.len()]),
        };
        let at = |version: Option<Version>, erased_until_unix_ms| {
            version.map(|version| Version { erased_until_unix_ms, ..version })
        };
        let of = tenants.iter().zip(erased);
        of.map(|(tenant, erased)| version.and_then(|version| self.of_tenant_or_broken(tenant, at(version, erased))))
            .collect()
    }

    async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<(EndpointId, Option<Subscription>)>, Fault> {
        let read = self.table(("Subscriptions", "of_tenant"), |tables| tables.subscriptions()).await?;
        self.of_tenant_or_broken(tenant, read)
    }

    async fn schemas(&self, tenant: &TenantId) -> Result<Vec<TypeRules>, Fault> {
        let read = self.table(("Subscriptions", "schemas"), |tables| tables.schemas.clone()).await?;
        self.of_tenant_or_broken(tenant, read)
    }
}

impl Process {
    fn of_tenant_or_broken<T>(&self, tenant: &TenantId, answer: T) -> Result<T, Fault> {
        let watch = self.world.watch.borrow();
        let is_broken = watch.as_ref().is_some_and(|watch| watch.broken_tenant.as_ref() == Some(tenant));
        if is_broken { Err(Fault) } else { Ok(answer) }
    }
}

impl Endpoints for Process {
    type Error = Fault;

    async fn get(&self, _: &TenantId, id: &EndpointId) -> Result<Option<StoredEndpoint>, Fault> {
        let index = index_of(id);
        let read = self.table(("Endpoints", "get"), |tables| {
            let is_readable = !tables.unreadable.contains(&index);
            is_readable.then(|| tables.endpoints[index].clone()).ok_or(Fault)
        });
        read.await?
    }

    async fn exists(&self, _: &TenantId, id: &EndpointId) -> Result<bool, Fault> {
        self.table(("Endpoints", "exists"), |tables| tables.endpoints[index_of(id)].is_some()).await
    }

    async fn erased_until(&self, tenant: &TenantId) -> Result<u64, Fault> {
        self.table(("Endpoints", "erased_until"), |tables| tables.erased_until(tenant)).await
    }

    async fn disable(&self, _: &TenantId, id: &EndpointId, because: DisabledBecause) -> Result<Written, Fault> {
        self.call(("Endpoints", "disable"), |world| world.disable(index_of(id), because)).await
    }

    async fn verify(&self, _: &TenantId, id: &EndpointId, origin: &str) -> Result<Written, Fault> {
        let index = index_of(id);
        self.call(("Endpoints", "verify"), |world| {
            world.laws.borrow_mut().enabled(index);
            world.tables.borrow_mut().verify(index, origin)
        })
        .await
    }
}

impl Secrets for Process {
    type Access = ();
    type Error = Fault;

    async fn open(&self, _: &TenantId, _: &EndpointId, _: &StoredEndpoint) -> Result<OpenedSecrets<()>, Fault> {
        self.call(("Secrets", "open"), |world| OpenedSecrets { access: (), keys: world.keys.clone() }).await
    }
}

impl Signers for Process {
    type Error = Fault;

    async fn current(&self, algorithm: Algorithm) -> Result<Arc<Signer>, Fault> {
        let signer = self.call(("Signers", "current"), |world| world.signer.clone()).await?.ok_or(Fault)?; // `None`: no key was made.
        assert_eq!(signer.algorithm(), algorithm);
        Ok(signer)
    }
}

impl TokenRequests for Process {
    type Error = Fault;

    async fn of_state(&self, state: &SecretHash) -> Result<Option<(TenantId, RequestId)>, Fault> {
        self.table(("TokenRequests", "of_state"), |tables| tables.states.get(state).cloned()).await
    }

    async fn record_callback(
        &self,
        tenant: &TenantId,
        id: &RequestId,
        state: &SecretHash,
        payload: &str,
        now: u64,
    ) -> Result<Changed, Fault> {
        let key = (tenant.clone(), id.clone());
        self.table(("TokenRequests", "record_callback"), |tables| tables.record_callback(&key, state, payload, now))
            .await
    }

    async fn acknowledge(&self, request: &TokenRequest, by: &str) -> Result<Changed, Fault> {
        self.call(("TokenRequests", "acknowledge"), |world| {
            let is_queued = world.laws.borrow().own_event(&request.event_id()).is_some();
            assert!(is_queued || !world.has_laws(), "a state is used up before its event is in the queue");
            world.tables.borrow_mut().acknowledge_callback(request, by)
        })
        .await
    }
}
