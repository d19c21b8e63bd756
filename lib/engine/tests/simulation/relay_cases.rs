//! Bank callbacks that `relay` accepts or refuses, and their repetitions.

use serde_json::json;
use signpost_core::event::{Event, TenantId};
use signpost_core::token_request::{
    BankResponse, Body, Callback, CallbackError, CallbackToken, RequestId, StateError, TokenRequest,
};
use signpost_engine::relay::{Refusal, Relay};

use crate::calm::{Broken, Calm, Failure, MINUTE, SECOND};
use crate::clock::START;
use crate::ports::{QueueOf, Sim, Which};
use crate::receivers::Mood;
use crate::world::{Fault, Process, Role};

type Answer = Result<(TokenRequest, BankResponse), Refusal<Fault>>;

const NOW: u64 = START / SECOND;
const HOUR: u64 = 60 * MINUTE;

fn token(number: u8) -> CallbackToken {
    CallbackToken::new([number; 32])
}

fn id() -> RequestId {
    RequestId::parse("rq:1").unwrap()
}

/// Creates a world with a token request, to which the bank may call back for an hour with token 7.
fn registered() -> Calm {
    let calm = Calm::with(json!({}), Mood::Well(50));
    register(&calm, 7);
    calm
}

/// Registers the token request, for the first time or again.
fn register(calm: &Calm, number: u8) {
    calm.world.tables.borrow_mut().register(TokenRequest {
        tenant: TenantId::parse("acme").unwrap(),
        id: id(),
        redirect_url: None,
        registered_at: NOW,
        expires_at: NOW + HOUR / SECOND,
        state: token(number).hash(),
        called: None,
    });
}

fn relay_of(calm: &Calm) -> Relay<Sim> {
    let process = Process::new(&calm.world, Role::Operator);
    Relay {
        clock: process.clone(),
        own_events_queue: QueueOf { process: process.clone(), which: Which::OwnEvents },
        random: process.clone(),
        token_requests: process,
    }
}

/// Has the bank call back.
fn call(calm: &Calm, number: u8, query: &str) -> Answer {
    let (relay, callback) = (relay_of(calm), Callback::parse(query, Body::None).unwrap());
    calm.run(async move { relay.relay(&token(number), callback).await })
}

