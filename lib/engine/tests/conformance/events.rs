//! Events and token requests.

use std::fmt::Debug;

use futures_util::future::join_all;
use signpost_core::delivery::DeliveryKey;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::sequence::SequenceNumber;
use signpost_core::event::{Event, TenantId};
use signpost_core::status::state::Moment;
use signpost_core::token_request::{BankResponse, CallbackToken, RequestId, TokenRequest};
use signpost_engine::ports::events::{Arrival, EventTraces, Events, FirstFanOut, Insertion, StoredEvent};
use signpost_engine::ports::token_requests::{Changed, TokenRequests};

use super::AT;

/// An event is stored once. A second insert returns the first fan-out.
pub async fn an_event<E: Events<Error: Debug>>(table: &E, event: &Event, endpoint: &EndpointId) {
    let first = |message_id: &str, payload_hash| FirstFanOut {
        message_id: message_id.to_owned(),
        endpoints: vec![endpoint.clone()],
        sent: 0,
        at_unix_seconds: AT / 1_000,
        arrival: Arrival { moment: Moment::of(event, AT), expires_at: AT / 1_000 + 3_600 },
        payload_hash,
        number: None,
        retention_days: None,
    };
    assert_eq!(table.get(&event.key).await.unwrap(), None);
    assert_eq!(table.get_some(&[&event.key, &event.key]).await.unwrap(), [None, None]);
    let ours = first("m-1", event.payload_hash());
    assert_eq!(table.insert(event, &ours, None).await.unwrap(), Insertion::New(None));
    for again in [ours.clone(), first("m-2", event.payload_hash()), first("m-3", [7; 32])] {
        assert_eq!(table.insert(event, &again, None).await.unwrap(), Insertion::Stored(ours.clone()), "{again:?}");
    }
    for sent in [5, 3] {
        table.note_sent(&event.key, sent).await.unwrap();
    }
    let noted = FirstFanOut { sent: 5, ..ours.clone() };
    assert_eq!(
        table.insert(event, &ours, None).await.unwrap(),
        Insertion::Stored(noted),
        "a lower number changes nothing"
    );
    let stored = StoredEvent { event: event.clone(), arrived_unix_ms: AT };
    assert_eq!(table.get(&event.key).await.unwrap(), Some(stored.clone()));
    let several = [&event.key, &event.key, &event.key];
    assert_eq!(
        table.get_some(&several).await.unwrap(),
        [Some(stored.clone()), Some(stored.clone()), Some(stored.clone())]
    );
    assert_eq!(table.get_some(&several[..1]).await.unwrap(), [Some(stored.clone())]);
    assert_eq!(table.get_some(&[]).await.unwrap(), []);
    let delivery = DeliveryKey { event: &event.key, endpoint, arrived_unix_ms: AT, retention_days: None };
    table.keep_until(delivery, AT + 100 * 24 * 3_600_000).await.unwrap();
    table.keep_for_endpoint(delivery).await.unwrap();
    assert_eq!(table.get(&event.key).await.unwrap(), Some(stored));
}

