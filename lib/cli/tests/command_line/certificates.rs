//! `doctor` and receivers whose certificates are right or wrong.

use std::path::Path;

use signpost_testkit::authority::Authority;
use signpost_testkit::program::output;
use signpost_testkit::receiver::Receiver;
use tokio::task::spawn_blocking;

use crate::program::{LIMIT, NOWHERE, command};

/// Examines a receiver, and trusts the authority.
async fn examine(receiver: &Receiver, authority: &Path) -> (i32, String) {
    let (url, authority) = (receiver.url.clone(), authority.to_owned());
    let output = spawn_blocking(move || {
        let mut command = command(NOWHERE, ["doctor", &url, "--allow-private"]);
        output(command.env("SSL_CERT_FILE", authority), LIMIT).unwrap()
    });
    let output = output.await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn doctor_says_what_is_wrong_with_a_certificate() {
    let authority = Authority::new();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let cases = [
        (Receiver::start_tls(authority.server()).await, 0, "the certificate is valid for the host"),
        (Receiver::start_tls(authority.expired_server()).await, 1, "renew the certificate"),
        (Receiver::start_tls(authority.server_elsewhere()).await, 1, "install a certificate for the host"),
        (Receiver::start_tls(Authority::self_signed_server()).await, 1, "install the whole chain"),
        (
            Receiver::start_mtls(authority.server(), authority.der()).await,
            1,
            "the receiver demands a client certificate",
        ),
    ];
    for (receiver, code, words) in cases {
        let (ended, text) = examine(&receiver, &file).await;
        assert!(ended == code && text.contains(words), "{words}: {ended} {text}");
    }
}
