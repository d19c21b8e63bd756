//! Key stores in the forms that operators' tools write: `data/key_stores/make.sh` names the tool of each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use signpost_core::endpoint::key_store::{MAX_PASSWORD_BYTES, MAX_STORE_BYTES, Store, StoreError, StoreFormat};

/// A time in 2030, when all stores are valid except those whose names say otherwise.
const NOW: u64 = 1_900_000_000;
const PASSWORD: Option<&str> = Some("changeit");

fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/key_stores").join(name)).unwrap()
}

fn format(name: &str) -> StoreFormat {
    match name.rsplit_once('.').unwrap().1 {
        "jks" => StoreFormat::Jks,
        "pem" => StoreFormat::Pem,
        "p12" => StoreFormat::Pkcs12,
        other => panic!("{other}"),
    }
}

/// Returns the identity of a store, or the error text.
fn identity(name: &str, password: Option<&str>, now: u64) -> Result<String, String> {
    let store = Store { format: format(name), content: &data(name), password };
    store.identity(now).map(|identity| identity.pem).map_err(|error| error.to_string())
}

/// Returns the number of authorities of a store, or the error text.
fn trusted(name: &str, password: Option<&str>) -> Result<usize, String> {
    let store = Store { format: format(name), content: &data(name), password };
    let trusted = store.trusted(NOW).map_err(|error| error.to_string())?;
    assert_eq!(trusted.pem.matches("BEGIN CERTIFICATE").count(), trusted.count, "{name}");
    Ok(trusted.count)
}

#[test]
fn every_store_of_a_client_gives_the_pem_that_openssl_makes_of_it() {
    let cases = [
        ("bouncy-castle.p12", "p256", "Bouncy Castle: BER, indefinite lengths, octet strings in pieces"),
        ("bouncy-castle-def.p12", "p256", "Bouncy Castle with definite lengths"),
        ("bouncy-castle-3des.p12", "p256", "Bouncy Castle with the older scheme for certificates as well"),
        ("bouncy-castle-rsa.p12", "rsa", "another kind of key"),
        ("openssl-600k.p12", "p256", "600,000 rounds each for MAC, certificates and key"),
        ("client-rsa.pem", "rsa", "the chain out of order, the root in it"),
        ("client-p256.pem", "p256", "another kind of key"),
        ("client-p384.pem", "p384", "another kind of key"),
        ("client-ed25519.pem", "ed25519", "another kind of key"),
        ("renewed.pem", "p256", "of the key's two certificates, the one that is valid longer"),
        ("pkcs1.pem", "rsa", "RSA PRIVATE KEY"),
        ("sec1.pem", "p256", "EC PRIVATE KEY behind EC PARAMETERS"),
        ("encrypted.pem", "p256", "AES-256 and SHA-256, what OpenSSL 3 writes"),
        ("encrypted-aes128-sha1.pem", "p256", "SHA-1, which is the default (RFC 8018, appendix A.2)"),
        ("encrypted-aes192-sha512.pem", "p256", "the rest of the family"),
        ("encrypted-3des.pem", "p256", "a common choice with OpenSSL 1.0"),
        ("encrypted-pbes1.pem", "p256", "a scheme of PKCS#12 in PEM"),
        ("openssl.p12", "p256", "what OpenSSL 3 writes"),
        ("openssl-rsa.p12", "rsa", "another kind of key"),
        ("openssl-p384.p12", "p384", "another kind of key"),
        ("openssl-ed25519.p12", "ed25519", "another kind of key"),
        ("openssl-legacy.p12", "p256", "RC2-40 and 3DES: what OpenSSL 1 and Windows write"),
        ("openssl-rc2-128.p12", "p256", "RC2 with a longer key"),
        ("openssl-sha512.p12", "p256", "another digest"),
        ("openssl-no-mac.p12", "p256", "no digest at all"),
        ("keytool.p12", "p256", "what JDK 17 writes"),
        ("keytool-legacy.p12", "p256", "what JDK 8 writes"),
        ("keytool.jks", "p256", "the default of JDK 8"),
        ("keytool-rsa.jks", "rsa", "another kind of key"),
        ("keytool-p384.jks", "p384", "another kind of key"),
        ("keytool-ed25519.jks", "ed25519", "another kind of key"),
    ];
    for (name, client, why) in cases {
        let expected = String::from_utf8(data(&format!("identity-{client}.pem"))).unwrap();
        assert_eq!(identity(name, PASSWORD, NOW), Ok(expected), "{name}: {why}");
    }
}

