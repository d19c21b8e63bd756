//! `doctor` as a client with a certificate, against a receiver that demands one.

use std::path::Path;

use signpost_testkit::authority::Authority;
use signpost_testkit::program::output;
use signpost_testkit::receiver::Receiver;
use tokio::task::spawn_blocking;

use crate::program::{LIMIT, NOWHERE, Ran, command, run};

/// Writes the certificate and the key of a PEM text into a file each.
fn files(name: &str, pem: &str) -> [String; 2] {
    let key = pem.find("-----BEGIN PRIVATE KEY").unwrap();
    let (before, rest) = pem.split_at(key);
    let end = rest.find("-----END PRIVATE KEY-----").unwrap() + "-----END PRIVATE KEY-----\n".len();
    let (key, after) = rest.split_at(end.min(rest.len()));
    [("pem", format!("{before}{after}")), ("key", key.to_owned())].map(|(kind, text)| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("client-{name}.{kind}"));
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    })
}

/// Examines a receiver with a client certificate, and trusts the authority.
async fn examine(url: &str, authority: &Path, [certificate, key]: [&str; 2]) -> Ran {
    let options = ["--allow-private", "--client-certificate", certificate, "--client-key", key];
    let mut command = command(NOWHERE, [&["doctor", url], &options[..]].concat());
    command.env("SSL_CERT_FILE", authority);
    let output = spawn_blocking(move || output(&mut command, LIMIT).unwrap()).await.unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Ran { code: output.status.code().unwrap(), stdout, stderr }
}

#[tokio::test]
async fn doctor_presents_a_client_certificate_and_says_if_it_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("client-authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let receiver = Receiver::start_mtls(authority.server(), authority.der()).await;
    let known = files("known", &authority.client("signpost"));
    let other = files("other", &authority.client("other"));
    let unknown = files("unknown", &stranger.client("signpost"));
    let cases = [
        ([&*known[0], &*known[1]], 0, "the client certificate was not refused", "the authority of the receiver"),
        ([&*unknown[0], &*unknown[1]], 1, "the receiver refuses the client certificate", "another authority"),
        ([&*known[0], &*other[1]], 1, "check that the key is that of the client certificate", "another key"),
    ];
    for (pair, code, words, why) in cases {
        let ran = examine(&receiver.url, &file, pair).await;
        assert!(ran.code == code && [&*ran.stdout, &*ran.stderr].concat().contains(words), "{why}: {ran:?}");
        assert!(!format!("{ran:?}").contains("PRIVATE KEY"), "{why}");
    }
}

#[test]
fn a_client_certificate_needs_its_key_and_both_are_pem() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("client-none.txt");
    std::fs::write(&file, "no certificate").unwrap();
    let (file, url) = (file.to_str().unwrap(), "https://127.0.0.1:9/");
    assert_eq!(run(NOWHERE, &["doctor", url, "--client-certificate", file]).code, 2);
    let ran = run(NOWHERE, &["doctor", url, "--client-certificate", file, "--client-key", file]);
    assert!(ran.code == 2 && ran.stderr.contains("are not a client certificate"), "{ran:?}");
}
