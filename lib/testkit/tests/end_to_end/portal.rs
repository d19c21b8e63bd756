//! The integrators' page: links, sessions, and the borders of a session.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::{Value, json};
use signpost_core::audit::is_change;
use signpost_core::endpoint::EndpointId;
use signpost_core::event::TenantId;
use signpost_core::portal::{Capability, PortalSecret, ROUTES};
use signpost_io::runtime::clock::unix_now;
use signpost_testkit::build::{event, event_id, tenant};
use signpost_testkit::customer::Customer;
use signpost_testkit::local_stack::{Answer, LocalStack, endpoint_path, setting, until};
use signpost_testkit::receiver::Receiver;

/// An integrator with an open session.
struct Integrator {
    link: String,
    token: String,
}

impl Integrator {
    /// Opens a session with a new link of these rights.
    async fn of(stack: &LocalStack, tenant: &TenantId, rights: &Value) -> Self {
        let made = link(stack, tenant, rights).await;
        let opened = open(stack, code_of(&made)).await;
        assert_eq!(opened.status, 201, "{opened:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self { link: text(&made["id"]), token: text(&opened.json()["token"]) }
    }

    async fn ask(&self, stack: &LocalStack, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        stack.ask(method, path, &[("authorization", &bearer)], body.map(Value::to_string)).await
    }
}

async fn link(stack: &LocalStack, tenant: &TenantId, rights: &Value) -> Value {
    let answer = stack.manage("POST", &format!("/v1/tenants/{tenant}/portal-links"), Some(rights)).await;
    assert_eq!((answer.status, answer.header("cache-control")), (201, "no-store"), "{answer:?}");
    answer.json()
}

fn code_of(link: &Value) -> &str {
    link["url"].as_str().unwrap().split_once("/portal/#").unwrap().1
}

async fn open(stack: &LocalStack, code: &str) -> Answer {
    stack.ask("POST", "/portal/session", &[], Some(json!({ "code": code }).to_string())).await
}

async fn links(stack: &LocalStack, tenant: &TenantId, query: &str) -> Value {
    let answer = stack.manage("GET", &format!("/v1/tenants/{tenant}/portal-links{query}"), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Sets a number of a link's item, as if time had passed.
async fn set(stack: &LocalStack, tenant: &TenantId, link: &str, name: &str, value: u64) {
    let text = |text: String| AttributeValue::S(text);
    let call = stack.dynamodb().update_item().table_name(setting("PORTAL_TABLE"));
    let call = call.key("pk", text(format!("tenant#{tenant}"))).key("sk", text(link.to_owned()));
    let call = call.update_expression("SET #name = :value").expression_attribute_names("#name", name);
    call.expression_attribute_values(":value", AttributeValue::N(value.to_string())).send().await.unwrap();
}

fn all_rights() -> Vec<&'static str> {
    Capability::ALL.map(Capability::as_str).to_vec()
}

/// Returns the parts of an answer that must not differ: all except those that API Gateway or HTTP write.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    const OF_OTHERS: [&str; 4] = ["apigw-requestid", "connection", "date", "x-amzn-requestid"];
    let headers = answer.headers.iter().filter(|(name, _)| !OF_OTHERS.contains(&name.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort_unstable();
    (answer.status, headers, answer.text.clone())
}

#[tokio::test]
async fn a_link_opens_one_session_with_its_rights() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let mine = stack.register_with(&tenant, &json!({"url": "https://hooks.example/mine"})).await.id;
    let rights = json!({"endpoints": [mine.as_str()], "can": ["test"], "sessionSeconds": 300, "name": "Acme s.r.o."});
    let made = link(&stack, &tenant, &rights).await;
    assert!(made["url"].as_str().unwrap().starts_with(&format!("{}/portal/#", setting("API_URL"))), "{made}");
    let unused = links(&stack, &tenant, "").await["links"][0].clone();
    assert_eq!((&unused["state"], &unused["session"], &unused["id"]), (&json!("unused"), &Value::Null, &made["id"]));

    let opened = open(&stack, code_of(&made)).await;
    assert_eq!((opened.status, opened.header("cache-control")), (201, "no-store"), "{opened:?}");
    let mut session = opened.json();
    let token = session.as_object_mut().unwrap().remove("token").unwrap();
    let expected = json!({"link": made["id"], "tenant": tenant.as_str(), "name": "Acme s.r.o.", "can": ["view", "test"],
        "endpoints": [mine.as_str()], "expiresAt": session["expiresAt"], "destinations": true,
        "frameAncestors": ["https://listed.example"]});
    assert_eq!(session, expected);
    let integrator = Integrator { link: made["id"].as_str().unwrap().into(), token: token.as_str().unwrap().into() };
    assert_eq!(integrator.ask(&stack, "GET", "/portal/session", None).await.json(), expected);
    let listed = integrator.ask(&stack, "GET", "/portal/api/endpoints", None).await.json();
    assert_eq!(listed["endpoints"][0]["id"], mine.as_str());
    assert_eq!(
        listed["endpoints"][0]["jwksUrl"],
        format!("{}/tenants/{tenant}/.well-known/jwks.json", setting("API_URL"))
    );

    let used = links(&stack, &tenant, "").await;
    assert_eq!((&used["links"][0]["state"], &used["links"][0]["session"]["state"]), (&json!("used"), &json!("open")));
    assert!(!used.to_string().contains(code_of(&made)) && !used.to_string().contains(&integrator.token));
    assert_eq!(integrator.ask(&stack, "DELETE", "/portal/session", None).await.status, 204);
    assert_eq!(integrator.ask(&stack, "GET", "/portal/session", None).await.status, 401);
    assert_eq!(links(&stack, &tenant, "").await["links"][0]["session"]["state"], "ended");
}

#[tokio::test]
async fn all_faults_of_a_link_come_at_once() {
    let (stack, tenant, other) = (LocalStack::from_env().await, tenant(), tenant());
    let path = format!("/v1/tenants/{tenant}/portal-links");
    let faulty =
        json!({"endpoints": ["ep_1"], "can": ["admin"], "expiresInSeconds": 1, "sessionSeconds": 1, "name": ""});
    let refused = stack.manage("POST", &path, Some(&faulty)).await;
    assert_eq!((refused.status, refused.json()["errors"].as_array().unwrap().len()), (400, 5), "{refused:?}");
    let theirs = stack.register_with(&other, &json!({"url": "https://hooks.example/theirs"})).await.id;
    let refused = stack.manage("POST", &path, Some(&json!({"endpoints": [theirs.as_str()]}))).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (400, &json!("/endpoints")), "{refused:?}");
    for query in ["?limit=0", "?limit=101", "?cursor=pl_1"] {
        let refused = stack.manage("GET", &format!("{path}{query}"), None).await;
        assert_eq!((refused.status, refused.json()["errors"].as_array().unwrap().len()), (400, 1), "{query}");
    }
    for id in ["pl_1", "pl_00000000000000000000000000000000", theirs.as_str()] {
        assert_eq!(stack.manage("DELETE", &format!("{path}/{id}"), None).await.status, 404, "{id}");
    }
    assert_eq!(links(&stack, &tenant, "").await, json!({"links": []}));
}

#[tokio::test]
async fn links_are_listed_newest_first_and_page_by_page() {
    let (stack, tenant, other) = (LocalStack::from_env().await, tenant(), tenant());
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(link(&stack, &tenant, &json!({})).await["id"].clone());
    }
    link(&stack, &other, &json!({})).await;
    made.reverse();
    let (mut listed, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = links(&stack, &tenant, &query).await;
        listed.extend(page["links"].as_array().unwrap().iter().map(|link| link["id"].clone()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        query = format!("?limit=2&cursor={cursor}");
    }
    assert_eq!(listed, made);
}

#[tokio::test]
async fn a_code_is_good_once_and_every_other_answer_is_the_same() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let made = link(&stack, &tenant, &json!({})).await;
    let answers = join_all((0..8).map(|_| open(&stack, code_of(&made)))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "of many at the same time");
    let refused = answers.into_iter().find(|answer| answer.status != 201).unwrap();
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));

    let late = link(&stack, &tenant, &json!({})).await;
    set(&stack, &tenant, late["id"].as_str().unwrap(), "codeExpiresAt", unix_now().as_secs()).await;
    let ended = link(&stack, &tenant, &json!({})).await;
    let path = format!("/v1/tenants/{tenant}/portal-links/{}", ended["id"].as_str().unwrap());
    assert_eq!(stack.manage("DELETE", &path, None).await.status, 204);
    assert_eq!(stack.manage("DELETE", &path, None).await.status, 204, "a repetition");
    let unknown = PortalSecret::new([7; 32]);
    let hash = unknown.hash();
    let cases = [
        (code_of(&made), "used"),
        (code_of(&late), "late"),
        (code_of(&ended), "ended"),
        (unknown.reveal(), "unknown"),
        (hash.as_str(), "a hash"),
        (made["id"].as_str().unwrap(), "the id of a link"),
        ("", "empty"),
    ];
    for (code, why) in cases {
        assert_eq!(told(&open(&stack, code).await), told(&refused), "{why}");
    }
    let states: Vec<_> = links(&stack, &tenant, "").await["links"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link["state"].clone())
        .collect();
    assert_eq!(states, ["ended", "expired", "used"]);
    for (body, status) in
        [("", 400), ("{", 400), ("[]", 400), (r#"{"code":7}"#, 400), (r#"{"code":"x","tenant":"acme"}"#, 400)]
    {
        let answer = stack.ask("POST", "/portal/session", &[], Some(body.to_owned())).await;
        assert_eq!(answer.status, status, "{body}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(stack.ask("POST", "/portal/session", &form, Some("code=x".into())).await.status, 415);
    let long = json!({"code": "x".repeat(2_000)}).to_string();
    assert_eq!(stack.ask("POST", "/portal/session", &[], Some(long)).await.status, 413);
}

#[tokio::test]
async fn an_ended_link_ends_its_session_at_once() {
    let (stack, tenant, other) = (LocalStack::from_env().await, tenant(), tenant());
    let neighbour = Integrator::of(&stack, &other, &json!({})).await;
    let path = format!("/v1/tenants/{tenant}/portal-links");
    let asks = async |one: &Integrator| one.ask(&stack, "GET", "/portal/api/endpoints", None).await.status;

    let rights = json!({});
    let [one, two, three] = join_all((0..3).map(|_| Integrator::of(&stack, &tenant, &rights)))
        .await
        .try_into()
        .unwrap_or_else(|_| panic!("three"));
    assert_eq!([asks(&one).await, asks(&two).await, asks(&three).await], [200, 200, 200]);
    let foreign = stack.manage("DELETE", &format!("{path}/{}", neighbour.link), None).await;
    assert_eq!((foreign.status, asks(&neighbour).await), (404, 200), "another tenant's link");
    assert_eq!(stack.manage("DELETE", &format!("{path}/{}", one.link), None).await.status, 204);
    assert_eq!([asks(&one).await, asks(&two).await], [401, 200]);
    set(&stack, &tenant, &two.link, "sessionExpiresAt", unix_now().as_secs()).await;
    assert_eq!(asks(&two).await, 401, "its time is over");
    let unused = link(&stack, &tenant, &json!({})).await;
    assert_eq!(stack.manage("DELETE", &path, None).await.status, 204);
    assert_eq!((asks(&three).await, open(&stack, code_of(&unused)).await.status), (401, 401), "all are ended");
    assert_eq!(asks(&neighbour).await, 200);
    assert_eq!(stack.manage("DELETE", &path, None).await.status, 204, "a repetition");
    let states: BTreeSet<_> = links(&stack, &tenant, "").await["links"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, BTreeSet::from(["ended".into(), "used".into()]), "an expired session need not be ended");
}

/// Two tenants with endpoints and events. The session of each test belongs to the first tenant.
struct World {
    stack: LocalStack,
    tenant: TenantId,
    mine: EndpointId,
    other: EndpointId,
    theirs: EndpointId,
    my_event: String,
    other_event: String,
    their_event: String,
    unheard_event: String,
    /// Replays of `mine`, of `other`, of all endpoints of the tenant, and of `theirs`.
    replays: [String; 4],
    receiver: Receiver,
    stranger: TenantId,
}

const SINCE: &str = "2026-01-31T10:00:00Z";

impl World {
    async fn new() -> Self {
        let (stack, acme, globex) = (LocalStack::from_env().await, tenant(), tenant());
        let receiver = Receiver::start(|_| 204).await;
        let of = |kind: &str| json!({"url": receiver.url, "types": [{"type": kind}]});
        let mine = stack.register_with(&acme, &of("mine")).await.id;
        let other = stack.register_with(&acme, &of("other")).await.id;
        let theirs = stack.register_with(&globex, &of("mine")).await.id;
        let ids = [event_id(), event_id(), event_id(), event_id()];
        let events = [(&acme, "mine"), (&acme, "other"), (&globex, "mine"), (&acme, "unheard")];
        let bodies = ids.iter().zip(events).map(|(id, (tenant, kind))| {
            let mut event = event(tenant, id, &json!({"secret-of": kind}));
            event["type"] = kind.into();
            event.to_string()
        });
        stack.send_events(bodies.collect::<Vec<_>>()).await;
        receiver.wait_for(3).await;
        for (id, (tenant, _)) in ids.iter().zip(events) {
            let source = event(tenant, id, &json!({}))["source"].as_str().unwrap().to_owned();
            stack.wait_for_event(tenant, id, &source).await;
        }
        let [my_event, other_event, their_event, unheard_event] = ids;
        // Of a type that no event has, so that nothing is sent.
        let replay = async |tenant: &TenantId, endpoint: Option<&EndpointId>| {
            let endpoints = endpoint.map(|id| [id.as_str()]);
            let body = json!({"since": SINCE, "types": ["no-event"], "endpoints": endpoints});
            let answer = stack.manage("POST", &format!("/v1/tenants/{tenant}/replays"), Some(&body)).await;
            answer.json()["id"].as_str().unwrap().to_owned()
        };
        let replays = [
            replay(&acme, Some(&mine)).await,
            replay(&acme, Some(&other)).await,
            replay(&acme, None).await,
            replay(&globex, Some(&theirs)).await,
        ];
        Self {
            stack,
            tenant: acme,
            mine,
            other,
            theirs,
            my_event,
            other_event,
            their_event,
            unheard_event,
            replays,
            receiver,
            stranger: globex,
        }
    }

    /// Returns bodies to try with a route: valid and invalid ones.
    fn bodies(&self, route: &str) -> Vec<Option<Value>> {
        let named = [&self.other, &self.theirs, &unknown_endpoint()].map(|id| Some(json!({"endpoint": id.as_str()})));
        let valid = match route.rsplit('/').next().unwrap() {
            "recover" => vec![Some(json!({"since": SINCE}))],
            "replay" => named.to_vec(),
            _ if route.starts_with("PATCH") => vec![Some(json!({"description": "taken over"}))],
            _ => vec![Some(json!({}))],
        };
        [None, Some(json!({"nonsense": 1})), Some(json!([]))].into_iter().chain(valid).collect()
    }

    /// Shows the operator's view of what must stay untouched.
    async fn seen(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for (tenant, id) in [(&self.tenant, &self.other), (&self.stranger, &self.theirs)] {
            for path in [endpoint_path(tenant, id), format!("{}/deliveries", endpoint_path(tenant, id))] {
                seen.push(self.stack.manage("GET", &path, None).await.text);
            }
        }
        seen
    }
}

const UNKNOWN_REPLAY: &str = "rp_ffffffffffffffffffffffffffffffff";

fn unknown_endpoint() -> EndpointId {
    EndpointId::parse("ep_ffffffffffffffffffffffffffffffff").unwrap()
}

#[tokio::test]
async fn no_route_shows_or_changes_anything_outside_of_the_session() {
    let world = World::new().await;
    let stack = &world.stack;
    let narrow = json!({"endpoints": [world.mine.as_str()], "can": all_rights()});
    let narrow = Integrator::of(stack, &world.tenant, &narrow).await;
    let wide = Integrator::of(stack, &world.tenant, &json!({"can": all_rights()})).await;
    let before = world.seen().await;
    let unknown_event = event_id();
    let mut tried = 0;
    let [my_replay, hidden_replays @ ..] = &world.replays;
    for (integrator, endpoints, events, replays) in [
        (
            &narrow,
            vec![&world.other, &world.theirs],
            vec![&world.other_event, &world.their_event, &world.unheard_event],
            &hidden_replays[..],
        ),
        (&wide, vec![&world.theirs], vec![&world.their_event, &world.unheard_event], &hidden_replays[2..]),
    ] {
        for route in &ROUTES {
            let (method, path) = route.key.split_once(' ').unwrap();
            let (place, outside, unknown): (_, Vec<&str>, _) = if path.contains("{endpoint}") {
                ("{endpoint}", endpoints.iter().map(|id| id.as_str()).collect(), unknown_endpoint().to_string())
            } else if path.contains("{event}") {
                ("{event}", events.iter().map(|id| id.as_str()).collect(), unknown_event.clone())
            } else if path.contains("{replay}") {
                ("{replay}", replays.iter().map(String::as_str).collect(), UNKNOWN_REPLAY.to_owned())
            } else {
                continue;
            };
            for body in world.bodies(route.key) {
                let nothing = integrator.ask(stack, method, &path.replace(place, &unknown), body.as_ref()).await;
                assert!((400..500).contains(&nothing.status), "{} {body:?}: {nothing:?}", route.key);
                for id in &outside {
                    let answer = integrator.ask(stack, method, &path.replace(place, id), body.as_ref()).await;
                    assert_eq!(told(&answer), told(&nothing), "{} of {id}, {body:?}", route.key);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 80, "{tried}");

    // Of what is inside, an answer shows no part that is outside.
    let path = format!("/portal/api/events/{}", world.my_event);
    for (named, status) in [(Some(&world.other), 409), (Some(&world.theirs), 409), (None, 202)] {
        let body = named.map(|id| json!({"endpoint": id.as_str()}));
        let answer = narrow.ask(stack, "POST", &format!("{path}/replay"), body.as_ref()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        match named {
            None => assert_eq!(answer.json(), json!({"endpoints": [world.mine.as_str()]})),
            Some(id) => {
                let nothing = Some(json!({"endpoint": unknown_endpoint().as_str()}));
                let nothing = narrow.ask(stack, "POST", &format!("{path}/replay"), nothing.as_ref()).await;
                let expected = nothing.text.replace(unknown_endpoint().as_str(), id.as_str());
                assert_eq!((nothing.status, expected), (answer.status, answer.text));
            }
        }
    }
    assert_eq!(world.receiver.wait_for(4).await[3].event_id(), world.my_event);
    let replays = async |integrator: &Integrator| -> BTreeSet<String> {
        let listed = integrator.ask(stack, "GET", "/portal/api/replays", None).await.json();
        assert!(listed.get("cursor").is_none(), "{listed}");
        listed["replays"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(replays(&narrow).await, BTreeSet::from([my_replay.clone()]));
    assert_eq!(replays(&wide).await, world.replays[..3].iter().cloned().collect());
    let first = narrow.ask(stack, "GET", "/portal/api/replays?limit=1", None).await.json();
    assert_eq!(
        (&first["replays"][0]["id"], first.get("cursor")),
        (&json!(my_replay), None),
        "nor that there are others"
    );
    for (tenant, id) in [(&world.tenant, 1), (&world.tenant, 2), (&world.stranger, 3)] {
        let seen = stack.manage("GET", &format!("/v1/tenants/{tenant}/replays/{}", world.replays[id]), None).await;
        assert_ne!(seen.json()["state"], "stopped", "nobody outside stops it");
    }
    let listed = narrow.ask(stack, "GET", "/portal/api/endpoints", None).await.json();
    let ids: Vec<_> = listed["endpoints"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, [world.mine.as_str()]);
    let settings = json!({"url": world.receiver.url});
    assert_eq!(narrow.ask(stack, "POST", "/portal/api/endpoints", Some(&settings)).await.status, 403);
    let catalogue = narrow.ask(stack, "GET", "/portal/api/catalogue", None).await;
    assert_eq!((catalogue.status, catalogue.json()["types"].as_array().unwrap().len()), (200, 7));
    assert_eq!(world.seen().await, before, "nothing outside has changed");
}

/// An event of another endpoint, and several events with one id, are separated before the answer says anything.
#[tokio::test]
async fn an_event_shows_only_the_deliveries_of_the_session() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 204).await);
    let of = |kind: &str| json!({"url": receiver.url, "types": [{"type": "both"}, {"type": kind}]});
    let mine = stack.register_with(&tenant, &of("mine")).await.id;
    let other = stack.register_with(&tenant, &of("other")).await.id;
    let (shared, twice) = (event_id(), event_id());
    let sent = |id: &str, kind: &str, source: &str| {
        let mut event = event(&tenant, id, &json!({}));
        (event["type"], event["source"]) = (kind.into(), source.into());
        event.to_string()
    };
    stack
        .send_events([sent(&shared, "both", "/a"), sent(&twice, "mine", "/mine"), sent(&twice, "other", "/other")])
        .await;
    receiver.wait_for(4).await;
    let integrator = Integrator::of(&stack, &tenant, &json!({"endpoints": [mine.as_str()]})).await;

    let seen = integrator.ask(&stack, "GET", &format!("/portal/api/events/{shared}"), None).await;
    let deliveries = seen.json()["deliveries"].as_array().unwrap().clone();
    assert_eq!(deliveries.iter().map(|one| &one["endpoint"]).collect::<Vec<_>>(), [mine.as_str()]);
    assert!(!seen.text.contains(other.as_str()) && seen.json().get("cursor").is_none());
    let seen = integrator.ask(&stack, "GET", &format!("/portal/api/events/{twice}"), None).await;
    assert_eq!((seen.status, &seen.json()["event"]["source"]), (200, &json!("/mine")), "and no 409 with both sources");
    let path = format!("/portal/api/events/{twice}?source=%2Fother");
    assert_eq!(integrator.ask(&stack, "GET", &path, None).await.status, 404);
}

/// A filter without endpoints means all endpoints of the tenant for an operator, and those of the link for an integrator.
#[tokio::test]
async fn a_bulk_replay_of_an_integrator_reaches_only_the_endpoints_of_the_link() {
    let world = World::new().await;
    let stack = &world.stack;
    let rights = json!({"endpoints": [world.mine.as_str()], "can": ["replay"]});
    let narrow = Integrator::of(stack, &world.tenant, &rights).await;
    let wide = Integrator::of(stack, &world.tenant, &json!({"can": ["replay"]})).await;
    let ask = async |integrator: &Integrator, more: Value| {
        let mut body = json!({"since": SINCE, "statuses": ["delivered"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        integrator.ask(stack, "POST", "/portal/api/replays", Some(&body)).await
    };
    let dry = json!({"dryRun": true});
    let counted = async || (ask(&wide, dry.clone()).await.json() == json!({"matched": 2, "more": false})).then_some(());
    until("both deliveries are on record", counted).await;
    let seen = ask(&narrow, dry).await;
    assert_eq!((seen.status, seen.json()), (200, json!({"matched": 1, "more": false})));

    let nothing = ask(&narrow, json!({"endpoints": [unknown_endpoint().as_str()]})).await;
    assert_eq!((nothing.status, &nothing.json()["errors"][0]["pointer"]), (400, &json!("/endpoints")), "{nothing:?}");
    for outside in [&world.other, &world.theirs] {
        for endpoints in [vec![outside], vec![&world.mine, outside]] {
            let endpoints: Vec<_> = endpoints.into_iter().map(EndpointId::as_str).collect();
            let refused = ask(&narrow, json!({ "endpoints": endpoints })).await;
            let expected = nothing.text.replace(unknown_endpoint().as_str(), outside.as_str());
            assert_eq!((refused.status, refused.text), (400, expected));
        }
    }
    let rights = json!({"endpoints": [world.mine.as_str()], "can": ["view"]});
    let viewer = Integrator::of(stack, &world.tenant, &rights).await;
    assert_eq!(ask(&viewer, json!({"dryRun": true})).await.status, 403);

    let made = ask(&narrow, json!({})).await;
    assert_eq!((made.status, &made.json()["filter"]["endpoints"]), (202, &json!([world.mine.as_str()])), "{made:?}");
    let path = format!("/portal/api/replays/{}", made.json()["id"].as_str().unwrap());
    let done = until("the replay is done", async || {
        stack.invoke("SWEEP_FUNCTION", &json!({"source": "aws.events"})).await;
        let seen = viewer.ask(stack, "GET", &path, None).await.json();
        (seen["state"] != "running").then_some(seen)
    })
    .await;
    assert_eq!((&done["state"], &done["sent"]), (&json!("done"), &json!(1)), "{done}");
    let requests = world.receiver.wait_for(4).await;
    assert_eq!(requests[3].event_id(), world.my_event);
    assert_eq!(requests[3].header("signpost-replay"), "replay");

    let page = async |query: &str| {
        let listed = viewer.ask(stack, "GET", &format!("/portal/api/replays?limit=1{query}"), None).await.json();
        (listed["replays"][0]["id"].clone(), listed["cursor"].clone())
    };
    let newest = made.json()["id"].clone();
    assert_eq!(page("").await, (newest.clone(), newest.clone()), "the cursor is the last replay of the page");
    let second = page(&format!("&cursor={}", newest.as_str().unwrap())).await;
    assert_eq!(second, (json!(world.replays[0]), Value::Null), "and no other that the link hides");

    let gone = endpoint_path(&world.tenant, &world.mine);
    assert_eq!(stack.manage("DELETE", &gone, None).await.status, 204);
    let refused = ask(&narrow, json!({})).await;
    assert_eq!(refused.status, 409, "and not all endpoints of the tenant: {refused:?}");
}

#[tokio::test]
async fn an_integrator_sees_the_tenants_types_tries_a_filter_and_gets_an_example() {
    let (stack, tenant, other) = (LocalStack::from_env().await, tenant(), tenant());
    let receiver = Receiver::start(|_| 204).await;
    let id = stack.register_with(&tenant, &json!({"url": receiver.url, "types": [{"type": "invoice.paid"}]})).await.id;
    let put = async |tenant: &TenantId, name: &str| {
        let body = json!({"description": "An invoice was paid.", "deprecated": true, "example": {"amount": 10.5},
            "schema": {"type": "object", "required": ["amount"]}});
        let path = format!("/v1/tenants/{tenant}/event-types/{name}");
        assert_eq!(stack.manage("PUT", &path, Some(&body)).await.status, 201);
    };
    put(&tenant, "invoice.paid").await;
    put(&tenant, "invoice.sent").await;
    put(&other, "theirs.only").await;
    let rights = json!({"endpoints": [id.as_str()], "can": ["test"]});
    let integrator = Integrator::of(&stack, &tenant, &rights).await;
    let first = integrator.ask(&stack, "GET", "/portal/api/catalogue?limit=1", None).await.json();
    let types = first["types"].as_array().unwrap();
    assert_eq!((types.len(), &types[7]["type"], &first["cursor"]), (8, &json!("invoice.paid"), &json!("invoice.paid")));
    assert!(types[..7].iter().all(|one| one["builtIn"] == true && one["format"].is_string()), "{first}");
    let (own, schema) = (&types[7], json!({"type": "object", "required": ["amount"]}));
    assert_eq!((&own["schema"], &own["deprecated"], &own["builtIn"]), (&schema, &json!(true), &json!(false)));
    let next = integrator.ask(&stack, "GET", "/portal/api/catalogue?cursor=invoice.paid", None).await;
    assert_eq!(next.json()["types"][0]["type"], "invoice.sent");
    assert!(!next.text.contains("theirs.only") && next.json().get("cursor").is_none(), "{next:?}");

    let path = format!("/portal/api/endpoints/{id}/test");
    let sent = integrator.ask(&stack, "POST", &path, Some(&json!({"type": "invoice.paid"}))).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    assert_eq!(receiver.wait_for(1).await[0].body, r#"{"amount":10.5}"#);
    let theirs = integrator.ask(&stack, "POST", &path, Some(&json!({"type": "theirs.only"}))).await;
    assert_eq!(theirs.status, 400, "{theirs:?}");

    let event_id = event_id();
    let mut paid = event(&tenant, &event_id, &json!({"amount": 10.5}));
    paid["type"] = "invoice.paid".into();
    stack.send_events([paid.to_string()]).await;
    receiver.wait_for(2).await;
    let seen = integrator.ask(&stack, "GET", &format!("/portal/api/events/{event_id}"), None).await.json();
    let test = async |filter: Value, event: &Value| {
        let body = json!({"filter": filter, "event": event});
        integrator.ask(&stack, "POST", "/portal/api/filters/test", Some(&body)).await
    };
    let fits = test(json!({"data": {"amount": [{"numeric": [">", 10]}]}}), &seen["event"]).await;
    assert_eq!((fits.status, fits.json()["matches"].clone()), (200, json!(true)), "{fits:?}");
    let differs = test(json!({"data": {"amount": [{"numeric": [">", 11]}]}}), &seen["event"]).await.json();
    assert_eq!((&differs["matches"], &differs["mismatches"][0]["pointer"]), (&json!(false), &json!("/data/amount")));
    let foreign = event(&other, &event_id, &json!({}));
    assert_eq!(test(json!({"type": ["a"]}), &foreign).await.status, 400, "an event of another tenant");
}

/// The operator's `DestinationRoleArns` and the link's `edit` decide together. A request cannot choose the `ExternalId`.
#[tokio::test]
async fn an_integrator_may_choose_a_queue_through_a_role_that_the_operator_listed() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let editor = Integrator::of(&stack, &tenant, &json!({"can": ["edit"]})).await;
    let queue = "arn:aws:sqs:us-east-1:111122223333:webhooks";
    let role = Customer::role_arn();
    let body = |role: &str| json!({"destination": {"kind": "sqs", "queueArn": queue, "roleArn": role}});
    let made = editor.ask(&stack, "POST", "/portal/api/endpoints", Some(&body(&role))).await;
    assert_eq!((made.status, &made.json()["destination"]["queueArn"]), (201, &json!(queue)), "{made:?}");
    let by_operator = stack.register_destination(&tenant, &body(&role)).await;
    assert_eq!(made.json()["destination"]["externalId"], by_operator["destination"]["externalId"]);
    let unlisted = body("arn:aws:iam::111122223333:role/another");
    let refused = editor.ask(&stack, "POST", "/portal/api/endpoints", Some(&unlisted)).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (400, &json!("/destination/roleArn")));
}

#[tokio::test]
async fn each_route_needs_its_capability() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let id = stack.register_with(&tenant, &json!({"url": "https://hooks.example/in"})).await.id;
    for missing in Capability::ALL.into_iter().filter(|one| *one != Capability::View) {
        let can: Vec<_> = all_rights().into_iter().filter(|one| *one != missing.as_str()).collect();
        let integrator = Integrator::of(&stack, &tenant, &json!({ "can": can })).await;
        let mut refused = 0;
        for route in &ROUTES {
            let (method, path) = route.key.split_once(' ').unwrap();
            // Of an unknown endpoint, so that nothing happens: what is refused is refused before it is looked for.
            let path = path.replace("{endpoint}", unknown_endpoint().as_str()).replace("{event}", "evt-none");
            let path = path.replace("{replay}", UNKNOWN_REPLAY);
            let answer = integrator.ask(&stack, method, &path, Some(&json!({"nonsense": 1}))).await;
            if route.needs == missing {
                let expected = format!("the link does not allow `{}`; ask for one that does", missing.as_str());
                assert_eq!((answer.status, &answer.json()["detail"]), (403, &json!(expected)), "{}", route.key);
                refused += 1;
            } else {
                assert!(![401, 403].contains(&answer.status), "{} without {}: {answer:?}", route.key, missing.as_str());
            }
        }
        assert!(refused > 0, "{missing:?}");
    }
    let viewer = Integrator::of(&stack, &tenant, &json!({})).await;
    for route in ROUTES.iter().filter(|route| is_change(route.key)) {
        let (method, path) = route.key.split_once(' ').unwrap();
        let path = path.replace("{endpoint}", id.as_str()).replace("{event}", "evt-none");
        let path = path.replace("{replay}", UNKNOWN_REPLAY);
        assert_eq!(viewer.ask(&stack, method, &path, None).await.status, 403, "{}", route.key);
    }
    assert_eq!(stack.manage("GET", &endpoint_path(&tenant, &id), None).await.header("etag"), "\"1\"");
}

#[tokio::test]
async fn without_one_good_token_every_route_gives_the_same_answer() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let id = stack.register_with(&tenant, &json!({"url": "https://hooks.example/in"})).await.id;
    let made = link(&stack, &tenant, &json!({"can": all_rights()})).await;
    let integrator = Integrator::of(&stack, &tenant, &json!({"can": all_rights()})).await;
    let token = &integrator.token;
    let (good, wrong) = (format!("Bearer {token}"), format!("Bearer {}", PortalSecret::new([9; 32]).reveal()));
    let own = [("GET /portal/session", "/portal/session"), ("DELETE /portal/session", "/portal/session")];
    let routes = ROUTES.iter().map(|route| (route.key, route.key.split_once(' ').unwrap().1)).chain(own);
    let nothing = stack.ask("GET", "/portal/session", &[], None).await;
    assert_eq!((nothing.status, nothing.header("www-authenticate")), (401, "Bearer"));
    for (route, path) in routes {
        let (method, _) = route.split_once(' ').unwrap();
        let path = path.replace("{endpoint}", id.as_str()).replace("{event}", "evt-none");
        let path = path.replace("{replay}", UNKNOWN_REPLAY);
        for headers in
            [vec![], vec![("authorization", &*wrong)], vec![("cookie", &*good)], vec![("x-authorization", &*good)]]
        {
            let answer = stack.ask(method, &path, &headers, None).await;
            assert_eq!(told(&answer), told(&nothing), "{route} with {headers:?}");
        }
    }
    let code = code_of(&made);
    let values = [
        format!("Basic {token}"),
        format!("bearer{token}"),
        format!("Bearer {token}x"),
        format!("Bearer {token}="),
        format!("Bearer {}", token.to_ascii_lowercase()),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {code}"),
        format!("Bearer {}", PortalSecret::parse(token).unwrap().hash()),
        (*token).clone(),
    ];
    for value in &values {
        let answer = stack.ask("GET", "/portal/session", &[("authorization", value)], None).await;
        assert_eq!(told(&answer), told(&nothing), "{value}");
    }
    let two = [("authorization", &*wrong), ("authorization", &*good)];
    for two in [two, [two[1], two[0]], [two[1], two[1]]] {
        assert_eq!(told(&stack.ask("GET", "/portal/session", &two, None).await), told(&nothing), "{two:?}");
    }
    for name in ["Authorization", "AUTHORIZATION"] {
        assert_eq!(stack.ask("GET", "/portal/session", &[(name, &*good)], None).await.status, 200, "{name}");
    }
    let query = format!("/portal/session?access_token={token}");
    assert_eq!(stack.ask("GET", &query, &[], None).await.status, 401);
    assert_eq!(open(&stack, code).await.status, 201, "no try has used the code up");
}

#[tokio::test]
async fn tricks_with_paths_lead_nowhere() {
    let world = World::new().await;
    let narrow = json!({"endpoints": [world.mine.as_str()], "can": all_rights()});
    let narrow = Integrator::of(&world.stack, &world.tenant, &narrow).await;
    let (mine, theirs, stranger) = (&world.mine, &world.theirs, &world.stranger);
    for path in [
        format!("/portal/api/endpoints/{mine}%2F..%2F{theirs}"),
        format!("/portal/api/endpoints/{mine}/../{theirs}"),
        format!("/portal/api/endpoints/..%2F..%2F..%2Fv1%2Ftenants%2F{stranger}%2Fendpoints%2F{theirs}"),
        format!("/portal/api/endpoints/{theirs}%20"),
        format!("/portal/api/endpoints/%65p_{}", theirs.as_str().strip_prefix("ep_").unwrap()),
        format!("/portal/api/endpoints/{}", theirs.as_str().to_ascii_uppercase()),
        format!("/portal/api/endpoints/{theirs}%00"),
        format!("/portal//api/endpoints/{theirs}"),
        format!("/portal/api/events/{}%2F..%2F{}", world.my_event, world.their_event),
        format!("/portal/api/endpoints/{theirs}?tenant={stranger}"),
    ] {
        let answer = narrow.ask(&world.stack, "GET", &path, None).await;
        assert!(matches!(answer.status, 400 | 403 | 404), "{path}: {answer:?}");
        assert!(!answer.text.contains(&world.receiver.url) && !answer.text.contains("secret-of"), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn every_change_of_an_integrator_is_in_the_audit_log_with_the_link() {
    let (stack, tenant, receiver) = (LocalStack::from_env().await, tenant(), Receiver::start(|_| 204).await);
    let endpoint = stack.register_with(&tenant, &json!({"url": receiver.url})).await.id;
    let id = event_id();
    stack.send_events([event(&tenant, &id, &json!({})).to_string()]).await;
    receiver.wait_for(1).await;
    let newest = async || {
        let path = format!("/v1/tenants/{tenant}/audit?limit=1");
        stack.manage("GET", &path, None).await.json()["entries"][0].clone()
    };
    let integrator = Integrator::of(&stack, &tenant, &json!({"can": all_rights(), "name": "Acme"})).await;
    let actor = json!({"kind": "link", "id": integrator.link});
    let opened = newest().await;
    assert_eq!(
        (&opened["actor"], &opened["action"], &opened["status"]),
        (&actor, &json!("POST /portal/session"), &json!(201))
    );

    let mut routes: Vec<_> = ROUTES.iter().filter(|route| is_change(route.key)).collect();
    routes.sort_by_key(|route| (route.key.starts_with("DELETE"), route.key.ends_with("/disable")));
    let mut replay = String::new();
    for route in &routes {
        let (method, path) = route.key.split_once(' ').unwrap();
        let path = path.replace("{endpoint}", endpoint.as_str()).replace("{event}", &id).replace("{replay}", &replay);
        let body = match route.key.rsplit('/').next().unwrap() {
            "recover" | "replays" => Some(json!({"since": SINCE})),
            "endpoints" => Some(json!({"url": receiver.url})),
            _ if method == "PATCH" => Some(json!({"description": "by the integrator"})),
            _ => None,
        };
        let answer = integrator.ask(&stack, method, &path, body.as_ref()).await;
        assert!((200..300).contains(&answer.status), "{}: {answer:?}", route.key);
        if path.ends_with("/replays") {
            replay = answer.json()["id"].as_str().unwrap().to_owned();
        }
        let entry = newest().await;
        let seen = (&entry["actor"], &entry["action"], &entry["outcome"], &entry["status"]);
        assert_eq!(seen, (&actor, &json!(route.operators), &json!("done"), &json!(answer.status)), "{entry}");
        if path.contains(endpoint.as_str()) {
            assert_eq!(entry["endpoint"], endpoint.as_str(), "{entry}");
        }
    }
    let refused =
        integrator.ask(&stack, "DELETE", &format!("/portal/api/endpoints/{}", unknown_endpoint()), None).await;
    let entry = newest().await;
    assert_eq!((refused.status, &entry["outcome"]), (404, &json!("refused")));
    assert_eq!(entry["endpoint"], unknown_endpoint().as_str(), "the log says what was tried");
    assert_eq!(integrator.ask(&stack, "DELETE", "/portal/session", None).await.status, 204);
    assert_eq!(newest().await["action"], "DELETE /portal/session");
}

#[tokio::test]
async fn codes_and_tokens_are_in_no_log_and_in_no_table() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let made = link(&stack, &tenant, &json!({"can": all_rights()})).await;
    let unused = link(&stack, &tenant, &json!({})).await;
    let token = open(&stack, code_of(&made)).await.json()["token"].as_str().unwrap().to_owned();
    let integrator = Integrator { link: made["id"].as_str().unwrap().into(), token };
    let settings = json!({"url": "https://hooks.example/in", "signatures": ["standard-webhooks"]});
    let created = integrator.ask(&stack, "POST", "/portal/api/endpoints", Some(&settings)).await.json();
    open(&stack, code_of(&made)).await;
    stack.ask("POST", "/portal/session", &[], Some(format!("{{\"code\":\"{}", code_of(&unused)))).await;
    integrator.ask(&stack, "DELETE", "/portal/session", None).await;
    integrator.ask(&stack, "GET", "/portal/session", None).await;

    let mut texts = vec![stack.logs_of(&["PortalLogs", "ManageLogs"], &integrator.link).await];
    assert!(texts[0].contains("portal.session_ended"));
    for table in ["PORTAL_TABLE", "AUDIT_TABLE", "ENDPOINTS_TABLE"] {
        let items = stack.dynamodb().scan().table_name(setting(table)).consistent_read(true).send().await.unwrap();
        texts.push(format!("{:?}", items.items()));
    }
    let secret = created["signingSecret"].as_str().unwrap();
    for secret in [code_of(&made), code_of(&unused), &integrator.token, secret] {
        for text in &texts {
            assert!(!text.is_empty() && !text.contains(secret), "{secret} is in a log or in a table");
        }
    }
    let hash = PortalSecret::parse(&integrator.token).unwrap().hash();
    assert!(texts[1].contains(hash.as_str()), "the table has the hash");
}

#[tokio::test]
async fn a_secret_is_shown_only_to_links_that_allow_it() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let settings = json!({"url": "https://hooks.example/in"});
    let editor = Integrator::of(&stack, &tenant, &json!({"can": ["edit"]})).await;
    let keeper = Integrator::of(&stack, &tenant, &json!({"can": ["edit", "secret"]})).await;
    let made = editor.ask(&stack, "POST", "/portal/api/endpoints", Some(&settings)).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((made.status, made.header("location")), (201, &*format!("/portal/api/endpoints/{id}")));
    assert!(!made.text.contains("whsec_"), "{made:?}");
    let made = keeper.ask(&stack, "POST", "/portal/api/endpoints", Some(&settings)).await;
    assert!(made.json()["signingSecret"].as_str().unwrap().starts_with("whsec_"));
    let rotate = format!("/portal/api/endpoints/{id}/rotate-secret");
    assert_eq!(editor.ask(&stack, "POST", &rotate, None).await.status, 403);
    assert!(keeper.ask(&stack, "POST", &rotate, None).await.text.contains("whsec_"));
    let seen = keeper.ask(&stack, "GET", &format!("/portal/api/endpoints/{id}"), None).await;
    assert_eq!((seen.status, seen.text.contains("whsec_")), (200, false), "only the answer that makes it has it");
}

#[tokio::test]
async fn the_timetable_has_the_keys_that_verifiers_fetch() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let integrator = Integrator::of(&stack, &tenant, &json!({})).await;
    let kids = |set: &Value| -> BTreeSet<String> {
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let fetched = kids(&stack.get(&format!("/tenants/{tenant}/.well-known/jwks.json"), &[]).await.json());
    let shown = integrator.ask(&stack, "GET", "/portal/api/keys", None).await.json();
    assert!(kids(&shown).intersection(&fetched).count() > 0, "{shown} has none of {fetched:?}");
    let in_use = shown["keys"].as_array().unwrap().iter().filter(|key| key["state"] == "in use");
    assert_eq!(
        in_use.map(|key| key["alg"].as_str().unwrap()).collect::<BTreeSet<_>>(),
        ["RS256", "ES256", "EdDSA"].into()
    );
    assert_eq!(shown["jwksUrl"], format!("{}/tenants/{tenant}/.well-known/jwks.json", setting("API_URL")));
    let addresses = stack.get("/.well-known/egress-addresses.json", &[]).await.json();
    assert_eq!(shown["egressAddresses"], addresses);
}

#[tokio::test]
async fn an_integrator_finds_the_cause_corrects_the_url_and_replays() {
    let (stack, tenant) = (LocalStack::from_env().await, tenant());
    let (broken, working) = (Receiver::start(|_| 400).await, Receiver::start(|_| 204).await);
    let retry = json!({"maxRetries": 0, "intervalSeconds": 5, "backoff": "fixed"});
    let id = stack.register_with(&tenant, &json!({"url": broken.url, "retry": retry})).await.id;
    let event_id = event_id();
    stack.send_events([event(&tenant, &event_id, &json!({})).to_string()]).await;
    broken.wait_for(1).await;
    let integrator = Integrator::of(&stack, &tenant, &json!({"can": ["replay", "edit"]})).await;
    let (path, history) = (format!("/portal/api/endpoints/{id}"), format!("/portal/api/events/{event_id}"));

    let given_up = until("a delivery that was given up", async || {
        let page = integrator.ask(&stack, "GET", &format!("{path}/deliveries?status=exhausted&limit=1"), None).await;
        page.json()["deliveries"].get(0).cloned()
    })
    .await;
    assert_eq!(given_up["event"], event_id);
    let seen = integrator.ask(&stack, "GET", &history, None).await.json();
    assert_eq!(seen["deliveries"][0]["attempts"][0]["status"], 400);
    let patched = integrator.ask(&stack, "PATCH", &path, Some(&json!({"url": working.url}))).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    // A warm function may send to the URL before for ten seconds, and gives the delivery up again.
    until("a request to the new URL", async || {
        let replayed = integrator.ask(&stack, "POST", &format!("{history}/replay"), None).await;
        assert_eq!((replayed.status, replayed.json()), (202, json!({"endpoints": [id.as_str()]})));
        until("the end of the delivery", async || {
            let seen = integrator.ask(&stack, "GET", &history, None).await.json();
            (seen["deliveries"][0]["status"] != "pending").then_some(())
        })
        .await;
        working.so_far().first().map(|request| assert_eq!(request.event_id(), event_id))
    })
    .await;
}

#[tokio::test]
async fn the_page_comes_with_its_policy_and_only_once() {
    let stack = LocalStack::from_env().await;
    for path in ["/portal", "/portal/"] {
        let page = stack.ask("GET", path, &[], None).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        let expected = [
            ("cache-control", "no-cache"),
            ("cross-origin-opener-policy", "same-origin"),
            ("permissions-policy", "clipboard-write=(self)"),
            ("referrer-policy", "no-referrer"),
            ("strict-transport-security", "max-age=31536000"),
            ("x-content-type-options", "nosniff"),
        ];
        for (name, value) in expected {
            assert_eq!(page.header(name), value, "{path}");
        }
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(
            policy.contains("frame-ancestors https://listed.example; require-trusted-types-for 'script'"),
            "{policy}"
        );
        let packed = stack.ask("GET", path, &[("accept-encoding", "gzip")], None).await;
        assert_eq!((packed.status, packed.header("content-encoding")), (200, "gzip"));
        assert_ne!(packed.header("etag"), page.header("etag"));
        let again = stack.ask("GET", path, &[("if-none-match", page.header("etag"))], None).await;
        assert_eq!((again.status, &*again.text), (304, ""));
        assert_eq!(again.header("content-security-policy"), policy);
    }
}