#[test]
fn rustls_takes_every_identity() {
    for client in ["rsa", "p256", "p384", "ed25519"] {
        let pem = identity(&format!("client-{client}.pem"), None, NOW).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(chain.len(), 2, "{client}");
        CertifiedKey::from_der(chain, key, &default_provider()).unwrap().keys_match().unwrap();
    }
}

#[test]
fn authorities_that_certified_each_other_end_a_chain() {
    let pem = identity("crossed.pem", None, NOW).unwrap();
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 3);
}

#[test]
fn the_password_is_asked_for_where_it_is_needed() {
    let wrong = Some("wrong");
    let refused = "password does not open the store; give the one it was written with";
    let missing = "store is encrypted and no password was given; give its password";
    let cases = [
        ("keytool.jks", wrong, Err(refused), "its digest shows it"),
        ("keytool.jks", Some(""), Err(refused), "an empty password is a password"),
        ("keytool.jks", None, Err(missing), "its key is encrypted"),
        ("openssl.p12", wrong, Err(refused), "its digest shows it"),
        ("openssl.p12", None, Err(missing), "it is encrypted"),
        ("openssl-legacy.p12", wrong, Err(refused), "its digest shows it"),
        ("openssl-no-mac.p12", wrong, Err(refused), "the decrypted content is not valid"),
        ("openssl-plain.p12", None, Ok(()), "it is not encrypted"),
        ("openssl-plain.p12", wrong, Err(refused), "but it has a digest"),
        ("openssl-empty-password.p12", Some(""), Ok(()), "an empty password is a password"),
        ("openssl-empty-password.p12", None, Err(missing), "but no password is not one"),
        ("openssl-umlaut.p12", Some("pässwörd€"), Ok(()), "UTF-16 for the digest, UTF-8 for the rest"),
        ("encrypted.pem", wrong, Err(refused), "the decrypted bytes are not a key"),
        ("encrypted.pem", None, Err(missing), "it is encrypted"),
        ("client-p256.pem", wrong, Ok(()), "nothing is encrypted"),
        ("client-p256.pem", None, Ok(()), "nothing is encrypted"),
    ];
    for (name, password, expected, why) in cases {
        let found = identity(name, password, NOW).map(drop);
        assert_eq!(found, expected.map_err(str::to_owned), "{name}: {why}");
    }
}

#[test]
fn faults_of_a_store_have_words_for_its_owner() {
    let cases = [
        (
            "expired",
            &["jks", "p12", "pem"][..],
            "certificate of `CN=expired` expired at 2002-01-01T00:00:00Z; renew it",
        ),
        (
            "not-yet-valid",
            &["jks", "p12", "pem"],
            "certificate of `CN=not-yet-valid` is not valid before 2100-01-01T00:00:00Z; give one that is valid now",
        ),
        (
            "mismatch",
            &["jks", "p12", "pem"],
            "private key belongs to none of the certificates; give the key and the certificate that was issued for it",
        ),
        (
            "intermediate-expired",
            &["pem"],
            "certificate of `CN=Intermediate,O=Signpost Tests,C=BE` expired at 2002-01-01T00:00:00Z; renew it",
        ),
        (
            "version-1",
            &["pem"],
            r#"certificate of `CN=client p256,O=Acme\, Société \"A\+B\",C=BE` cannot be used with TLS; give one of X.509 version 3 (RFC 5280)"#,
        ),
        ("two-keys", &["jks", "p12", "pem"], "store holds 2 private keys; keep only the one to authenticate with"),
        (
            "authorities",
            &["jks", "p12", "pem"],
            "store holds no private key; export the certificate together with its key",
        ),
        // Java does not store a key without a certificate.
        ("no-certificate", &["p12", "pem"], "store holds no certificate; add one"),
        ("key-password", &["jks", "p12"], "private key has its own password; give the key and the store the same one"),
        (
            "unsupported-key",
            &["pem"],
            "private key is of an unsupported kind; expected RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521, or Ed25519",
        ),
        (
            "encrypted-rfc1421",
            &["pem"],
            "store is encrypted in a way that is not supported; export it again with AES-256 and PBKDF2",
        ),
        (
            "encrypted-scrypt",
            &["pem"],
            "store is encrypted in a way that is not supported; export it again with AES-256 and PBKDF2",
        ),
        ("encrypted-endless", &["pem"], "store takes more than 3000000 rounds of hashing; export it again with less"),
        ("openssl-endless", &["p12"], "store takes more than 3000000 rounds of hashing; export it again with less"),
    ];
    for (name, extensions, expected) in cases {
        for extension in extensions {
            let name = format!("{name}.{extension}");
            assert_eq!(identity(&name, PASSWORD, NOW), Err(expected.to_owned()), "{name}");
        }
    }
}

