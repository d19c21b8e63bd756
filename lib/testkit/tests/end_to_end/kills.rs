//! Functions that are killed (SIGKILL), at exact points and at random times under load. Each acknowledged event is
//! delivered, or kept with its reason. At most the requests that were in progress are sent twice.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use Hold::{Answered, Called};
use Integrator::{Accepts, AcceptsTheSecondTime, IsDisabled, Rejects};
use futures_util::future::{Either, join_all, join4, select};
use serde_json::json;
use signpost_core::delivery::parking::Lane;
use signpost_core::delivery::{Delivery, DeliveryKey};
use signpost_core::endpoint::EndpointId;
use signpost_core::event::{Event, TenantId};
use signpost_engine::ports::parking::Parking as _;
use signpost_io::runtime::clock::unix_ms_now;
use signpost_io::runtime::config::environment;
use signpost_testkit::aws_proxy::{AwsProxy, Hold};
use signpost_testkit::build::{ARRIVED, event, event_id, tenant};
use signpost_testkit::event_source::EventSource;
use signpost_testkit::lambda_host::{InvocationError, LambdaHost};
use signpost_testkit::local_stack::{LocalStack, attribute, endpoint_path};
use signpost_testkit::receiver::Receiver;
use tokio::time::{interval, sleep, timeout};

use crate::busy::undisturbed;
use crate::own::Own;

/// The held step that is not a call of AWS: the request to the integrator.
const REQUEST: &str = "the request";
/// The call that inserts the items of a batch.
const INSERT: &str = "BatchExecuteStatement";
/// The number of messages that one invocation takes.
const BATCH: usize = 10;
/// The number of requests of a batch that an integrator fails. One more would open the endpoint's breaker.
const FAILED: usize = BATCH - 1;
/// The call that deletes parked deliveries together.
const DELETE: &str = INSERT;
/// The number of deliveries that `sweep` finds parked.
const PARKED: usize = 20;
/// The time after which everything has ended: a message that returns can be hidden for a minute and a half.
const PATIENCE: Duration = Duration::from_mins(5);

#[tokio::test]
async fn a_function_killed_anywhere_loses_nothing_acknowledged() {
    // The point of death: the operation, whether its calls have been answered, and the number of its calls. Then the
    // integrator's behaviour, and the number of requests that may be sent twice.
    let deliver = [
        // The seat is asked for in any case; a late start on a busy machine changes the calls after it.
        point("deliver: received, nothing sent", ("UpdateItem", Called, 1), Accepts, 0),
        // On a busy machine the first invocation may have a part of the batch.
        point("deliver: sent, not answered", (REQUEST, Called, 1), Accepts, BATCH),
        point("deliver: sent, not recorded", (INSERT, Called, 1), Accepts, BATCH),
        point("deliver: recorded, not returned", (INSERT, Answered, 1), Accepts, 0),
        point(
            "deliver: recorded, its wait not set",
            ("ChangeMessageVisibility", Called, FAILED),
            AcceptsTheSecondTime,
            0,
        ),
        point("deliver: exhausted, not dead-lettered", ("SendMessageBatch", Called, FAILED), Rejects, 0),
        point("deliver: dead-lettered, not returned", ("SendMessageBatch", Answered, FAILED), Rejects, 0),
        point("deliver: not yet parked", ("PutItem", Called, BATCH), IsDisabled, 0),
        point("deliver: parked, not returned", ("PutItem", Answered, BATCH), IsDisabled, 0),
    ];
    let second =
        point("deliver: at a write of a second attempt", ("UpdateItem", Called, 1), AcceptsTheSecondTime, BATCH);
    let fanout = [
        point("fanout: received, nothing written", (INSERT, Called, 1), Accepts, 0),
        point("fanout: written, not answered", (INSERT, Answered, 1), Accepts, 0),
        point("fanout: written, nothing sent", ("SendMessageBatch", Called, 1), Accepts, 0),
        // Messages of the second run can arrive while those of the first are being sent.
        point("fanout: sent, not returned", ("SendMessageBatch", Answered, 1), Accepts, BATCH),
    ];
    let sweep = [
        point("sweep: read, nothing sent", ("SendMessageBatch", Called, PARKED / 10), Accepts, 0),
        point("sweep: sent, none removed", (DELETE, Called, 1), Accepts, 0),
        point("sweep: sent, all removed", (DELETE, Answered, 1), Accepts, 0),
    ];
    let (deliver, second, fanout, sweep) = join4(
        join_all(
            deliver.map(async |point| undisturbed(point.name, async |aws| killed_delivering(point, aws).await).await),
        ),
        undisturbed(second.name, async |aws| killed_delivering_again(second, aws).await),
        join_all(
            fanout.map(async |point| undisturbed(point.name, async |aws| killed_fanning_out(point, aws).await).await),
        ),
        join_all(sweep.map(async |point| undisturbed(point.name, async |aws| killed_sweeping(point, aws).await).await)),
    )
    .await;
    let rows: Vec<_> = deliver.into_iter().chain([second]).chain(fanout).chain(sweep).collect();
    println!("{}", Table(&rows));
    rows.iter().for_each(Row::assert_that_nothing_is_lost);
}

