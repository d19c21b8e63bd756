//! HTTP Message Signatures (RFC 9421) over a digest of the body (RFC 9530): the headers `Content-Digest`,
//! `Signature-Input` and `Signature`.

use aws_lc_rs::digest::{SHA256, digest};
use sfv::{DictSerializer, Integer, KeyRef, StringRef};

use crate::signing::signer::{SignerError, TenantSigner};

/// The three headers of a signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// `Content-Digest` (RFC 9530, section 2).
    pub content_digest: String,
    /// `Signature-Input` (RFC 9421, section 4.1).
    pub signature_input: String,
    /// `Signature` (RFC 9421, section 4.2).
    pub signature: String,
}

/// The name of Signpost's signature among others in a message.
const LABEL: &KeyRef = KeyRef::constant("sig");
/// The purpose of the signature (RFC 9421, section 7.2.7). Verifiers require it, so that no other signature is taken
/// for this one.
pub const TAG: &str = "signpost";

/// The parts of a request that the signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'a> {
    /// `@method`.
    pub method: &'a str,
    /// `@target-uri`: the whole URL, including the query (section 2.2.2).
    pub target_uri: &'a str,
    /// The bytes that `content-digest` covers. Empty for a `GET`.
    pub body: &'a [u8],
    /// `webhook-id`.
    pub webhook_id: &'a str,
    /// `ce-type` and `ce-source`, if the request has them.
    pub ce_type_and_source: Option<(&'a str, &'a str)>,
}

/// Signs one attempt. The signature covers method, target URI, content digest, `webhook-id` and, if they are sent,
/// `ce-type` and `ce-source`. The parameters are `created` (`unix_seconds`, the start of *this attempt*), `keyid` (the
/// tenant's `kid`), `alg` and `tag`.
///
/// # Errors
/// The same as for [`TenantSigner::sign`].
pub fn sign(covered: Covered<'_>, signer: &TenantSigner, unix_seconds: u64) -> Result<SignatureHeaders, SignerError> {
    let failed = || SignerError::Failed { id: signer.kid().to_owned() }; // A kid is a UUID, a time a small number.
    let content_digest = content_digest(covered.body);
    let mut components = vec![
        ("@method", covered.method),
        ("@target-uri", covered.target_uri),
        ("content-digest", &*content_digest),
        ("webhook-id", covered.webhook_id),
    ];
    if let Some((ce_type, ce_source)) = covered.ce_type_and_source {
        components.extend([("ce-type", ce_type), ("ce-source", ce_source)]);
    }
    let signature_input = signature_input(&components, signer, unix_seconds).ok_or_else(failed)?;
    let parameters = signature_input.split_once('=').map_or("", |(_, parameters)| parameters);
    let signature = signer.sign(signature_base(&components, parameters).as_bytes())?;
    let mut members = DictSerializer::new();
    members.bare_item(LABEL, &*signature);
    let signature = members.finish().unwrap_or_default(); // It has a member.
    Ok(SignatureHeaders { content_digest, signature_input, signature })
}

/// Returns `sha-256=:<base64>:`.
fn content_digest(body: &[u8]) -> String {
    let mut members = DictSerializer::new();
    members.bare_item(KeyRef::constant("sha-256"), digest(&SHA256, body).as_ref());
    members.finish().unwrap_or_default() // It has a member.
}

/// Returns `sig=("…" …);created=…;keyid="…";alg="…";tag="…"`.
fn signature_input(components: &[(&str, &str)], signer: &TenantSigner, unix_seconds: u64) -> Option<String> {
    let created = Integer::try_from(unix_seconds).ok()?;
    let mut members = DictSerializer::new();
    let mut list = members.inner_list(LABEL);
    for (name, _) in components {
        list.bare_item(StringRef::from_str(name).ok()?);
    }
    list.finish()
        .parameter(KeyRef::constant("created"), created)
        .parameter(KeyRef::constant("keyid"), StringRef::from_str(signer.kid()).ok()?)
        .parameter(KeyRef::constant("alg"), StringRef::from_str(signer.algorithm().http_signature_name()).ok()?)
        .parameter(KeyRef::constant("tag"), StringRef::constant(TAG));
    members.finish()
}

/// Returns the signature base (RFC 9421, section 2.5): a line for each component, and the parameters.
fn signature_base(components: &[(&str, &str)], parameters: &str) -> String {
    let lines = components.iter().map(|(name, value)| format!("\"{name}\": {value}\n"));
    lines.chain([format!("\"@signature-params\": {parameters}")]).collect()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};

    use super::*;
    use crate::signing::algorithm::Algorithm;
    use crate::signing::signer::tests::tenant_signer;

    #[test]
    fn rfc_9421_appendix_b_2_6_is_reproduced() {
        let components = [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ];
        let parameters = r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#;
        let seed = BASE64URL.decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU").unwrap(); // Appendix B.1.4.
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let signature = key.sign(signature_base(&components, parameters).as_bytes());
        let expected = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";
        assert_eq!(BASE64.encode(signature), expected);
    }

    /// RFC 9530, appendix D, has the digest of this body.
    #[test]
    fn rfc_9530_s_digest_is_reproduced() {
        let digest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
        assert_eq!(content_digest(br#"{"hello": "world"}"#), digest);
    }

    #[test]
    fn the_parameters_name_the_components_the_time_the_key_and_the_purpose() {
        for algorithm in Algorithm::ALL {
            let (signer, _) = tenant_signer(algorithm);
            let (webhook_id, target_uri) = ("op-1:0123456789ab", "https://hooks.example/in?q=1");
            let covered = Covered { method: "POST", target_uri, body: b"{}", webhook_id, ce_type_and_source: None };
            let headers = sign(covered, &signer, 1_618_884_473).unwrap();
            let alg = match algorithm {
                Algorithm::EdDSA => "ed25519",
                Algorithm::ES256 => "ecdsa-p256-sha256",
                Algorithm::RS256 => "rsa-v1_5-sha256",
            };
            let expected = format!(
                r#"sig=("@method" "@target-uri" "content-digest" "webhook-id");created=1618884473;keyid="{}";alg="{alg}";tag="signpost""#,
                signer.kid()
            );
            assert_eq!(headers.signature_input, expected);
            let covered = Covered { ce_type_and_source: Some(("operation", "/core")), ..covered };
            let with_more = sign(covered, &signer, 1_618_884_473).unwrap().signature_input;
            assert_eq!(with_more, expected.replace("\"webhook-id\")", "\"webhook-id\" \"ce-type\" \"ce-source\")"));
            assert!(
                headers.signature.starts_with("sig=:") && headers.signature.ends_with(':'),
                "{}",
                headers.signature
            );
        }
    }
}