/// Events of one counter get numbers that grow by one: each event one, however many messages bring it at the same time.
pub async fn counted_events<E: Events<Error: Debug>>(
    table: &E,
    events: &[Event],
    endpoint: &EndpointId,
    counter: &str,
) {
    let insert = async |event: &Event, message_id: &str, counter: Option<&str>| {
        let first = FirstFanOut {
            message_id: message_id.to_owned(),
            endpoints: vec![endpoint.clone()],
            sent: 0,
            at_unix_seconds: AT / 1_000,
            arrival: Arrival { moment: Moment::of(event, AT), expires_at: AT / 1_000 + 3_600 },
            payload_hash: event.payload_hash(),
            number: None,
            retention_days: None,
        };
        table.insert(event, &first, counter).await.unwrap()
    };
    let (uncounted, rest) = events.split_first().unwrap();
    assert_eq!(insert(uncounted, "m-1", None).await, Insertion::New(None));
    let (later, raced) = rest.split_first().unwrap();
    let messages = ["m-1", "m-2"];
    let twice = raced.iter().flat_map(|event| messages.map(|message| insert(event, message, Some(counter))));
    let inserted = join_all(twice).await;
    let mut numbers = Vec::new();
    for (event, [one, other]) in raced.iter().zip(inserted.as_chunks::<2>().0) {
        let number = match (one, other) {
            (Insertion::New(number), Insertion::Stored(stored))
            | (Insertion::Stored(stored), Insertion::New(number)) => {
                assert_eq!(stored.number, *number, "both messages know the same number");
                number.unwrap()
            }
            other => panic!("two messages with one event: {other:?}"),
        };
        assert_eq!(table.get(&event.key).await.unwrap().unwrap().event.number, Some(number));
        numbers.push(number);
    }
    assert_eq!(insert(uncounted, "m-1", Some(counter)).await, insert(uncounted, "m-1", None).await, "it has none");
    let Insertion::New(Some(last)) = insert(later, "m-1", Some(counter)).await else { panic!("it is new") };
    numbers.sort_unstable();
    numbers.push(last);
    let expected: Vec<_> = std::iter::successors(Some(SequenceNumber::first(AT / 1_000)), |one| Some(one.next()))
        .take(numbers.len())
        .collect();
    assert_eq!(numbers, expected, "no number is given twice, and none is left out");
}

/// An event that was stored by [`an_event`] is erased. Its tombstone keeps its endpoints.
pub async fn an_erased_event<E: Events<Error: Debug>>(table: &E, event: &Event, endpoint: &EndpointId) {
    let moment = Some(Moment::of(event, AT));
    let before = EventTraces { event: Some(event.clone()), moment, endpoints: vec![endpoint.clone()] };
    let after = EventTraces { event: None, ..before.clone() };
    let key = &event.key;
    assert_eq!(table.traces(key).await.unwrap(), Some(before.clone()));
    assert_eq!(table.erase(key).await.unwrap(), Some(before));
    for _ in 0..2 {
        assert_eq!(table.traces(key).await.unwrap(), Some(after.clone()));
        assert_eq!((table.get(key).await.unwrap(), table.get_some(&[key]).await.unwrap()), (None, vec![None]));
        let first = FirstFanOut {
            message_id: "m-1".to_owned(),
            endpoints: vec![endpoint.clone()],
            sent: 0,
            at_unix_seconds: AT / 1_000,
            arrival: Arrival { moment: Moment::of(event, AT), expires_at: AT / 1_000 + 3_600 },
            payload_hash: event.payload_hash(),
            number: None,
            retention_days: None,
        };
        assert_eq!(table.insert(event, &first, None).await.unwrap(), Insertion::Erased);
        let delivery = DeliveryKey { event: key, endpoint, arrived_unix_ms: AT, retention_days: None };
        table.note_sent(key, 1).await.unwrap();
        table.keep_for_endpoint(delivery).await.unwrap();
        assert_eq!(table.erase(key).await.unwrap(), Some(after.clone()), "a repetition changes nothing");
    }
}

/// An event that is erased before it arrives is not stored when it does.
pub async fn an_event_erased_before_it_arrives<E: Events<Error: Debug>>(table: &E, event: &Event) {
    assert_eq!((table.traces(&event.key).await.unwrap(), table.erase(&event.key).await.unwrap()), (None, None));
    let first = FirstFanOut {
        message_id: "m-1".to_owned(),
        endpoints: Vec::new(),
        sent: 0,
        at_unix_seconds: AT / 1_000,
        arrival: Arrival { moment: Moment::of(event, AT), expires_at: AT / 1_000 + 3_600 },
        payload_hash: event.payload_hash(),
        number: None,
        retention_days: None,
    };
    assert_eq!(table.insert(event, &first, None).await.unwrap(), Insertion::Erased);
    let traces = EventTraces { event: None, moment: None, endpoints: Vec::new() };
    assert_eq!(table.traces(&event.key).await.unwrap(), Some(traces));
}