#[tokio::test]
async fn deliver_killed_at_any_time_under_load_loses_nothing_acknowledged() {
    const EVENTS: usize = 400;
    const KILLS: usize = 4;
    let seed = environment("KILLS_SEED").map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("KILLS_SEED={seed}");
    let name = "deliver: at random times under load";
    let row = undisturbed(name, async |aws| {
        let mut random = fastrand::Rng::with_seed(seed);
        let scene = Scene::of(Accepts, aws).await;
        let ids = scene.send_deliveries(EVENTS).await;
        let hosts = [scene.host("deliver"), scene.host("deliver")];
        let _sources = hosts.each_ref().map(|host| EventSource::start(host, &scene.stack.aws, &scene.own.deliveries));

        for kill in 0..KILLS {
            let share = EVENTS / (KILLS + 1);
            scene.receiver.wait_for(kill * share + random.usize(1..=share)).await;
            sleep(Duration::from_millis(random.u64(0..60))).await; // A random time within about one invocation.
            hosts[random.usize(..hosts.len())].kill().await;
        }
        let sent_before = scene.receiver.so_far().len();
        scene.come_to_rest(&scene.own.deliveries).await;

        scene.row(name, &ids, sent_before, KILLS * BATCH).await
    })
    .await;
    println!("{}", Table(std::slice::from_ref(&row)));
    row.assert_that_nothing_is_lost();
}

/// A point at which a function is killed.
#[derive(Clone, Copy)]
struct Point {
    name: &'static str,
    held: (&'static str, Hold, usize),
    integrator: Integrator,
    may_repeat: usize,
}

fn point(name: &'static str, held: (&'static str, Hold, usize), integrator: Integrator, may_repeat: usize) -> Point {
    Point { name, held, integrator, may_repeat }
}

/// The integrator's answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Integrator {
    Accepts,
    /// Fails the first requests.
    AcceptsTheSecondTime,
    /// Gets nothing, because its endpoint is disabled.
    IsDisabled,
    /// Fails every request except the first; there are no retries.
    Rejects,
}

impl Integrator {
    fn accepts(self, index: usize) -> bool {
        match self {
            Accepts => true,
            AcceptsTheSecondTime => index >= FAILED,
            IsDisabled => false,
            Rejects => index == 0,
        }
    }
}

async fn killed_delivering(point: Point, aws: AwsProxy) -> Row {
    let scene = Scene::of(point.integrator, aws).await;
    let deliver = scene.host("deliver");
    let ids = scene.send_deliveries(BATCH).await;
    scene.hold(point);
    let _source = scene.feed(&deliver, &scene.own.deliveries);
    if point.held == (INSERT, Answered, 1) {
        // On a busy machine several calls record a batch, and unrecorded requests are sent again.
        for id in &ids {
            scene.stack.wait_for_attempts(&scene.tenant, id, &scene.endpoint, 1).await;
        }
    }
    let sent_before = scene.kill(point, &deliver).await;
    scene.come_to_rest(&scene.own.deliveries).await;
    scene.row(point.name, &ids, sent_before, point.may_repeat).await
}

async fn killed_delivering_again(point: Point, aws: AwsProxy) -> Row {
    let scene = Scene::of(point.integrator, aws).await;
    let deliver = scene.host("deliver");
    let ids = scene.send_deliveries(BATCH).await;
    let _source = scene.feed(&deliver, &scene.own.deliveries);
    for id in &ids {
        scene.stack.wait_for_attempts(&scene.tenant, id, &scene.endpoint, 1).await;
    }
    scene.hold(point);
    let sent_before = scene.kill(point, &deliver).await;
    scene.come_to_rest(&scene.own.deliveries).await;
    scene.row(point.name, &ids, sent_before, point.may_repeat).await
}

