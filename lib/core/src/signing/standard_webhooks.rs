//! [Standard Webhooks 1.0.0][spec]: the `webhook-signature` header and its keys.
//!
//! [spec]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::signing::signer::SignerError;

/// The secret that an endpoint and Signpost share, 24 to 64 bytes (section "Signature scheme"). It signs `v1`.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Zeroizing<Vec<u8>>);

const SECRET_PREFIX: &str = "whsec_";

impl SigningSecret {
    /// Makes a secret of 32 random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random.to_vec()))
    }

    /// Parses a secret in its text form: `whsec_` and base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(text.strip_prefix(SECRET_PREFIX)?).ok()?);
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// Returns the text form of the secret, to encrypt it, and for the only answer that shows it.
    #[must_use]
    pub fn written(&self) -> Secret {
        Secret::new(format!("{SECRET_PREFIX}{}", BASE64.encode(&*self.0)))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// The public half of an endpoint's Ed25519 pair. It verifies `v1a`. Its text form is `whpk_` and base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WebhookPublicKey([u8; 32]);

const PUBLIC_KEY_PREFIX: &str = "whpk_";
const PRIVATE_KEY_PREFIX: &str = "whsk_";

impl WebhookPublicKey {
    /// Takes the 32 bytes of an Ed25519 public key (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Parses the text of `Display`: `whpk_` and base64 of 32 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.strip_prefix(PUBLIC_KEY_PREFIX)?).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for WebhookPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_KEY_PREFIX}{}", BASE64.encode(self.0))
    }
}

/// The keys of one endpoint's Standard Webhooks: a secret for `v1`, and an Ed25519 pair for `v1a`.
///
/// Both belong only to this endpoint. They are made, encrypted and replaced together. The pair signs only `v1a`.
/// Therefore a signature in one format can never be used in another.
pub struct EndpointKeys {
    secret: SigningSecret,
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl EndpointKeys {
    /// Makes keys of random bytes: 32 for the secret, 32 for the seed of the pair.
    ///
    /// Returns none if the cryptographic library refuses the seed, which never happens.
    #[must_use]
    pub fn new(secret: [u8; 32], seed: [u8; 32]) -> Option<Self> {
        Self::of(SigningSecret::new(secret), Zeroizing::new(seed))
    }

    fn of(secret: SigningSecret, seed: Zeroizing<[u8; 32]>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).ok()?;
        Some(Self { secret, seed, pair })
    }

    /// Parses the text of [`Self::written`]. If the public half does not match the private half, the keys are refused.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (secret, private) = text.split_once(' ')?;
        let bytes = Zeroizing::new(BASE64.decode(private.strip_prefix(PRIVATE_KEY_PREFIX)?).ok()?);
        let (seed, public) = bytes.split_at_checked(32)?;
        let keys = Self::of(SigningSecret::parse(secret)?, Zeroizing::new(seed.try_into().ok()?))?;
        (keys.public_key().bytes() == public).then_some(keys)
    }

    /// Returns the text that is encrypted: `whsec_<base64> whsk_<base64>`. The private key has Svix's form, with the
    /// public half after it.
    #[must_use]
    pub fn written(&self) -> Secret {
        let pair = Zeroizing::new([&self.seed[..], self.public_key().bytes()].concat());
        let private = Zeroizing::new(BASE64.encode(&*pair));
        Secret::new(format!("{} {PRIVATE_KEY_PREFIX}{}", self.secret.written().reveal(), &*private))
    }

    /// Returns the secret of `v1`.
    #[must_use]
    pub fn secret(&self) -> &SigningSecret {
        &self.secret
    }

    /// Returns the public key of `v1a`.
    #[must_use]
    pub fn public_key(&self) -> WebhookPublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref()); // Ed25519 keys have 32 bytes.
        WebhookPublicKey(bytes)
    }
}

impl fmt::Debug for EndpointKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointKeys({})", self.public_key()) // Never print a private half.
    }
}

/// Signs one attempt and returns the value of `webhook-signature`. For each of the endpoint's valid `keys` it has an
/// entry `v1,<base64>` (HMAC-SHA256), and then for each an entry `v1a,<base64>` (Ed25519).
///
/// The signed content is `{webhook_id}.{unix_seconds}.{payload}`. `unix_seconds` is the start of *this attempt*:
/// receivers refuse a time that is more than five minutes off. `payload` is the exact bytes of the request.
///
/// # Errors
/// The cryptographic library failed, which is an internal error. Another attempt may succeed.
pub fn sign(
    keys: &[Arc<EndpointKeys>],
    webhook_id: &str,
    unix_seconds: u64,
    payload: &[u8],
) -> Result<String, SignerError> {
    let mut content = format!("{webhook_id}.{unix_seconds}.").into_bytes();
    content.extend_from_slice(payload);
    let symmetric = keys.iter().map(|keys| Ok(symmetric(&keys.secret, &content)));
    let asymmetric = keys.iter().map(|keys| asymmetric(keys, &content));
    let entries: Vec<_> = symmetric.chain(asymmetric).collect::<Result<_, _>>()?;
    Ok(entries.join(" "))
}

