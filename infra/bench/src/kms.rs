//! A stand-in for KMS. It makes and wraps key pairs, and unwraps private keys only with the same encryption context.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// The id of the only KMS key, which serves all purposes.
pub(crate) const KEY_ID: &str = "wrapping-key";

pub(crate) struct Kms {
    mac: hmac::Key,
    wrapping: RandomizedNonceKey,
}

impl Kms {
    pub(crate) fn new() -> Self {
        let wrapping = RandomizedNonceKey::new(&AES_256_GCM, &random()).expect("32 bytes");
        Self { mac: hmac::Key::new(hmac::HMAC_SHA256, &random()), wrapping }
    }

    pub(crate) fn answer(&self, operation: &str, body: &Value) -> Result<Value, String> {
        if body["KeyId"] != KEY_ID {
            return Err(format!("another key than `{KEY_ID}`"));
        }
        let decoded = |name: &str| body[name].as_str().and_then(|text| BASE64.decode(text).ok());
        if let (Some(message), "GenerateMac" | "VerifyMac") = (decoded("Message"), operation) {
            let mac = decoded("Mac").unwrap_or_else(|| hmac::sign(&self.mac, &message).as_ref().to_vec());
            let is_valid = hmac::verify(&self.mac, &message, &mac).is_ok();
            return Ok(json!({"KeyId": KEY_ID, "Mac": BASE64.encode(mac), "MacValid": is_valid}));
        }
        let context = &body["EncryptionContext"];
        if !context["purpose"].is_string() {
            return Err("no purpose in the encryption context".into());
        }
        Ok(match operation {
            "Decrypt" => {
                let blob = body["CiphertextBlob"].as_str().ok_or("no CiphertextBlob")?;
                let blob = BASE64.decode(blob).map_err(|_| "a CiphertextBlob that is not base64")?;
                let plain = self.open(&blob, context).ok_or("a CiphertextBlob that does not open with this context")?;
                json!({"KeyId": KEY_ID, "Plaintext": BASE64.encode(plain), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
            }
            "GenerateDataKeyPairWithoutPlaintext" => {
                let spec = body["KeyPairSpec"].as_str().ok_or("no KeyPairSpec")?;
                let (public, private) = pair(spec).ok_or_else(|| format!("`{spec}`"))?;
                json!({
                    "KeyId": KEY_ID, "KeyPairSpec": spec, "PublicKey": BASE64.encode(public),
                    "PrivateKeyCiphertextBlob": BASE64.encode(self.wrap(&private, context)),
                })
            }
            _ => return Err("an unknown operation".into()),
        })
    }

    fn wrap(&self, plain: &[u8], context: &Value) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let aad = Aad::from(context.to_string());
        let nonce = self.wrapping.seal_in_place_append_tag(aad, &mut sealed).expect("it is short");
        [&nonce.as_ref()[..], &sealed].concat()
    }

    fn open(&self, blob: &[u8], context: &Value) -> Option<Vec<u8>> {
        let (nonce, rest) = blob.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = rest.to_vec();
        self.wrapping.open_in_place(nonce, Aad::from(context.to_string()), &mut opened).ok().map(|plain| plain.to_vec())
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

/// Makes a key pair: `SubjectPublicKeyInfo` and PKCS#8, both in DER.
fn pair(spec: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    const MADE: &str = "a key pair can be made";
    let spki = |der: PublicKeyX509Der<'_>| der.as_ref().to_vec();
    Some(match spec {
        "ECC_NIST_EDWARDS25519" => {
            let pair = Ed25519KeyPair::generate().expect(MADE);
            let private: Pkcs8V1Der<'_> = pair.as_der().expect(MADE);
            (spki(pair.public_key().as_der().expect(MADE)), private.as_ref().to_vec())
        }
        "ECC_NIST_P256" => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect(MADE);
            (spki(pair.public_key().as_der().expect(MADE)), pair.to_pkcs8v1().expect(MADE).as_ref().to_vec())
        }
        "RSA_2048" => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect(MADE);
            let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().expect(MADE);
            (spki(pair.public_key().as_der().expect(MADE)), private.as_ref().to_vec())
        }
        _ => return None,
    })
}
