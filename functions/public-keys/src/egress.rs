//! The addresses that webhooks come from, as the stack's owner lists them. Receivers allow them in their firewalls.

use std::fmt;
use std::net::Ipv4Addr;

use serde_json::json;
use signpost_io::runtime::config::ConfigError;

/// A range of IPv4 addresses in CIDR notation (RFC 4632, section 3.1), such as `203.0.113.7/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    first: Ipv4Addr,
    prefix_bits: u32,
}

impl AddressRange {
    /// Parses an address or a range. Clears the bits after the prefix, because some firewalls refuse a range with such
    /// bits.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let prefix_bits = prefix.parse().ok().filter(|bits| *bits <= 32)?;
        let mask = u32::MAX.checked_shl(32 - prefix_bits).unwrap_or(0);
        let address: Ipv4Addr = address.parse().ok()?;
        Some(Self { first: Ipv4Addr::from_bits(address.to_bits() & mask), prefix_bits })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

/// Reads ranges of addresses, separated by commas; none if the setting is missing or empty. They are sorted, and each is
/// listed once.
///
/// # Errors
/// A part is no IPv4 address or range.
pub fn ranges(get: impl Fn(&str) -> Option<String>, name: &'static str) -> Result<Vec<AddressRange>, ConfigError> {
    let found = get(name).unwrap_or_default();
    let parts = found.split(',').map(str::trim).filter(|part| !part.is_empty());
    let Some(mut ranges) = parts.map(AddressRange::parse).collect::<Option<Vec<_>>>() else {
        let expected = "IPv4 addresses or ranges separated by commas, such as `203.0.113.7/32,203.0.113.8/32`".into();
        return Err(ConfigError::Invalid { name, found, expected });
    };
    ranges.sort_unstable();
    ranges.dedup();
    Ok(ranges)
}

/// Returns the document that receivers fetch.
///
/// An empty list could mean that no address may call, or that the addresses are not known. `fixed` says which: without
/// fixed addresses, a filter by address would refuse webhooks.
#[must_use]
pub fn document(addresses: &[AddressRange], upcoming: &[AddressRange]) -> String {
    let texts = |ranges: &[AddressRange]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
    let is_fixed = !addresses.is_empty();
    let mut document = json!({"fixed": is_fixed, "addresses": texts(addresses), "upcoming": texts(upcoming)});
    if !is_fixed {
        document["note"] = json!("webhooks come from addresses that change; do not filter them by address");
    }
    document.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const NAME: &str = "EGRESS_ADDRESSES";

    fn read(text: &str) -> Result<Vec<AddressRange>, ConfigError> {
        ranges(|_| Some(text.to_owned()), NAME)
    }

    #[test]
    fn addresses_are_read_as_ranges() {
        let cases: [(&str, &[&str], &str); 7] = [
            ("", &[], "none"),
            ("203.0.113.7", &["203.0.113.7/32"], "an address alone is a range of one"),
            ("203.0.113.8/32,203.0.113.7/32", &["203.0.113.7/32", "203.0.113.8/32"], "sorted, so that tags agree"),
            ("203.0.113.7/32, 203.0.113.7", &["203.0.113.7/32"], "the same twice, and a space"),
            ("203.0.113.7/24", &["203.0.113.0/24"], "bits after the prefix"),
            ("255.255.255.255/1", &["128.0.0.0/1"], "a short prefix"),
            ("1.2.3.4/0", &["0.0.0.0/0"], "all addresses"),
        ];
        for (text, expected, why) in cases {
            let found: Vec<_> = read(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "`{text}`: {why}");
        }
        assert_eq!(ranges(|_| None, NAME), Ok(vec![]), "not set");
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for bad in ["203.0.113", "203.0.113.7/33", "203.0.113.7/", "203.0.113.7/-1", "2001:db8::1/128", "a.example"] {
            let told = read(bad).unwrap_err().to_string();
            let expected = "IPv4 addresses or ranges separated by commas, such as `203.0.113.7/32,203.0.113.8/32`";
            assert_eq!(told, format!("`{NAME}` is `{bad}`; expected {expected}"));
        }
    }

    #[test]
    fn no_fixed_addresses_differ_from_an_empty_list() {
        let parsed = |addresses, upcoming| -> Value {
            let document = document(&read(addresses).unwrap(), &read(upcoming).unwrap());
            serde_json::from_str(&document).unwrap()
        };
        let fixed = parsed("203.0.113.7", "203.0.113.9");
        let expected = json!({"fixed": true, "addresses": ["203.0.113.7/32"], "upcoming": ["203.0.113.9/32"]});
        assert_eq!(fixed, expected);
        let announced = parsed("", "203.0.113.9");
        assert_eq!((&announced["fixed"], &announced["addresses"]), (&json!(false), &json!([])));
        assert_eq!(announced["upcoming"], json!(["203.0.113.9/32"]), "addresses can be announced before the first use");
        assert_eq!(announced["note"], "webhooks come from addresses that change; do not filter them by address");
    }
}
