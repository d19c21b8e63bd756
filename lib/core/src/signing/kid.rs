//! Key ids: the `kid` under which a tenant's verifiers know a key.
//!
//! All tenants share the private signing keys, but no two tenants share a `kid`. The signed part of a JWS and of an
//! HTTP message signature contains the `kid`. A tenant's key set has only the tenant's own kids. Therefore a signature
//! for one tenant does not verify under another tenant's key set.

use aws_lc_rs::digest::{SHA256, digest};
use uuid::{Builder, Uuid};

use crate::endpoint_id::EndpointId;
use crate::event::TenantId;
use crate::signing::standard_webhooks::WebhookPublicKey;

/// Returns the `kid` of signing key `key_id` for `tenant`: a UUID of version 8 (RFC 9562, section 5.8) from the first
/// 16 bytes of SHA-256 over the ASCII text `signpost-kid:<key id>:<tenant>`.
///
/// Key ids and tenant ids have no colon, so no two pairs make the same text. Key ids are not published. Therefore a
/// `kid` reveals nothing about the kids of other tenants.
#[must_use]
pub fn of_signing_key(key_id: &str, tenant: &TenantId) -> String {
    uuid_of(&format!("signpost-kid:{key_id}:{tenant}"))
}

/// Returns the `kid` of the key that signs `v1a` for one endpoint, made in the same way from
/// `signpost-v1a-kid:<tenant>:<endpoint>:<whpk_…>`.
#[must_use]
pub fn of_endpoint_key(tenant: &TenantId, endpoint: &EndpointId, key: &WebhookPublicKey) -> String {
    uuid_of(&format!("signpost-v1a-kid:{tenant}:{endpoint}:{key}"))
}

/// Returns whether `text` has the form of a `kid`: a UUID in lower case with hyphens.
#[must_use]
pub fn is_kid(text: &str) -> bool {
    Uuid::try_parse(text).is_ok_and(|uuid| uuid.to_string() == text)
}

fn uuid_of(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "070725bf-7dac-4712-b61a-420ba3701263";

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    /// Python: `uuid.UUID(bytes=hashlib.sha256(text).digest()[:16])` with the bits of version 8 and variant 10 set.
    #[test]
    fn kids_are_what_pythons_hashlib_makes_of_the_same_text() {
        assert_eq!(of_signing_key(KEY, &tenant("acme")), "7485f1a3-7102-8d6e-afcb-ba8662abb4f2");
        assert_eq!(of_signing_key(KEY, &tenant("globex")), "24f1e5a6-f68b-849d-976a-3499bac8ea59");
        let endpoint = EndpointId::new(Uuid::nil());
        let key = WebhookPublicKey::parse("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=").unwrap();
        assert_eq!(of_endpoint_key(&tenant("acme"), &endpoint, &key), "1877114f-4fed-8bdd-82db-f3c35d3041a7");
    }

    #[test]
    fn only_uuids_as_we_spell_them_are_kids() {
        assert!(is_kid(KEY));
        for text in ["", "x", "../070725bf", &KEY.to_uppercase(), &KEY.replace('-', ""), &format!("{{{KEY}}}")] {
            assert!(!is_kid(text), "{text}");
        }
    }

    proptest! {
        /// 122 bits distinguish tenants and keys, and every `kid` is a UUID of version 8 and variant 10.
        #[test]
        fn no_two_tenants_and_no_two_keys_share_a_kid(
            tenants in prop::collection::hash_set("[a-z0-9-]{1,64}", 1..8),
            keys in prop::collection::hash_set(any::<u128>(), 1..8),
        ) {
            let mut kids = HashSet::new();
            for tenant in tenants.iter().map(|id| TenantId::parse(id).unwrap()) {
                for key in keys.iter().map(|key| Uuid::from_u128(*key).to_string()) {
                    let kid = of_signing_key(&key, &tenant);
                    let uuid = Uuid::parse_str(&kid).unwrap();
                    prop_assert_eq!((uuid.get_version_num(), uuid.get_variant()), (8, uuid::Variant::RFC4122));
                    prop_assert!(is_kid(&kid));
                    prop_assert_eq!(&kid, &of_signing_key(&key, &tenant), "repeated");
                    prop_assert!(kids.insert(kid));
                }
            }
        }
    }
}