async fn killed_fanning_out(point: Point, aws: AwsProxy) -> Row {
    let scene = Scene::of(point.integrator, aws).await;
    let (fanout, deliver) = (scene.host("fanout"), scene.host("deliver"));
    let events = &scene.own.events;
    let ids: Vec<_> = [(); BATCH].map(|()| event_id()).into();
    let about_itself = |id: &String| {
        let mut event = event(&scene.tenant, id, &json!({}));
        event["subject"] = json!(id);
        event.to_string()
    };
    scene.stack.send_to(events, ids.iter().map(about_itself)).await;
    scene.hold(point);
    let _sources = [scene.feed(&fanout, events), scene.feed(&deliver, &scene.own.deliveries)];
    let sent_before = scene.kill(point, &fanout).await;
    scene.come_to_rest(events).await;
    scene.come_to_rest(&scene.own.deliveries).await;
    for id in &ids {
        let told = scene.stack.manage("GET", &format!("/v1/tenants/{}/status/example/{id}", scene.tenant), None).await;
        assert_eq!(told.status, 200, "{}: the state of {id} is lost", point.name);
        assert_eq!(told.json()["history"].as_array().unwrap().len(), 1, "{}: {id} is there twice", point.name);
    }
    scene.row(point.name, &ids, sent_before, point.may_repeat).await
}

async fn killed_sweeping(point: Point, aws: AwsProxy) -> Row {
    let scene = Scene::of(point.integrator, aws).await;
    let (sweep, deliver) = (scene.host("sweep"), scene.host("deliver"));
    let parking = scene.own.parking();
    let mut ids = Vec::new();
    for event in scene.events(PARKED) {
        scene.stack.store(&event, &scene.endpoint).await;
        let delivery = DeliveryKey {
            event: &event.key,
            endpoint: &scene.endpoint,
            arrived_unix_ms: ARRIVED,
            retention_days: None,
        };
        parking.park(Lane::Endpoint(delivery.endpoint.clone()), unix_ms_now(), delivery).await.unwrap();
        ids.push(event.key.id.as_str().to_owned());
    }
    parking.ask_to_drain(&scene.tenant, &scene.endpoint).await.unwrap();
    scene.hold(point);
    let _source = scene.feed(&deliver, &scene.own.deliveries);
    let minute = json!({"source": "aws.events"});
    let sent_before = match select(pin!(sweep.invoke(&minute)), pin!(scene.kill(point, &sweep))).await {
        Either::Left((Err(InvocationError::Died), kill)) => kill.await,
        Either::Left((swept, _)) => panic!("{}: it ended before it was killed: {swept:?}", point.name),
        Either::Right((sent_before, swept)) => {
            let swept = swept.await;
            assert!(matches!(swept, Err(InvocationError::Died)), "{}: {swept:?}", point.name);
            sent_before
        }
    };
    let schedule = async {
        let mut schedule = interval(Duration::from_secs(5)); // Does nothing until the dead run's lease ends.
        while !scene.parked().await.is_empty() {
            schedule.tick().await;
            // It fails if AWS refuses a call, as on a busy machine. The schedule invokes it again.
            let _ = sweep.invoke(&minute).await;
        }
    };
    let _ = timeout(PATIENCE, schedule).await; // Deliveries that stay parked are counted.
    scene.come_to_rest(&scene.own.deliveries).await;
    scene.row(point.name, &ids, sent_before, point.may_repeat).await
}

/// An endpoint, and functions that call AWS through a proxy.
struct Scene {
    stack: LocalStack,
    proxy: AwsProxy,
    receiver: Receiver,
    tenant: TenantId,
    endpoint: EndpointId,
    own: Own,
}

impl Scene {
    async fn of(integrator: Integrator, proxy: AwsProxy) -> Self {
        let (stack, tenant) = (LocalStack::from_env().await, tenant());
        let receiver = Receiver::start(move |index| if integrator.accepts(index) { 204 } else { 500 }).await;
        let retries = usize::from(integrator != Rejects);
        let settings = json!({"url": receiver.url, "retry": {"maxRetries": 5 * retries, "intervalSeconds": 30}});
        let endpoint = stack.register_with(&tenant, &settings).await.id;
        if integrator == IsDisabled {
            let path = format!("{}/disable", endpoint_path(&tenant, &endpoint));
            assert_eq!(stack.manage("POST", &path, None).await.status, 200);
        }
        let own = Own::of(&stack).await;
        Self { stack, proxy, receiver, tenant, endpoint, own }
    }

    fn host(&self, function: &str) -> Arc<LambdaHost> {
        self.own.host(function, self.proxy.url())
    }

    fn feed(&self, host: &Arc<LambdaHost>, queue: &str) -> EventSource {
        EventSource::start(host, &self.stack.aws, queue)
    }

