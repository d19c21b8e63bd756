//! Operators have many deliveries sent again, count them first, and stop it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use serde_json::json;
use signpost_core::delivery::replay::{EndStatus, Replay, ReplayCounts, ReplayFilter, ReplayId, ReplayState};
use signpost_engine::ports::replays::{DeliveryLists as _, Replays as _};
use signpost_io::runtime::clock::{rfc3339, unix_ms_now};
use signpost_io::tables::delivery_list::Listing;
use signpost_io::tables::replays::Replays;
use signpost_testkit::build::{ARRIVED, event, event_id, tenant};
use signpost_testkit::event_source::EventSource;
use signpost_testkit::local_stack::{LocalStack, setting, until};
use signpost_testkit::receiver::{Received, Receiver};
use tokio::time::timeout;
use uuid::Uuid;

use crate::own::Own;

fn ids_of(requests: &[Received]) -> BTreeSet<String> {
    requests.iter().map(|request| request.event_id().to_owned()).collect()
}

#[tokio::test]
async fn a_bulk_replay_sends_what_its_dry_run_counts_and_nothing_of_another_tenant() {
    const EVENTS: usize = 300;
    let (stack, tenant, other) = (LocalStack::from_env().await, tenant(), tenant());
    let (receiver, neighbour) = (Receiver::start(|_| 204).await, Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let foreign = stack.register_with(&other, &json!({"url": neighbour.url})).await.id;
    let path = format!("/v1/tenants/{tenant}/replays");
    let since = rfc3339(unix_ms_now() - 60_000);
    let ids: BTreeSet<_> = (0..EVENTS).map(|_| event_id()).collect();
    stack.send_events(ids.iter().map(|id| event(&tenant, id, &json!({})).to_string())).await;
    stack.send_events([event(&other, &event_id(), &json!({})).to_string()]).await;
    receiver.wait_for(EVENTS).await;
    neighbour.wait_for(1).await;

    let wanted = json!({"since": since, "statuses": ["delivered"], "endpoints": [endpoint.as_str()]});
    let count = async |more: serde_json::Value| {
        let mut body = wanted.clone();
        body["dryRun"] = true.into();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = stack.manage("POST", &path, Some(&body)).await;
        assert_eq!((answer.status, &answer.json()["more"]), (200, &json!(false)), "{answer:?}");
        answer.json()["matched"].as_u64().unwrap()
    };
    let is_recorded = async || (count(json!({})).await == EVENTS as u64).then_some(());
    until("all deliveries are on record", is_recorded).await;
    assert_eq!(count(json!({"types": ["another"]})).await, 0);
    assert_eq!(count(json!({"statuses": ["exhausted"]})).await, 0);

    let refused = [
        (json!({}), "/since"),
        (json!({"since": since, "endpoints": [foreign.as_str()]}), "/endpoints"),
        (json!({"since": "2100-01-01T00:00:00Z"}), "/since"),
    ];
    for (body, pointer) in refused {
        let answer = stack.manage("POST", &path, Some(&body)).await;
        assert_eq!((answer.status, &answer.json()["errors"][0]["pointer"]), (400, &json!(pointer)), "{answer:?}");
    }
    assert_eq!(receiver.so_far().len(), EVENTS, "nothing is sent so far");

    let made = stack.manage("POST", &path, Some(&wanted)).await;
    assert_eq!((made.status, &made.json()["state"]), (202, &json!("running")), "{made:?}");
    let own = format!("{path}/{}", made.json()["id"].as_str().unwrap());
    let theirs = own.replace(tenant.as_str(), other.as_str());
    for method in ["GET", "DELETE"] {
        assert_eq!(stack.manage(method, &theirs, None).await.status, 404, "{method}: another tenant's");
    }
    let listed = stack.manage("GET", &format!("/v1/tenants/{other}/replays"), None).await;
    assert_eq!(listed.json(), json!({"replays": []}));

    let end = async || {
        stack.invoke("SWEEP_FUNCTION", &json!({"source": "aws.events"})).await;
        let seen = stack.manage("GET", &own, None).await.json();
        (seen["state"] != "running").then_some(seen)
    };
    let seen = until("the replay is done", end).await;
    let requests = receiver.wait_for(2 * EVENTS).await;
    assert_eq!(ids_of(&requests[EVENTS..]), ids);
    assert!(requests[EVENTS..].iter().all(|request| request.header("signpost-replay") == "replay"));
    assert_eq!(neighbour.so_far().len(), 1, "another tenant's receiver gets nothing");
    let numbers = ["matched", "sent", "skipped"].map(|name| seen[name].as_u64().unwrap());
    assert_eq!((&seen["state"], numbers), (&json!("done"), [EVENTS as u64, EVENTS as u64, 0]), "{seen}");

    let stopped = stack.manage("DELETE", &own, None).await;
    assert_eq!((stopped.status, stopped.json()), (200, seen), "one that is done stays so");
    let second = stack.manage("POST", &path, Some(&json!({"since": since}))).await.json();
    let stopped = stack.manage("DELETE", &format!("{path}/{}", second["id"].as_str().unwrap()), None).await.json();
    assert!(["stopped", "done"].contains(&stopped["state"].as_str().unwrap()), "{stopped}");
    let listed = stack.manage("GET", &path, None).await.json();
    assert_eq!(listed["replays"].as_array().unwrap().len(), 2, "{listed}");
    let log = stack.manage("GET", &format!("/v1/tenants/{tenant}/audit"), None).await.json();
    let actions: BTreeMap<_, usize> =
        log["entries"].as_array().unwrap().iter().fold(BTreeMap::new(), |mut all, one| {
            *all.entry(one["action"].as_str().unwrap().to_owned()).or_default() += 1;
            all
        });
    assert_eq!(actions["DELETE /v1/tenants/{tenant}/replays/{replay}"], 2, "{actions:?}");
}

#[tokio::test]
async fn a_bulk_replay_goes_on_where_a_killed_sweep_left_it() {
    const EVENTS: usize = 200;
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (own, receiver) = (Own::of(&stack).await, Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let hosts = [(); 2].map(|()| own.host("deliver", &setting("AWS_ENDPOINT_URL")));
    let _sources = hosts.each_ref().map(|host| EventSource::start(host, &stack.aws, &own.deliveries));
    let sent: HashSet<_> = own.send(&stack, &tenant, &endpoint, EVENTS).await.into_iter().collect();
    own.sweep_until_all(&receiver, &sent).await;
    let filter = ReplayFilter {
        endpoints: BTreeSet::new(),
        types: BTreeSet::new(),
        statuses: BTreeSet::from([EndStatus::Delivered]),
        since_unix_ms: 0,
        until_unix_ms: ARRIVED + 1,
    };
    let (lists, part) = (Listing::new(stack.dynamodb(), setting("EVENTS_TABLE")), filter.part_of_list(None));
    let all_recorded = async || {
        let delivered = [EndStatus::Delivered.status()];
        let read = lists.oldest_first(&tenant, &endpoint, part, &delivered, 8 * EVENTS).await.unwrap();
        (read.deliveries.len() == EVENTS).then_some(())
    };
    until("all deliveries are on record", all_recorded).await;
    let before = receiver.so_far().len();

    let replays = Replays::new(stack.dynamodb(), own.parking.clone());
    let made = Replay::new(tenant.clone(), ReplayId::new(unix_ms_now(), Uuid::new_v4()), filter, unix_ms_now());
    assert!(replays.create(&made).await.unwrap());
    let mut kills = 0;
    for minute in 1.. {
        // Each run is a minute later than the one before, by its own clock, because a killed one leaves its lease.
        let (sweep, now) = (own.sweep(), unix_ms_now() + minute * 60_000);
        let longest = if minute < 8 { Duration::from_millis(40 * minute) } else { Duration::from_mins(1) };
        kills += usize::from(timeout(longest, sweep.sweep_at(now)).await.is_err());
        let replay = replays.get(&tenant, &made.id).await.unwrap().unwrap();
        if replay.state == ReplayState::Done && minute > 8 {
            assert_eq!(replay.counts, ReplayCounts { sent: EVENTS as u64, skipped: 0 });
            break;
        }
        assert!(minute < 30, "{replay:?}");
    }
    assert!(kills > 0, "no run was killed");
    let is_complete = async || {
        own.sweep().sweep_at(unix_ms_now() + 3_600_000).await.unwrap();
        let arrived: HashSet<_> = ids_of(&receiver.so_far()[before..]).into_iter().collect();
        (arrived == sent).then_some(())
    };
    until("all deliveries arrive again", is_complete).await;
    assert!(replays.running().await.unwrap().is_empty());
}