/// Returns the reason why a state is refused.
fn refusal(answer: Answer) -> StateError {
    match answer {
        Err(Refusal::State(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Returns the events that were queued.
fn events(calm: &Calm) -> Vec<Event> {
    calm.sent(Which::OwnEvents).iter().map(|message| Event::parse_own(&message.body).unwrap()).collect()
}

/// Returns the bank callback on record.
fn stored(calm: &Calm) -> Option<BankResponse> {
    let tables = calm.world.tables.borrow();
    tables.token_requests.values().next().and_then(|request| request.called.clone())
}

#[test]
fn a_bank_callback_becomes_one_event_and_uses_up_its_state() {
    let calm = registered();
    let (request, called) = call(&calm, 7, "trace-id=t&code=c").unwrap();
    assert_eq!((request.id, called.at), (id(), NOW));
    let [event] = &events(&calm)[..] else { panic!("one event") };
    assert_eq!(
        (&*event.kind, event.subject.as_deref(), &*event.key.source),
        ("token-request", Some("rq:1"), "/callbacks")
    );
    let data = r#"{"request-id":"rq:1","request_id":"rq:1","trace-id":"t","code":"c"}"#;
    assert_eq!((event.data(), &*called.payload), (data, data));
    assert!(stored(&calm).unwrap().acknowledged_by.is_some());
}

#[test]
fn the_same_callback_gets_the_same_answer_for_ten_minutes_and_makes_no_second_event() {
    let calm = registered();
    let (_, first) = call(&calm, 7, "code=c&scope=s").unwrap();
    calm.wait(9 * MINUTE);
    let (request, again) = call(&calm, 7, "scope=s&code=%63").unwrap();
    assert_eq!((again.at, &again.payload, request.id), (first.at, &first.payload, id()));
    assert_eq!(events(&calm).len(), 1);
    calm.wait(MINUTE);
    assert_eq!(refusal(call(&calm, 7, "code=c&scope=s")), StateError::Used);
    assert_eq!(events(&calm).len(), 1);
}

#[test]
fn another_callback_with_a_used_state_is_refused_and_changes_nothing() {
    let calm = registered();
    let (_, first) = call(&calm, 7, "code=c").unwrap();
    assert_eq!(refusal(call(&calm, 7, "code=d")), StateError::Used);
    assert_eq!(refusal(call(&calm, 7, "")), StateError::Used);
    assert_eq!((events(&calm).len(), stored(&calm).unwrap().payload), (1, first.payload));
}

#[test]
fn a_callback_with_an_unknown_state_is_refused() {
    let calm = registered();
    assert_eq!(refusal(call(&calm, 8, "code=c")), StateError::Unknown);
    assert_eq!((events(&calm), stored(&calm)), (Vec::new(), None));
}

#[test]
fn a_callback_whose_state_outlived_its_request_is_refused_as_unknown() {
    let calm = registered();
    calm.world.tables.borrow_mut().token_requests.clear();
    assert_eq!(refusal(call(&calm, 7, "code=c")), StateError::Unknown);
    assert_eq!(events(&calm), []);
}

#[test]
fn a_callback_is_accepted_until_its_state_expires() {
    for (late_ms, expected) in [(HOUR - SECOND, None), (HOUR, Some(StateError::Expired))] {
        let calm = registered();
        calm.wait(late_ms);
        let answer = call(&calm, 7, "code=c");
        let count = usize::from(expected.is_none());
        assert_eq!((answer.map_err(|error| refusal(Err(error))).err(), events(&calm).len()), (expected, count));
    }
}

#[test]
fn a_new_registration_replaces_the_state_and_makes_another_event() {
    let calm = registered();
    call(&calm, 7, "code=c").unwrap();
    register(&calm, 8);
    assert_eq!(refusal(call(&calm, 7, "code=c")), StateError::Void);
    call(&calm, 8, "code=c").unwrap();
    let events = events(&calm);
    assert_eq!(events.len(), 2);
    assert_ne!(events[0].key.id, events[1].key.id);
}

#[test]
fn a_callback_for_another_token_request_is_refused_and_its_state_stays_usable() {
    let calm = registered();
    let refused = call(&calm, 7, "request-id=rq:2");
    assert!(matches!(refused, Err(Refusal::Callback(CallbackError::OtherRequest("request-id")))), "{refused:?}");
    assert_eq!((events(&calm), stored(&calm)), (Vec::new(), None));
    call(&calm, 7, "request-id=rq:1").unwrap();
}

#[test]
fn two_callbacks_at_the_same_time_make_the_same_event() {
    let calm = registered();
    let relays = [relay_of(&calm), relay_of(&calm)];
    let query = || Callback::parse("code=c", Body::None).unwrap();
    let answers = calm.run(async move {
        let (one, two) = (token(7), token(7));
        futures_util::future::join(relays[0].relay(&one, query()), relays[1].relay(&two, query())).await
    });
    let payload = |answer: Answer| answer.unwrap().1.payload;
    assert_eq!(payload(answers.0), payload(answers.1));
    let events = events(&calm);
    assert!(events.iter().all(|event| event.json() == events[0].json()), "{events:?}");
}

#[test]
fn whichever_call_fails_or_loses_its_answer_a_repetition_ends_with_the_same_answer_and_the_same_event() {
    let calls = {
        let calm = registered();
        call(&calm, 7, "code=c").unwrap();
        calm.seen(|watch| watch.calls.clone())
    };
    assert_eq!(calls.len(), 4, "{calls:?}");
    for (nth, name) in calls.into_iter().enumerate() {
        for failure in [Failure::Refused, Failure::Lost] {
            let why = format!("{name:?}, {failure:?}");
            let calm = registered();
            calm.break_calls(Some((Broken::Nth(nth), failure)));
            let failed = call(&calm, 7, "code=c");
            assert!(matches!(failed, Err(Refusal::Call(Fault))), "{why}: {failed:?}");
            let was_recorded = stored(&calm).is_some();
            calm.break_calls(None);
            calm.wait(5 * MINUTE);
            let (_, called) = call(&calm, 7, "code=c").unwrap();
            let at = if was_recorded { NOW } else { NOW + 5 * MINUTE / SECOND };
            assert_eq!(called.at, at, "{why}: the time of the callback on record");
            let all = events(&calm);
            assert!(!all.is_empty() && all.iter().all(|event| event.json() == all[0].json()), "{why}: {all:?}");
            assert!(stored(&calm).unwrap().acknowledged_by.is_some(), "{why}");
            assert_eq!(refusal(call(&calm, 7, "code=d")), StateError::Used, "{why}");
        }
    }
}

#[test]
fn a_recorded_callback_may_be_repeated_after_its_state_expired_until_it_is_acknowledged() {
    let calm = registered();
    calm.wait(HOUR - SECOND);
    calm.break_calls(Some((Broken::Each(("OwnEventsQueue", "send_all")), Failure::Refused)));
    assert!(call(&calm, 7, "code=c").is_err());
    calm.break_calls(None);
    calm.wait(MINUTE);
    assert_eq!(refusal(call(&calm, 7, "code=d")), StateError::Used);
    call(&calm, 7, "code=c").unwrap();
    assert_eq!(events(&calm).len(), 1);
}