#[test]
fn validity_includes_its_first_and_its_last_second() {
    // The output of `date --utc --date 2001-01-01 +%s`, and the same for 2002.
    let (first, last) = (978_307_200, 1_009_843_200);
    let cases = [(first - 1, false), (first, true), (last, true), (last + 1, false)];
    for name in ["expired.jks", "expired.p12", "expired.pem"] {
        for (now, expected) in cases {
            assert_eq!(identity(name, PASSWORD, now).is_ok(), expected, "{name} at {now}");
        }
    }
}

#[test]
fn authorities_are_all_certificates_that_have_not_expired() {
    let refused = "password does not open the store; give the one it was written with";
    let missing = "store is encrypted and no password was given; give its password";
    let expired = "certificate of `CN=expired` expired at 2002-01-01T00:00:00Z; renew it";
    let cases = [
        ("authorities.pem", None, Ok(2), "the whole file"),
        ("authorities.jks", PASSWORD, Ok(2), "all trusted entries"),
        ("authorities.jks", None, Ok(2), "they are not encrypted; their integrity is not checked"),
        ("authorities.jks", Some("wrong"), Err(refused), "a given password is checked"),
        ("authorities.p12", PASSWORD, Ok(2), "entries that keytool marks as trusted"),
        ("authorities-openssl.p12", PASSWORD, Ok(2), "entries that OpenSSL does not mark"),
        ("authorities-bouncy-castle.p12", PASSWORD, Ok(2), "Bouncy Castle's BER"),
        ("openssl-600k.p12", PASSWORD, Ok(3), "600,000 rounds"),
        ("authorities.p12", None, Err(missing), "it is encrypted"),
        ("authorities.p12", Some("wrong"), Err(refused), "its digest shows it"),
        ("openssl-plain.p12", None, Ok(3), "not encrypted"),
        ("openssl.p12", PASSWORD, Ok(3), "every certificate, for any use"),
        ("keytool.jks", PASSWORD, Err("store holds no certificate; add one"), "a chain of a key is not trusted"),
        ("no-certificate.pem", None, Err("store holds no certificate; add one"), "a key only"),
        ("authorities-one-expired.pem", None, Ok(1), "one remains"),
        ("authorities-expired.pem", None, Err(expired), "none remains"),
        ("expired.p12", PASSWORD, Err(expired), "none remains"),
        ("not-yet-valid.pem", None, Ok(1), "it is not valid yet, but may become valid"),
        ("two-keys.pem", None, Ok(1), "keys are ignored"),
    ];
    for (name, password, expected, why) in cases {
        assert_eq!(trusted(name, password), expected.map_err(str::to_owned), "{name}: {why}");
    }
}

#[test]
fn facts_are_of_the_leaf_and_secrets_are_not_shown() {
    let content = data("expired.jks");
    let store = Store { format: StoreFormat::Jks, content: &content, password: PASSWORD };
    assert_eq!(format!("{store:?}"), "Store { format: Jks, .. }");
    let identity = store.identity(1_000_000_000).unwrap();
    let shown = r#"{"subject":"CN=expired","notAfter":"2002-01-01T00:00:00Z"}"#;
    assert_eq!(serde_json::to_string(&identity.certificate).unwrap(), shown);
    assert!(!format!("{identity:?}").contains("PRIVATE KEY"));

    let content = data("client-p256.pem");
    let store = Store { format: StoreFormat::Pem, content: &content, password: None };
    // `openssl x509 -subject -nameopt RFC2253,utf8,-esc_msb`.
    let subject = r#"CN=client p256,O=Acme\, Société \"A\+B\",C=BE"#;
    assert_eq!(store.identity(NOW).unwrap().certificate.subject, subject);
}

