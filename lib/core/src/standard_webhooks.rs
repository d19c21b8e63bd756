//! [Standard Webhooks 1.0.0][spec]: the `webhook-signature` header and its secrets.
//!
//! [spec]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::event::EventId;
use crate::secret::Secret;
use crate::signer::{Signer, SignerError};

/// The secret that an endpoint and Signpost share, 24 to 64 bytes (section "Signature scheme").
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Zeroizing<Vec<u8>>);

const PREFIX: &str = "whsec_";

impl SigningSecret {
    /// Makes a secret of 32 random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random.to_vec()))
    }

    /// Takes a secret as it is written down: `whsec_` and base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(text.strip_prefix(PREFIX)?).ok()?);
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The secret as it is written down, for the one answer that shows it, and to be sealed.
    #[must_use]
    pub fn written(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}", BASE64.encode(&*self.0)))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// Signs one attempt and returns the value of `webhook-signature`: an entry `v1,<base64>` (HMAC-SHA256) for each of
/// `secrets`, and one entry `v1a,<base64>` (Ed25519) by `signer`, which must be of that algorithm.
///
/// The signed content is `{id}.{unix_seconds}.{payload}`. `unix_seconds` is when *this attempt* starts, for receivers
/// refuse what is older than five minutes. `payload` is the exact bytes on the wire.
///
/// # Errors
/// As [`Signer::sign`].
pub fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a SigningSecret>,
    signer: &Signer,
    id: &EventId,
    unix_seconds: u64,
    payload: &[u8],
) -> Result<String, SignerError> {
    let mut content = format!("{id}.{unix_seconds}.").into_bytes();
    content.extend_from_slice(payload);
    let mut entries: Vec<_> = secrets.into_iter().map(|secret| symmetric(secret, &content)).collect();
    entries.push(format!("v1a,{}", BASE64.encode(signer.sign(&content)?)));
    Ok(entries.join(" "))
}

fn symmetric(secret: &SigningSecret, content: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
    format!("v1,{}", BASE64.encode(hmac::sign(&key, content)))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;
    use crate::algorithm::Algorithm;
    use crate::signer::tests::signer;

    /// Key and content are those of the reference libraries' own tests; the signature was computed by Python's `hmac`.
    #[test]
    fn the_reference_librarys_example_is_reproduced() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let content = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        assert_eq!(symmetric(&secret, content), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_live_secret_signs_and_the_signing_key_too() {
        let (signer, public) = signer(Algorithm::EdDSA);
        let secrets = [SigningSecret::new([1; 32]), SigningSecret::new([2; 32])];
        let id = EventId::parse("op-1").unwrap();
        let header = sign(&secrets, &signer, &id, 7, b"{}").unwrap();
        let [first, second, asymmetric] = header.split(' ').collect::<Vec<_>>()[..] else { panic!("{header}") };
        assert_eq!([first, second], [0, 1].map(|index| symmetric(&secrets[index], b"op-1.7.{}")));
        let signature = BASE64.decode(asymmetric.strip_prefix("v1a,").unwrap()).unwrap();
        UnparsedPublicKey::new(&ED25519, public.subject_public_key()).verify(b"op-1.7.{}", &signature).unwrap();
    }

    #[test]
    fn secrets_read_back_and_others_are_refused() {
        let secret = SigningSecret::new([7; 32]);
        assert_eq!(SigningSecret::parse(secret.written().reveal()), Some(secret.clone()));
        assert_eq!(format!("{secret:?}"), "SigningSecret(…)");
        let (short, long) = (BASE64.encode([0; 23]), BASE64.encode([0; 65]));
        for bad in
            ["", "whsec_", "whsec_!", &format!("whsec_{short}"), &format!("whsec_{long}"), &BASE64.encode([0; 32])]
        {
            assert_eq!(SigningSecret::parse(bad), None, "{bad}");
        }
    }
}
