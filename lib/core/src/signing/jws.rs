//! Detached JSON Web Signatures: the `JWS-SIGNATURE` header.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use crate::signing::signer::{SignerError, TenantSigner};

/// Signs `payload` and returns the compact serialization without it: `<header>..<signature>` (RFC 7515, appendix F).
///
/// The header is exactly `{"alg":"…","kid":"…","typ":"JWT"}`. The `kid` is the tenant's, and the signature covers it.
/// `payload` must be the exact bytes of the request. A receiver puts them, base64url-encoded, between the two dots and
/// verifies an ordinary JWS.
///
/// # Errors
/// The cryptographic library failed, which is an internal error. Another attempt may succeed.
pub fn sign_detached(signer: &TenantSigner, payload: &[u8]) -> Result<String, SignerError> {
    let header = format!(r#"{{"alg":"{}","kid":"{}","typ":"JWT"}}"#, signer.algorithm(), signer.kid());
    let protected = BASE64URL.encode(header);
    let signature = signer.sign(&signing_input(&protected, payload))?;
    Ok(format!("{protected}..{}", BASE64URL.encode(signature)))
}

/// Returns `<protected>.<payload>` (RFC 7515, section 5.1, step 5).
fn signing_input(protected: &str, payload: &[u8]) -> Vec<u8> {
    let mut input = String::with_capacity(protected.len() + 1 + payload.len().div_ceil(3) * 4);
    input.push_str(protected);
    input.push('.');
    BASE64URL.encode_string(payload, &mut input);
    input.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
        UnparsedPublicKey, VerificationAlgorithm,
    };
    use pkcs1::der::Encode as _;
    use pkcs1::{RsaPrivateKey, UintRef};
    use serde::Deserialize;

    use super::*;
    use crate::signing::algorithm::Algorithm;
    use crate::signing::signer::tests::tenant_signer;

    /// RFC 7515, appendix A.2: the key, the signed bytes, and the signature, all in base64url.
    #[derive(Deserialize)]
    struct Vector {
        key: BTreeMap<String, String>,
        protected: String,
        payload: String,
        signature: String,
    }

    fn rsa(jwk: &BTreeMap<String, String>) -> RsaKeyPair {
        let decoded = ["n", "e", "d", "p", "q", "dp", "dq", "qi"].map(|member| BASE64URL.decode(&jwk[member]).unwrap());
        let [modulus, public_exponent, private_exponent, prime1, prime2, exponent1, exponent2, coefficient] =
            decoded.each_ref().map(|member| UintRef::new(member).unwrap());
        let key = RsaPrivateKey {
            modulus,
            public_exponent,
            private_exponent,
            prime1,
            prime2,
            exponent1,
            exponent2,
            coefficient,
            other_prime_infos: None,
        };
        RsaKeyPair::from_der(&key.to_der().unwrap()).unwrap()
    }

    #[test]
    fn rfc_7515_appendix_a_2_is_reproduced() {
        let vector: Vector = serde_json::from_str(include_str!("../../tests/data/rfc7515-a2.json")).unwrap();
        let input = signing_input(&vector.protected, &BASE64URL.decode(&vector.payload).unwrap());
        let key = rsa(&vector.key);
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &input, &mut signature).unwrap();
        assert_eq!(BASE64URL.encode(signature), vector.signature);
    }

    #[test]
    fn rfc_8037_appendix_a_4_is_reproduced() {
        let [d, x] = ["nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"];
        let [d, x] = [d, x].map(|number| BASE64URL.decode(number).unwrap());
        let key = Ed25519KeyPair::from_seed_and_public_key(&d, &x).unwrap();
        let signature = key.sign(&signing_input("eyJhbGciOiJFZERTQSJ9", b"Example of Ed25519 signing"));
        let expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(BASE64URL.encode(signature), expected);
    }

    #[test]
    fn the_payload_is_detached_and_verifies_when_put_back() {
        for algorithm in Algorithm::ALL {
            let (signer, public) = tenant_signer(algorithm);
            let payload = br#"{"name":"John\u0020Smith"}"#;
            let detached = sign_detached(&signer, payload).unwrap();

            // RFC 7515, appendix F: the middle part is empty, and the verifier puts the payload there.
            let [protected, "", signature] = detached.split('.').collect::<Vec<_>>()[..] else {
                panic!("not detached: {detached}")
            };
            let header = String::from_utf8(BASE64URL.decode(protected).unwrap()).unwrap();
            assert_eq!(header, format!(r#"{{"alg":"{algorithm}","kid":"{}","typ":"JWT"}}"#, signer.kid()));
            let verification: &dyn VerificationAlgorithm = match algorithm {
                Algorithm::EdDSA => &ED25519,
                Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
                Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
            };
            let compact = format!("{protected}.{}", BASE64URL.encode(payload));
            let verifier = UnparsedPublicKey::new(verification, public.subject_public_key());
            verifier.verify(compact.as_bytes(), &BASE64URL.decode(signature).unwrap()).unwrap();
        }
    }
}
