//! Requests of each command of an operator.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::{NOWHERE, Ran, command, run, run_with_input, start};
use crate::signed::ENDPOINT;
use crate::stack;
use crate::stub_api::{Asked, StubApi};

const EVENT: &str = r#"{"specversion":"1.0","id":"payment-1-approved","source":"/core","type":"operation","tenant":"acme","data":{"amount":10.50}}"#;

fn done(ran: &Ran) -> &Ran {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

fn body(asked: &Asked) -> Value {
    serde_json::from_str(&asked.body).unwrap()
}

fn last(stack: &StubApi) -> Asked {
    stack.asked().last().unwrap().clone()
}

#[test]
fn every_request_is_signed_and_shows_no_secret() {
    let stack = stack::start();
    let ran = run(&stack.url, &["endpoint", "show", ENDPOINT, "-t", "acme", "--verbose"]);
    done(&ran);
    let signature = last(&stack).header("authorization").to_owned();
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=nobody/"), "{signature}");
    assert!(signature.contains("/us-east-1/execute-api/aws4_request"), "{signature}");
    assert!(ran.stderr.contains("→ 200"), "{ran:?}");
    assert!(!ran.stderr.contains("secret") && !ran.stderr.contains("Signature"), "{ran:?}");
}

#[test]
fn create_sends_the_settings_and_shows_the_secret_once() {
    let stack = stack::start();
    let secret = Path::new(env!("CARGO_TARGET_TMPDIR")).join("auth.txt");
    std::fs::write(&secret, "user:pass\n").unwrap();
    let args = [
        "endpoint",
        "create",
        "https://hooks.acme.example/in",
        "-t",
        "acme",
        "--type",
        "operation:APPROVED,REJECTED",
        "--type",
        "session",
        "--signatures",
        "jws,standard-webhooks",
        "--algorithm",
        "ES256",
        "--timeout",
        "5",
        "--auth",
        "basic",
        "--auth-secret-file",
        secret.to_str().unwrap(),
        "--settings",
        "-",
    ];
    let ran = run_with_input(&stack.url, &args, r#"{"maxPerSecond":7,"timeoutSeconds":9}"#);
    assert!(done(&ran).stdout.contains("signingSecret     whsec_"), "{ran:?}");
    assert!(ran.stderr.contains("keep the signingSecret"), "{ran:?}");
    let asked = last(&stack);
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/v1/tenants/acme/endpoints"));
    let expected = json!({
        "url": "https://hooks.acme.example/in", "maxPerSecond": 7, "timeoutSeconds": 5, "jwsAlgorithm": "ES256",
        "types": [{"type": "operation", "statuses": ["APPROVED", "REJECTED"]}, {"type": "session"}],
        "signatures": ["jws", "standard-webhooks"], "auth": {"kind": "basic", "secret": "user:pass"},
    });
    assert_eq!(body(&asked), expected);
}

#[test]
fn a_filter_comes_from_the_command_line_or_a_file_and_replaces_the_one_before() {
    let stack = stack::start();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("filter.json");
    std::fs::write(&file, r#"{"data":{"total":[{"numeric":[">",100]}]}}"#).unwrap();
    let create = ["endpoint", "create", "https://hooks.acme.example/in", "-t", "acme", "--filter", r#"{"type":["a"]}"#];
    done(&run(&stack.url, &create));
    assert_eq!(body(&last(&stack))["filter"], json!({"type": ["a"]}));
    done(&run(&stack.url, &["endpoint", "update", ENDPOINT, "-t", "acme", "--filter", file.to_str().unwrap()]));
    // The endpoint has `{"data":{"currency":["EUR"],"total":[7]}}`.
    assert_eq!(
        body(&last(&stack)),
        json!({"filter": {"data": {"currency": null, "total": [{"numeric": [">", 100]}]}}})
    );
    let ran = run(&stack.url, &["endpoint", "update", ENDPOINT, "-t", "acme", "--filter", "{no"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn an_event_type_is_sent_as_it_is_spelled_and_a_test_names_it() {
    let stack = stack::start();
    let definition = r#"{"schema": {"maximum": 10.50}, "example": {}}"#;
    done(&run_with_input(&stack.url, &["event-type", "put", "invoice.paid", "-", "-t", "acme"], definition));
    let asked = last(&stack);
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("PUT", "/v1/tenants/acme/event-types/invoice.paid"));
    assert_eq!(asked.body, definition);
    let ran = run(&stack.url, &["event-type", "show", "order", "-t", "acme"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("signpost event-type list"), "{ran:?}");
    done(&run(&stack.url, &["endpoint", "test", ENDPOINT, "-t", "acme", "--type", "operation", "--wait", "0"]));
    assert_eq!(body(&last(&stack)), json!({"type": "operation"}));
}

#[test]
fn the_test_of_a_filter_ends_with_its_result() {
    let stack = stack::start();
    let ran = run_with_input(&stack.url, &["filter", "test", r#"{"data":{"amount":[7]}}"#, "-", "-t", "acme"], EVENT);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("/data/amount") && ran.stderr.contains("does not fit"), "{ran:?}");
    let asked = last(&stack);
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/v1/tenants/acme/filters/test"));
    assert_eq!(asked.body, format!(r#"{{"filter":{{"data":{{"amount":[7]}}}},"event":{EVENT}}}"#), "10.50 stays");
    let fits = run_with_input(&stack.url, &["filter", "test", r#"{"type":["operation"]}"#, "-", "-t", "acme"], EVENT);
    assert_eq!((done(&fits).stdout.trim(), fits.stderr.as_str()), ("the event fits", ""));
    let both = run(&stack.url, &["filter", "test", "-", "-", "-t", "acme"]);
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn update_sends_a_merge_patch() {
    let stack = stack::start();
    done(&run_with_input(
        &stack.url,
        &["endpoint", "update", ENDPOINT, "-t", "acme", "--settings", "-"],
        r#"{"retry":null}"#,
    ));
    let asked = last(&stack);
    assert_eq!((asked.method.as_str(), asked.header("content-type")), ("PATCH", "application/merge-patch+json"));
    assert_eq!(body(&asked), json!({"retry": null}));
}

#[test]
fn switches_and_rotations_ask_for_their_routes() {
    let stack = stack::start();
    let path = format!("/v1/tenants/acme/endpoints/{ENDPOINT}");
    for (words, route, sent) in [
        (vec!["enable"], "/enable", ""),
        (vec!["disable"], "/disable", ""),
        (vec!["test", "--wait", "0"], "/test", ""),
        (vec!["rotate-secret", "--yes"], "/rotate-secret", "{}"),
        (vec!["rotate-secret", "--overlap", "60", "--yes"], "/rotate-secret", r#"{"overlapSeconds":60}"#),
        (vec!["rotate-secret", "--end-all-others", "--yes"], "/rotate-secret", r#"{"endAllOthers":true}"#),
    ] {
        let args = [&["endpoint", words[0], ENDPOINT, "-t", "acme"], &words[1..]].concat();
        done(&run(&stack.url, &args));
        let asked = last(&stack);
        assert_eq!((asked.target, asked.body.as_str()), (format!("{path}{route}"), sent), "{words:?}");
    }
}

#[test]
fn recover_asks_until_there_is_no_more() {
    let answers = std::sync::atomic::AtomicU64::new(0);
    let stack = StubApi::start(move |asked| {
        let is_last = asked.method == "POST" && answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2;
        match asked.method.as_str() {
            "GET" => (200, json!({"deliveries": []}).to_string()),
            _ => (202, json!({"recovered": 5, "more": !is_last}).to_string()),
        }
    });
    let ran = run(&stack.url, &["recover", ENDPOINT, "-t", "acme", "--since", "2026-01-31T10:00:00Z", "--yes"]);
    assert_eq!(done(&ran).stdout, "15 deliveries go out again\n");
}

#[test]
fn events_go_out_byte_for_byte_by_both_ways() {
    let stack = stack::start();
    let cases = [
        ("one event", EVENT.to_owned(), EVENT.to_owned(), "application/cloudevents+json"),
        ("an array", format!("[{EVENT}, {EVENT}]"), format!("[{EVENT},{EVENT}]"), "application/cloudevents-batch+json"),
        (
            "one a line",
            format!("{EVENT}\n{EVENT}\n"),
            format!("[{EVENT},{EVENT}]"),
            "application/cloudevents-batch+json",
        ),
    ];
    for (kind, file, sent, media_type) in cases {
        let ran = run_with_input(&stack.url, &["send", "-"], &file);
        assert!(done(&ran).stdout.starts_with("payment-1-approved\n"), "{kind}");
        assert_eq!((last(&stack).body, last(&stack).header("content-type")), (sent, media_type), "{kind}");
    }
    done(&run_with_input(&stack.url, &["send", "-", "--via", "sqs"], EVENT));
    let asked = last(&stack);
    assert_eq!(asked.header("x-amz-target"), "AmazonSQS.SendMessage");
    assert_eq!(body(&asked)["MessageBody"], EVENT);
    assert!(body(&asked)["QueueUrl"].as_str().unwrap().ends_with("/EVENTS_QUEUE_URL"));
}

#[test]
fn many_events_go_out_in_parts_that_the_stack_accepts() {
    let stack = stack::start();
    let lines = format!("{EVENT}\n").repeat(205);
    for (way, requests, most) in [("http", 3, 100), ("sqs", 21, 10)] {
        let before = stack.asked().len();
        done(&run_with_input(&stack.url, &["send", "-", "--via", way], &lines));
        let asked = &stack.asked()[before..];
        assert_eq!(asked.len(), requests, "{way}");
        assert!(asked.iter().all(|one| one.body.matches("payment-1-approved").count() <= most), "{way}");
    }
}

#[test]
fn each_payload_format_has_an_example_for_the_tenant() {
    let stack = stack::start();
    for format in ["operation", "activation", "workflow", "token-request", "session", "payment", "transaction"] {
        let ran = run(&stack.url, &["send", "--type", format, "--tenant", "globex", "--dry-run"]);
        let event: Value = serde_json::from_str(&done(&ran).stdout).unwrap();
        assert_eq!((&event["type"], &event["tenant"]), (&json!(format), &json!("globex")));
        assert!(event["id"].as_str().unwrap().starts_with(format) && event["data"].is_object(), "{event}");
    }
    assert!(stack.asked().is_empty());
}

#[test]
fn wait_ends_with_4_if_an_event_is_not_delivered_in_time() {
    let stack = stack::start();
    let ran = run_with_input(&stack.url, &["send", "-", "--wait", "1"], EVENT);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(
        ran.stderr.contains("endpoint answered 503") || ran.stderr.contains("was not delivered within 1 s"),
        "{ran:?}"
    );
}

#[test]
fn an_event_with_many_deliveries_is_read_to_its_last_page() {
    let stack = StubApi::start(|asked| {
        let delivery = |endpoint: &str| json!({"endpoint": endpoint, "status": "delivered", "attempts": []});
        let page =
            |endpoint: &str| json!({"event": {"data": {}}, "fannedOutAt": "", "deliveries": [delivery(endpoint)]});
        let mut first = page("ep_1");
        first["cursor"] = json!("a+b/c");
        (200, if asked.target.contains("cursor=") { page("ep_2") } else { first }.to_string())
    });
    let ran = run(&stack.url, &["event", "show", "order.17", "-t", "acme", "--source", "/core", "--output", "json"]);
    let history: Value = serde_json::from_str(&done(&ran).stdout).unwrap();
    let endpoints: Vec<_> = history["deliveries"].as_array().unwrap().iter().map(|one| &one["endpoint"]).collect();
    assert_eq!((endpoints, history.get("cursor")), (vec![&json!("ep_1"), &json!("ep_2")], None));
    let last = "GET /v1/tenants/acme/events/order.17?source=%2Fcore&cursor=a%2Bb%2Fc";
    assert_eq!(stack.routes().last().unwrap(), last);
}

#[test]
fn an_id_that_is_part_of_a_path_is_escaped() {
    let stack = stack::start();
    assert_eq!(run(&stack.url, &["event", "show", "a:b;c=d", "-t", "acme"]).code, 3);
    assert_eq!(stack.routes(), ["GET /v1/tenants/acme/events/a%3Ab%3Bc%3Dd"]);
}

#[test]
fn an_event_that_has_not_arrived_is_waited_for() {
    let asked_before = std::sync::atomic::AtomicU64::new(0);
    let stack = StubApi::start(move |_| {
        let history = json!({"event": {"data": {}}, "fannedOutAt": "", "deliveries": []});
        let is_there = asked_before.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
        if is_there { (200, history.to_string()) } else { (404, String::new()) }
    });
    done(&run(&stack.url, &["event", "show", "e", "-t", "acme", "--wait", "30"]));
}

/// Changes are news, and deliveries from before are not.
#[test]
fn tail_shows_each_change_of_each_endpoint_once() {
    let rounds = std::sync::atomic::AtomicU64::new(0);
    let stack = StubApi::start(move |asked| {
        if !asked.target.contains("/deliveries") {
            return (200, json!({"endpoints": [{"id": ENDPOINT}]}).to_string());
        }
        let delivery =
            |event: &str, status: &str| json!({"event": event, "source": "/core", "status": status, "attempts": 1});
        let old = delivery("old", "delivered");
        let deliveries = match rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => json!([old]),
            1 => json!([delivery("new", "pending"), old]),
            _ => json!([delivery("new", "delivered"), old]),
        };
        (200, json!({"deliveries": deliveries}).to_string())
    });
    let mut command = command(&stack.url, ["tail", "-t", "acme", "--output", "jsonl"]);
    let (mut child, _limit) = start(command.stdin(Stdio::null()));
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(2);
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let seen: Vec<_> = lines.iter().map(|one| (&one["event"], &one["status"], &one["endpoint"])).collect();
    assert_eq!(
        seen,
        [(&json!("new"), &json!("pending"), &json!(ENDPOINT)), (&json!("new"), &json!("delivered"), &json!(ENDPOINT))]
    );
}

#[test]
fn a_bulk_replay_is_made_with_its_filter_and_waited_for() {
    let stack = stack::start();
    let args =
        ["replays", "create", "-t", "acme", "--since", "2026-01-31T09:00:00Z", "--until", "2026-01-31T10:00:00Z"];
    let args =
        [&args[..], &["--endpoint", ENDPOINT, "--type", "operation", "--status", "exhausted,delivered"]].concat();
    let ran = run(&stack.url, &[&args[..], &["--wait", "60", "--yes", "--output", "json"]].concat());
    let ended: Value = serde_json::from_str(&done(&ran).stdout).unwrap();
    assert_eq!((&ended["state"], &ended["sent"]), (&json!("done"), &json!(2)));
    let made = stack.asked().into_iter().find(|one| one.method == "POST").unwrap();
    let sent: Value = serde_json::from_str(&made.body).unwrap();
    let expected = json!({"since": "2026-01-31T09:00:00Z", "until": "2026-01-31T10:00:00Z", "endpoints": [ENDPOINT],
        "types": ["operation"], "statuses": ["exhausted", "delivered"]});
    assert_eq!(sent, expected);
    let unknown = ["replays", "show", "rp_1123456789abcdef0123456789abcdef", "-t", "acme"];
    assert_eq!(run(&stack.url, &unknown).code, 3);
    assert_eq!(run(&stack.url, &["replays", "create", "-t", "acme", "--since", "yesterday"]).code, 2);
}

#[test]
fn a_link_is_made_with_what_it_allows_and_its_url_is_shown_once() {
    let stack = stack::start();
    let args =
        ["portal-link", "create", "-t", "acme", "--endpoint", ENDPOINT, "--can", "test,replay", "--session", "7200"];
    let args = [&args[..], &["--expires-in", "60", "--name", "Acme", "--output", "json", "--verbose"]].concat();
    let ran = run(&stack.url, &args);
    let link: Value = serde_json::from_str(&done(&ran).stdout).unwrap();
    assert_eq!(link["url"], "https://api.example/portal/#the-code");
    assert!(!ran.stderr.contains("the-code"), "the url opens the page: {}", ran.stderr);
    let sent: Value = serde_json::from_str(&last(&stack).body).unwrap();
    let expected = json!({"endpoints": [ENDPOINT], "can": ["test", "replay"], "expiresInSeconds": 60, "sessionSeconds": 7200, "name": "Acme"});
    assert_eq!(sent, expected);

    done(&run(&stack.url, &["portal-link", "create", "-t", "acme"]));
    assert_eq!(last(&stack).body, "{}", "the API has the defaults");
    assert_eq!(run(&stack.url, &["portal-link", "end", "pl_9", "-t", "acme", "--yes"]).code, 3);
}

#[test]
fn a_question_is_asked_again_while_the_api_is_unavailable_and_a_change_is_not() {
    let problem = json!({"status": 503, "title": "Service Unavailable", "detail": "the tables could not be reached"});
    let rounds = std::sync::atomic::AtomicU32::new(0);
    let stack = StubApi::start(move |_| match rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        1 => (200, json!({"endpoints": []}).to_string()),
        _ => (503, problem.to_string()),
    });
    done(&run(&stack.url, &["endpoint", "list", "-t", "acme"]));
    assert_eq!(stack.asked().len(), 2);
    let ran = run(&stack.url, &["endpoint", "disable", ENDPOINT, "-t", "acme"]);
    assert!(ran.code == 1 && ran.stderr.contains("try again"), "{ran:?}");
    assert_eq!(stack.asked().len(), 3);
}

#[test]
fn a_status_is_shown_as_it_is_spelled_and_waited_for() {
    let stack = stack::start();
    let ran = run(&stack.url, &["status", "operation", "payment-1", "-t", "acme", "--wait", "20", "--output", "json"]);
    assert!(done(&ran).stdout.contains(r#""amount":10.50"#), "{ran:?}");
    let asked = last(&stack);
    assert_eq!(asked.target, "/v1/tenants/acme/status/operation/payment-1?type=operation");
    assert_eq!(asked.header("prefer"), "wait=20");
    assert_eq!(run(&stack.url, &["status", "operation", "nothing", "-t", "acme"]).code, 3);
    assert_eq!(run(&stack.url, &["status", "operation", "payment-1", "-t", "acme", "--wait", "21"]).code, 2);
}

#[test]
fn a_token_request_is_registered_with_what_was_named() {
    let stack = stack::start();
    let args = [
        "token-request",
        "consent-42",
        "-t",
        "acme",
        "--redirect-url",
        "https://tpp.example/done",
        "--expires-in",
        "900",
    ];
    done(&run(&stack.url, &args));
    let sent: Value = serde_json::from_str(&last(&stack).body).unwrap();
    let expected =
        json!({"requestId": "consent-42", "redirectUrl": "https://tpp.example/done", "expiresInSeconds": 900});
    assert_eq!(sent, expected);
}

#[test]
fn the_address_of_notices_is_set_and_shown() {
    let stack = stack::start();
    let ran =
        run(&stack.url, &["notices", "set", "https://hooks.acme.example/signpost", "-t", "acme", "--timeout", "5"]);
    assert!(done(&ran).stderr.contains("keep the signingSecret"), "{ran:?}");
    let sent: Value = serde_json::from_str(&last(&stack).body).unwrap();
    assert_eq!(sent, json!({"url": "https://hooks.acme.example/signpost", "timeoutSeconds": 5}));
    assert!(done(&run(&stack.url, &["notices", "show", "-t", "acme"])).stdout.contains(ENDPOINT));
}

#[test]
fn the_audit_log_is_asked_for_what_was_named() {
    let stack = stack::start();
    let args = ["audit", "-t", "acme", "--endpoint", ENDPOINT, "--since", "2026-01-31T10:00:00Z", "--output", "jsonl"];
    assert_eq!(done(&run(&stack.url, &args)).stdout.lines().count(), 2);
    let query = format!("endpoint={ENDPOINT}&since=2026-01-31T10%3A00%3A00Z");
    assert_eq!(last(&stack).target, format!("/v1/tenants/acme/audit?{query}"));
    assert_eq!(run(&stack.url, &["audit", "-t", "acme", "--since", "yesterday"]).code, 2);
}

#[test]
fn addresses_that_change_are_no_list_to_filter_by() {
    let note = json!({"fixed": false, "addresses": [], "upcoming": [], "note": "…"}).to_string();
    let stack = StubApi::start(move |_| (200, note.clone()));
    assert!(done(&run(&stack.url, &["addresses"])).stdout.contains("do not filter by address"));
    assert_eq!(stack.asked()[0].header("authorization"), "", "anybody may ask");
    let stack = StubApi::start(|_| (503, String::new()));
    assert_eq!(run(&stack.url, &["addresses"]).code, 1);
}

#[test]
fn the_key_set_as_json_is_what_verify_takes() {
    let stack = stack::start();
    let ran = run(&stack.url, &["keys", "list", "-t", "acme", "--output", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&done(&ran).stdout).unwrap(), crate::signed::key_set());
}

#[test]
fn a_stack_that_is_named_is_looked_up_and_variables_do_not_replace_it() {
    let stack = stack::start();
    let ran = run(&stack.url, &["whoami", "--stack", "signpost", "--output", "json"]);
    let who: Value = serde_json::from_str(&done(&ran).stdout).unwrap();
    assert_eq!(who["apiUrl"], "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com");
    assert_eq!((&who["account"], &who["stackStatus"]), (&json!("123456789012"), &json!("UPDATE_COMPLETE")));
}

#[test]
fn doctor_examines_a_receiver_step_by_step() {
    let receiver = StubApi::start(|_| (405, String::new()));
    let ran = run(&receiver.url, &["doctor", &receiver.url, "--allow-private", "--output", "json"]);
    let steps: Vec<Value> = serde_json::from_str(&done(&ran).stdout).unwrap();
    let steps: Vec<_> =
        steps.iter().map(|one| (one["step"].as_str().unwrap(), one["status"].as_str().unwrap())).collect();
    let expected =
        [("url", "ok"), ("dns", "ok"), ("address", "ok"), ("connect", "ok"), ("answer", "ok"), ("proof", "warn")];
    assert_eq!(steps, expected);
    assert_eq!(receiver.routes(), ["OPTIONS /"]);
    for (url, step) in
        [("https://127.0.0.1/", "url"), ("https://localhost/", "address"), ("https://nowhere.invalid/", "dns")]
    {
        let ran = run(&receiver.url, &["doctor", url]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.starts_with(&format!("error: {step}: ")), "{ran:?}");
    }
}

#[test]
fn doctor_says_that_a_port_does_not_speak_tls_or_that_nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    let ran = run(NOWHERE, &["doctor", &url, "--allow-private"]);
    assert!(ran.code == 1 && ran.stderr.contains("tls: the port does not speak TLS"), "{ran:?}");
    let ran = run(NOWHERE, &["doctor", NOWHERE, "--allow-private"]);
    assert!(ran.code == 1 && ran.stderr.contains("connect: 127.0.0.1:9"), "{ran:?}");
}