#[test]
fn formats_are_named_in_settings_as_people_name_them() {
    let cases = [(StoreFormat::Jks, "\"jks\""), (StoreFormat::Pem, "\"pem\""), (StoreFormat::Pkcs12, "\"pkcs12\"")];
    for (format, name) in cases {
        assert_eq!(serde_json::to_string(&format).unwrap(), name);
    }
}

#[test]
fn a_store_of_another_format_is_named() {
    let cases = [
        ("openssl.p12", StoreFormat::Jks, "store is PKCS#12, not JKS; change its format"),
        ("openssl-rsa.p12", StoreFormat::Pem, "store is PKCS#12, not PEM; change its format"),
        ("keytool.jks", StoreFormat::Pkcs12, "store is JKS, not PKCS#12; change its format"),
        ("client-rsa.pem", StoreFormat::Jks, "store is PEM, not JKS; change its format"),
    ];
    for (name, format, expected) in cases {
        let content = data(name);
        let store = Store { format, content: &content, password: PASSWORD };
        assert_eq!(store.identity(NOW).unwrap_err().to_string(), expected, "{name}");
        assert_eq!(store.trusted(NOW).unwrap_err().to_string(), expected, "{name}");
    }
}

#[test]
fn garbage_is_refused_with_its_cause_apart() {
    let large = vec![b'-'; MAX_STORE_BYTES + 1];
    let pem = |text: &'static str| (StoreFormat::Pem, text.as_bytes());
    let cases = [
        (StoreFormat::Jks, &b""[..]),
        (StoreFormat::Jks, b"\xfe\xed\xfe\xed"),
        (StoreFormat::Jks, b"\xfe\xed\xfe\xed\0\0\0\x01\0\0\0\0aaaaaaaaaaaaaaaaaaaa"),
        (StoreFormat::Jks, b"\xfe\xed\xfe\xed\0\0\0\x02\xff\xff\xff\xffaaaaaaaaaaaaaaaaaaaa"),
        (StoreFormat::Pkcs12, b""),
        (StoreFormat::Pkcs12, b"\x30\x84\xff\xff\xff\xff\x02\x01\x03"),
        (StoreFormat::Pkcs12, b"\x30\x80\x02\x01\x03\0\0"),
        pem(""),
        pem("hello"),
        pem("-----BEGIN PRIVATE KEY-----\nAAAA\n"),
        pem("-----BEGIN PRIVATE KEY-----\n?\n-----END PRIVATE KEY-----"),
        pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
        (StoreFormat::Pem, b"\xff-----BEGIN "),
    ];
    for (format, content) in cases {
        let error = Store { format, content, password: PASSWORD }.identity(NOW).unwrap_err();
        let expected = format!("store cannot be read as {format}; check that it is complete, or export it again");
        assert_eq!(error.to_string(), expected, "{}", content.escape_ascii());
        assert!(std::error::Error::source(&error).is_some());
    }
    let store = Store { format: StoreFormat::Pem, content: &large, password: None };
    assert!(matches!(store.trusted(NOW), Err(StoreError::TooLarge { what: "bytes", .. })));
    let password = "x".repeat(MAX_PASSWORD_BYTES + 1);
    let store = Store { format: StoreFormat::Jks, content: b"", password: Some(&password) };
    let expected = "store takes more than 1024 bytes of password; export it again with less";
    assert_eq!(store.identity(NOW).unwrap_err().to_string(), expected);
}

#[test]
fn a_store_that_is_cut_short_is_refused_wherever_that_is() {
    for name in ["keytool.jks", "authorities.jks", "openssl-plain.p12", "openssl-legacy.p12", "authorities.p12"] {
        let (format, content) = (format(name), data(name));
        for length in 0..content.len() {
            let store = Store { format, content: &content[..length], password: PASSWORD };
            let (identity, trusted) = (store.identity(NOW).unwrap_err(), store.trusted(NOW).unwrap_err());
            assert!(matches!(identity, StoreError::Malformed { .. }), "{name} of {length} bytes: {identity}");
            assert!(matches!(trusted, StoreError::Malformed { .. }), "{name} of {length} bytes: {trusted}");
        }
    }
}