fn symmetric(secret: &SigningSecret, content: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
    format!("v1,{}", BASE64.encode(hmac::sign(&key, content)))
}

fn asymmetric(keys: &EndpointKeys, content: &[u8]) -> Result<String, SignerError> {
    let signature = keys.pair.try_sign(content);
    let signature = signature.map_err(|_| SignerError::Failed { id: keys.public_key().to_string() })?;
    Ok(format!("v1a,{}", BASE64.encode(signature)))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// The id, time and payload of the reference libraries' own tests.
    const CONTENT: &[u8] = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    /// The pair and the signature of the test `test_asymmetric_key_signing` of Svix's server.
    const PRIVATE: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

    fn keys(number: u8) -> Arc<EndpointKeys> {
        Arc::new(EndpointKeys::new([number; 32], [number; 32]).unwrap())
    }

    /// Python's `hmac` computed the signature.
    #[test]
    fn the_reference_librarys_example_is_reproduced() {
        let secret = SigningSecret::parse(SECRET).unwrap();
        assert_eq!(symmetric(&secret, CONTENT), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn svix_s_example_of_an_asymmetric_signature_is_reproduced() {
        let keys = EndpointKeys::parse(&format!("{SECRET} {PRIVATE}")).unwrap();
        assert_eq!(keys.public_key().to_string(), PUBLIC);
        let signature = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        assert_eq!(asymmetric(&keys, CONTENT).unwrap(), signature);
    }

    #[test]
    fn all_live_keys_sign_both_versions() {
        let keys = [keys(1), keys(2)];
        let header = sign(&keys, "op-1:0123456789ab", 7, b"{}").unwrap();
        let [first, second, asymmetric @ ..] = &header.split(' ').collect::<Vec<_>>()[..] else { panic!("{header}") };
        let content = b"op-1:0123456789ab.7.{}";
        assert_eq!([*first, *second], [0, 1].map(|index: usize| symmetric(&keys[index].secret, content)));
        assert_eq!(asymmetric.len(), 2);
        for (keys, entry) in keys.iter().zip(asymmetric) {
            let signature = BASE64.decode(entry.strip_prefix("v1a,").unwrap()).unwrap();
            UnparsedPublicKey::new(&ED25519, keys.public_key().bytes()).verify(content, &signature).unwrap();
        }
    }

    #[test]
    fn keys_read_back_and_others_are_refused() {
        let keys = keys(7);
        let written = keys.written();
        let read = EndpointKeys::parse(written.reveal()).unwrap();
        assert_eq!((read.secret(), read.public_key()), (keys.secret(), keys.public_key()));
        assert_eq!(WebhookPublicKey::parse(&keys.public_key().to_string()), Some(keys.public_key()));
        let secret = SigningSecret::new([7; 32]).written();
        let secret = secret.reveal();
        let other = &PRIVATE.replace("vg==", "vw=="); // The last byte of the public half.
        for bad in ["", secret, PRIVATE, &format!("{secret} {PUBLIC}"), &format!("{secret} {other}")] {
            assert!(EndpointKeys::parse(bad).is_none(), "{bad}");
        }
        for bad in ["", "whpk_", &PUBLIC[..40], PRIVATE] {
            assert_eq!(WebhookPublicKey::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_private_is_printed() {
        let printed = format!("{:?} {:?}", keys(7), keys(7).secret());
        assert_eq!(printed, format!("EndpointKeys({}) SigningSecret(…)", keys(7).public_key()));
    }

    #[test]
    fn secrets_read_back_and_others_are_refused() {
        let secret = SigningSecret::new([7; 32]);
        assert_eq!(SigningSecret::parse(secret.written().reveal()), Some(secret.clone()));
        let (short, long) = (BASE64.encode([0; 23]), BASE64.encode([0; 65]));
        for bad in
            ["", "whsec_", "whsec_!", &format!("whsec_{short}"), &format!("whsec_{long}"), &BASE64.encode([0; 32])]
        {
            assert_eq!(SigningSecret::parse(bad), None, "{bad}");
        }
    }
}