/// Keeping an event that is gone does not bring a part of it back.
pub async fn a_missing_event<E: Events<Error: Debug>>(table: &E, event: &Event, endpoint: &EndpointId) {
    let delivery = DeliveryKey { event: &event.key, endpoint, arrived_unix_ms: AT, retention_days: None };
    table.keep_until(delivery, AT + 100 * 24 * 3_600_000).await.unwrap();
    table.keep_for_endpoint(delivery).await.unwrap();
    table.note_sent(&event.key, 1).await.unwrap();
    assert_eq!(table.get(&event.key).await.unwrap(), None);
}

/// A state takes one callback, until it expires or is used up; its repetition is accepted until it is acknowledged.
pub async fn a_token_request<T: TokenRequests<Error: Debug>>(
    table: &T,
    tenant: &TenantId,
    id: &RequestId,
    register: impl AsyncFn(&TokenRequest, Option<&TokenRequest>),
) {
    let state = |number| CallbackToken::new([number; 32]).hash();
    let expires_at = AT / 1_000;
    let (before, late) = (expires_at - 1, expires_at + 60);
    let request = |number| TokenRequest {
        tenant: tenant.clone(),
        id: id.clone(),
        redirect_url: Some("https://tpp.example/done".into()),
        registered_at: expires_at - 3_600,
        expires_at,
        state: state(number),
        called: None,
    };
    let heard = |payload: &str, acknowledged_by: Option<&str>| {
        let (payload, acknowledged_by) = (payload.to_owned(), acknowledged_by.map(str::to_owned));
        TokenRequest { called: Some(BankResponse { at: before, payload, acknowledged_by }), ..request(7) }
    };
    let record =
        async |number, payload, now| table.record_callback(tenant, id, &state(number), payload, now).await.unwrap();

    assert_eq!(table.of_state(&state(7)).await.unwrap(), None);
    assert_eq!(record(7, "{}", before).await, Changed::No(None));
    assert_eq!(table.acknowledge(&request(7), "a").await.unwrap(), Changed::No(None));

    register(&request(7), None).await;
    assert_eq!(table.of_state(&state(7)).await.unwrap(), Some((tenant.clone(), id.clone())));
    assert_eq!(record(8, "{}", before).await, Changed::No(Some(request(7))), "another state");
    assert_eq!(record(7, "{}", expires_at).await, Changed::No(Some(request(7))), "expired");
    assert_eq!(record(7, "{}", before).await, Changed::Yes(heard("{}", None)));
    assert_eq!(record(7, r#"{"a":1}"#, before).await, Changed::No(Some(heard("{}", None))), "another callback");
    assert_eq!(record(7, "{}", late).await, Changed::Yes(heard("{}", None)), "the same, with the time of the first");

    let elsewhere = TokenRequest { state: state(8), ..heard("{}", None) };
    assert_eq!(table.acknowledge(&elsewhere, "a").await.unwrap(), Changed::No(Some(heard("{}", None))));
    assert_eq!(table.acknowledge(&heard("{}", None), "a").await.unwrap(), Changed::Yes(heard("{}", Some("a"))));
    assert_eq!(
        table.acknowledge(&heard("{}", None), "a").await.unwrap(),
        Changed::Yes(heard("{}", Some("a"))),
        "again"
    );
    assert_eq!(table.acknowledge(&heard("{}", None), "b").await.unwrap(), Changed::No(Some(heard("{}", Some("a")))));
    assert_eq!(record(7, "{}", before).await, Changed::No(Some(heard("{}", Some("a")))), "used up");

    register(&request(8), Some(&heard("{}", Some("a")))).await;
    assert_eq!(table.of_state(&state(7)).await.unwrap(), Some((tenant.clone(), id.clone())), "the item stays");
    assert_eq!(record(7, "{}", before).await, Changed::No(Some(request(8))), "void");
    let called = BankResponse { at: before, payload: "{}".into(), acknowledged_by: None };
    assert_eq!(record(8, "{}", before).await, Changed::Yes(TokenRequest { called: Some(called), ..request(8) }));
}