    fn events(&self, count: usize) -> Vec<Event> {
        let event = || Event::parse(&event(&self.tenant, &event_id(), &json!({"n": 10.5})).to_string()).unwrap();
        std::iter::repeat_with(event).take(count).collect()
    }

    /// Puts `count` deliveries into the queue, and returns the ids of the events.
    async fn send_deliveries(&self, count: usize) -> Vec<String> {
        let events = self.events(count);
        self.stack
            .send_to(&self.own.deliveries, events.iter().map(|event| Delivery::message(&self.endpoint, event, ARRIVED)))
            .await;
        events.iter().map(|event| event.key.id.as_str().to_owned()).collect()
    }

    /// Holds a call. Only one function of a scene makes it.
    fn hold(&self, Point { held: (operation, hold, _), .. }: Point) {
        match operation {
            REQUEST => self.receiver.hold(),
            operation => self.proxy.hold(operation, hold),
        }
    }

    /// Kills a function when it reaches the point, and returns the number of requests that had arrived by then.
    async fn kill(&self, point: Point, host: &LambdaHost) -> usize {
        match point.held {
            (REQUEST, _, count) => drop(self.receiver.wait_for(count).await),
            (_, _, count) => self.proxy.wait_for_held(count).await,
        }
        host.kill().await;
        self.receiver.release();
        self.proxy.heal();
        assert_eq!(host.started(), 1, "{}", point.name);
        self.receiver.so_far().len()
    }

    /// Waits until a queue is empty, but not for ever. Then every event that is neither delivered nor kept counts as
    /// lost.
    async fn come_to_rest(&self, queue: &str) {
        self.stack.wait_until_empty(queue, PATIENCE).await;
    }

    async fn parked(&self) -> HashSet<String> {
        let lane = Lane::Endpoint(self.endpoint.clone());
        let parked = self.own.parking().first_of(&lane, 100).await.unwrap();
        parked.into_iter().map(|parked| parked.event.id.as_str().to_owned()).collect()
    }

    async fn dead_letters(&self) -> HashSet<String> {
        let messages = self.stack.take_all(&self.own.dead_letters).await;
        let messages = messages.iter().filter(|message| attribute(message, "reason") == "exhausted");
        let bodies = messages.map(|message| message.body().unwrap());
        bodies.map(|body| Delivery::parse(body).unwrap().event.key.id.as_str().to_owned()).collect()
    }

    /// Counts the results of the events with these ids. Panics if too many requests are repeated.
    async fn row(&self, point: &'static str, ids: &[String], sent_before: usize, may_repeat: usize) -> Row {
        let requests = self.receiver.so_far();
        let accepted = requests.iter().filter(|request| request.status == Some(204));
        let delivered: HashSet<_> = accepted.map(|request| request.event_id().to_owned()).collect();
        let mut attempts = HashMap::<_, usize>::new();
        for request in &requests {
            *attempts.entry((request.event_id(), request.header("signpost-attempt"))).or_default() += 1;
        }
        let kept: HashSet<_> = self.parked().await.union(&self.dead_letters().await).cloned().collect();
        let row = Row {
            point,
            acknowledged: ids.len(),
            sent_before,
            delivered: delivered.len(),
            kept: kept.len(),
            duplicates: attempts.values().map(|count| count - 1).sum(),
            may_repeat,
            lost: ids.iter().filter(|id| !delivered.contains(*id) && !kept.contains(*id)).count(),
        };
        row.assert_that_few_are_repeated();
        row
    }
}

/// The results of the events of one scene.
struct Row {
    point: &'static str,
    acknowledged: usize,
    /// Requests that had arrived when the function died.
    sent_before: usize,
    /// Events that arrived and were accepted.
    delivered: usize,
    /// Events that are parked, or in the dead-letter queue with their reason.
    kept: usize,
    /// Requests that repeat an attempt.
    duplicates: usize,
    may_repeat: usize,
    lost: usize,
}

impl Row {
    fn assert_that_nothing_is_lost(&self) {
        assert_eq!(self.lost, 0, "lost, {}", self.point);
    }

    fn assert_that_few_are_repeated(&self) {
        assert!(self.duplicates <= self.may_repeat, "{} duplicates, {}", self.duplicates, self.point);
    }
}

struct Table<'a>(&'a [Row]);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:45} acknowledged  sent before  delivered  kept  duplicates  lost", "killed")?;
        for Row { point, acknowledged, sent_before, delivered, kept, duplicates, lost, .. } in self.0 {
            let counts =
                format!("{acknowledged:12}  {sent_before:11}  {delivered:9}  {kept:4}  {duplicates:10}  {lost:4}");
            writeln!(f, "{point:45} {counts}")?;
        }
        Ok(())
    }
}
