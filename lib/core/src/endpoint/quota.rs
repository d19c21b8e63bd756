//! The bounds of a tenant's endpoints. Each write of an endpoint checks them, so that `fanout` has room for all of a
//! tenant's subscriptions, and lists have an end.

use crate::endpoint::Endpoint;

/// How many endpoints a tenant may have, because one event may go to all of them.
pub const MAX_ENDPOINTS: u64 = 1_000;

/// How many bytes the settings of all endpoints of a tenant may have in total: two KiB for each, if there are 1,000.
/// `fanout` holds the filters among them in memory, for each tenant of a batch.
pub const MAX_SETTINGS_BYTES: u64 = 2 * 1024 * 1024;

/// Returns how many bytes an endpoint counts: its settings in JSON, and the authorities that it trusts in PEM.
#[must_use]
pub fn settings_bytes(settings: &Endpoint, trusted: Option<&str>) -> u64 {
    let settings = serde_json::to_string(settings).unwrap_or_default(); // Strings and numbers always serialize.
    (settings.len() + trusted.map_or(0, str::len)) as u64
}

/// The parts of the bounds that all endpoints of a tenant take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of endpoints.
    pub endpoints: u64,
    /// The bytes of their settings ([`settings_bytes`]).
    pub settings_bytes: u64,
}

impl Usage {
    /// Checks that a new endpoint with so many bytes of settings has room.
    ///
    /// # Errors
    /// It has none. The error says which bound it would exceed.
    pub fn check_new(self, settings_bytes: u64) -> Result<(), QuotaError> {
        if self.endpoints >= MAX_ENDPOINTS {
            return Err(QuotaError::Endpoints { found: self.endpoints });
        }
        self.check_larger(settings_bytes)
    }

    /// Checks that so many more bytes of settings have room.
    ///
    /// # Errors
    /// They have none.
    pub fn check_larger(self, settings_bytes: u64) -> Result<(), QuotaError> {
        let found = self.settings_bytes + settings_bytes;
        if found > MAX_SETTINGS_BYTES { Err(QuotaError::SettingsBytes { found }) } else { Ok(()) }
    }
}

/// A write would exceed a bound of the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The tenant has all endpoints that it may have.
    #[error(
        "the tenant has {found} endpoints; expected fewer than {MAX_ENDPOINTS} before another; remove one that is not needed"
    )]
    Endpoints {
        /// How many it has.
        found: u64,
    },
    /// The settings of all endpoints would be too large together.
    #[error(
        "the settings of the tenant's endpoints would have {found} bytes in total; expected at most {MAX_SETTINGS_BYTES}; \
         shorten `types`, `fields` or other settings, or remove an endpoint that is not needed"
    )]
    SettingsBytes {
        /// How many bytes they would have.
        found: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_room_up_to_each_bound_and_not_beyond() {
        let used = |endpoints, settings_bytes| Usage { endpoints, settings_bytes };
        let full = MAX_SETTINGS_BYTES;
        let cases = [
            (used(0, 0), 50, Ok(()), "the first"),
            (used(999, full - 50), 50, Ok(()), "the last of both"),
            (used(1_000, 0), 50, Err(QuotaError::Endpoints { found: 1_000 }), "too many"),
            (used(999, full - 49), 50, Err(QuotaError::SettingsBytes { found: full + 1 }), "too large"),
        ];
        for (usage, bytes, expected, why) in cases {
            assert_eq!(usage.check_new(bytes), expected, "{why}");
        }
        assert_eq!(used(1_000, full - 50).check_larger(50), Ok(()), "a change adds no endpoint");
        assert!(used(1_000, full - 49).check_larger(50).is_err());
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let cases = [
            (
                QuotaError::Endpoints { found: 1_000 },
                "the tenant has 1000 endpoints; expected fewer than 1000 before another; remove one that is not needed",
            ),
            (
                QuotaError::SettingsBytes { found: 2_097_153 },
                "the settings of the tenant's endpoints would have 2097153 bytes in total; expected at most 2097152; \
                 shorten `types`, `fields` or other settings, or remove an endpoint that is not needed",
            ),
        ];
        for (error, expected) in cases {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn settings_and_trusted_authorities_count() {
        let endpoint = Endpoint::new("https://a.example");
        let alone = settings_bytes(&endpoint, None);
        assert_eq!(alone, serde_json::to_string(&endpoint).unwrap().len() as u64);
        assert_eq!(settings_bytes(&endpoint, Some("PEM")), alone + 3);
    }
}