#[test]
fn a_pem_file_that_is_cut_short_within_a_section_is_refused() {
    let content = data("sec1.pem");
    let ends: Vec<_> = content.windows(5).enumerate().filter(|(_, part)| part == b"-----").map(|(at, _)| at).collect();
    // Each section has four rows of dashes. From the second row to the end of the fourth, a section has begun but not
    // ended.
    for section in ends.chunks(4) {
        for length in section[0] + "-----BEGIN ".len()..section[3] + 5 {
            let store = Store { format: StoreFormat::Pem, content: &content[..length], password: None };
            let error = store.identity(NOW).unwrap_err();
            assert!(matches!(error, StoreError::Malformed { .. }), "{length} bytes: {error}");
        }
    }
}

/// A value of ASN.1 in DER.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let first = length.iter().position(|byte| *byte != 0).unwrap_or(3);
    let long = if content.len() < 0x80 { vec![] } else { vec![0x80 | u8::try_from(4 - first).unwrap()] };
    [&[tag], long.as_slice(), &length[first..], content].concat()
}

#[test]
fn a_certificate_with_a_name_of_very_many_parts_is_read_in_time() {
    // Attributes of an RDN are a SET, which has an order. The worst case is the reverse order, with mixed kinds and
    // lengths.
    let attribute = |at: u32| {
        let kind = if at.is_multiple_of(3) { 0x0c } else { 0x13 };
        let value = tlv(kind, &at.to_string().as_bytes()[usize::from(at.is_multiple_of(7))..]);
        tlv(0x30, &[vec![0x06, 0x03, 0x55, 0x04, 0x03], value].concat())
    };
    let name = tlv(0x30, &tlv(0x31, &(10..45_000).rev().flat_map(attribute).collect::<Vec<_>>()));
    let ed25519 = tlv(0x30, &[0x06, 0x03, 0x2b, 0x65, 0x70]);
    let validity = tlv(0x30, &[tlv(0x17, b"200101000000Z"), tlv(0x17, b"490101000000Z")].concat());
    let key = tlv(0x30, &[ed25519.clone(), tlv(0x03, &[0; 33])].concat());
    let version_and_serial = [0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01];
    let issuer = tlv(0x30, &[]);
    let tbs = tlv(0x30, &[&version_and_serial, ed25519.as_slice(), &issuer, &validity, &name, &key].concat());
    let certificate = tlv(0x30, &[tbs, ed25519, tlv(0x03, &[0; 65])].concat());
    let content = format!("-----BEGIN CERTIFICATE-----{}-----END CERTIFICATE-----", BASE64.encode(certificate));
    assert!(content.len() > MAX_STORE_BYTES * 3 / 4, "{}", content.len());

    let begun = Instant::now();
    let store = Store { format: StoreFormat::Pem, content: content.as_bytes(), password: None };
    let error = store.trusted(NOW).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10));
    // rustls accepts no part of a certificate that is longer than 64 KiB.
    assert!(matches!(error, StoreError::UnsupportedCertificate { .. }), "{error}");
    assert!(error.to_string().len() < 400, "{error}");
}

/// Stores to damage. Each of them is read fast.
const SEEDS: [&str; 9] = [
    "bouncy-castle.p12",
    "client-rsa.pem",
    "encrypted.pem",
    "encrypted-pbes1.pem",
    "keytool.jks",
    "authorities.jks",
    "openssl.p12",
    "openssl-plain.p12",
    "openssl-legacy.p12",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_spoiled_store_does_no_harm(
        name in prop::sample::select(&SEEDS[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0), Just(0xff)]), 1..6),
        has_password in any::<bool>(),
    ) {
        let mut content = data(name);
        for (at, byte) in edits {
            let at = at.index(content.len());
            content[at] = byte;
        }
        let begun = Instant::now();
        let store = Store { format: format(name), content: &content, password: PASSWORD.filter(|_| has_password) };
        let _ = (store.identity(NOW), store.trusted(NOW));
        // Three million rounds take one second for each of the two, and longer in a debug build on a busy machine.
        prop_assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
