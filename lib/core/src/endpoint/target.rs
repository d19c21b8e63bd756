//! Targets: the URLs and addresses that Signpost may call. The rules prevent calls into a private network (SSRF).
//!
//! Signpost checks the URL before it resolves the host, and checks the addresses after that and before it connects.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::input::fault::QUOTED_CHARACTERS;
use crate::secret::Secret;

/// The rules for targets. [`TargetRules::default`] is for the internet. The exceptions are for local and test stacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetRules {
    /// Allowed ports in addition to 443. Other ports may belong to services that nobody intended to be called.
    pub more_ports: BTreeSet<u16>,
    /// Allows `http:`, on port 80, besides `https:`. The network then sees payloads and signatures in plain text.
    pub dangerously_allow_http: bool,
    /// Allows every address and every port, including loopback and the cloud's metadata service.
    pub dangerously_allow_private_targets: bool,
}

/// The reason why Signpost refuses a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The address is not one of the public internet.
    #[error("address `{address}` is not public; use a publicly routable host")]
    ForbiddenAddress {
        /// The address that the host resolved to, or is.
        address: IpAddr,
    },
    /// The port is not 443, and the stack does not allow it.
    #[error("URL port is `{port}`; expected 443, or one that the stack's parameter MoreTargetPorts lists")]
    ForbiddenPort {
        /// The port found.
        port: u16,
    },
    /// The URL contains a user name or a password.
    #[error("URL holds a user name or a password; remove it")]
    HasUserinfo,
    /// The text is not a URL.
    #[error("URL cannot be read; expected one such as https://hooks.example/path")]
    Malformed,
    /// The host is not a valid DNS name (RFC 1035, section 2.3.4).
    #[error("URL host is `{host}`; expected parts of 1 to 63 characters between its dots, and at most 253 in total")]
    UnfitHost {
        /// The host found, in the form that would be resolved.
        host: String,
    },
    /// The scheme is neither `https:` nor an allowed `http:`.
    #[error("URL scheme is `{scheme}`; expected `https`")]
    UnsupportedScheme {
        /// The scheme found.
        scheme: String,
    },
}

impl TargetError {
    /// Returns whether the text is not a URL.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Malformed | Self::UnfitHost { .. } => true,
            Self::ForbiddenAddress { .. }
            | Self::ForbiddenPort { .. }
            | Self::HasUserinfo
            | Self::UnsupportedScheme { .. } => false,
        }
    }
}

/// A URL that Signpost may call, as far as this is known before its host is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    /// The length of the query of the endpoint's own URL. Added parameters follow it.
    own_query_bytes: usize,
}

impl Target {
    /// Adds parameters after those of the URL.
    #[must_use]
    pub fn with_query(self, more: &str) -> Self {
        let Self { mut url, own_query_bytes } = self;
        if more.is_empty() {
            return Self { url, own_query_bytes };
        }
        let query = match url.query() {
            None | Some("") => more.to_owned(),
            Some(query) => format!("{query}&{more}"),
        };
        url.set_query(Some(&query));
        Self { url, own_query_bytes }
    }

    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Lists the values in the query of the endpoint's own URL, as spelled and as decoded, because one of them may be a
    /// token.
    ///
    /// A parameter without a value counts as a value (`?token`). The payload of a `GET` does not belong to the
    /// endpoint's own URL.
    #[must_use]
    pub fn query_secrets(&self) -> Vec<Secret> {
        let own = self.url.query().and_then(|query| query.get(..self.own_query_bytes)).unwrap_or_default();
        let mut secrets = Vec::new();
        for pair in own.split('&') {
            let spelled = pair.split_once('=').map_or(pair, |(_, value)| value);
            let decoded = percent_decode_str(&spelled.replace('+', " ")).decode_utf8_lossy().into_owned();
            if decoded != spelled {
                secrets.push(Secret::new(decoded));
            }
            if !spelled.is_empty() {
                secrets.push(Secret::new(spelled.to_owned()));
            }
        }
        secrets
    }
}

impl TargetRules {
    /// The rules for the internet, which are the default.
    pub const INTERNET: Self =
        Self { more_ports: BTreeSet::new(), dangerously_allow_http: false, dangerously_allow_private_targets: false };

    /// Parses a URL that Signpost may call, as far as this is known before its host is resolved.
    ///
    /// Spellings such as `https://0x7f.1/` or `https://[::ffff:10.0.0.1]/` are read as an HTTP client reads them
    /// (WHATWG URL), and then checked as addresses. A fragment is dropped, because it is never sent (RFC 9110, section
    /// 7.1).
    ///
    /// # Errors
    /// The reason for the refusal, in words for the URL's owner.
    pub fn parse(&self, text: &str) -> Result<Target, TargetError> {
        let mut url = Url::parse(text).map_err(|_| TargetError::Malformed)?;
        url.set_fragment(None);
        match url.scheme() {
            "https" => {}
            "http" if self.dangerously_allow_http => {}
            scheme => return Err(TargetError::UnsupportedScheme { scheme: scheme.to_owned() }),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::HasUserinfo);
        }
        let port = url.port_or_known_default().ok_or(TargetError::Malformed)?;
        if !self.allows_port(port) {
            return Err(TargetError::ForbiddenPort { port });
        }
        match url.host() {
            None => return Err(TargetError::Malformed),
            Some(Host::Domain(host)) if !fits_dns(host) => {
                let host = host.chars().take(QUOTED_CHARACTERS).collect();
                return Err(TargetError::UnfitHost { host });
            }
            Some(Host::Domain(_)) => {} // Checked after it is resolved.
            Some(Host::Ipv4(address)) => self.vet_address(address.into())?,
            Some(Host::Ipv6(address)) => self.vet_address(address.into())?,
        }
        let own_query_bytes = url.query().map_or(0, str::len);
        Ok(Target { url, own_query_bytes })
    }

    /// Checks one resolved address.
    ///
    /// # Errors
    /// [`TargetError::ForbiddenAddress`] if it is not a public unicast address.
    pub fn vet_address(&self, address: IpAddr) -> Result<(), TargetError> {
        if self.dangerously_allow_private_targets || is_public(address) {
            Ok(())
        } else {
            Err(TargetError::ForbiddenAddress { address })
        }
    }

    fn allows_port(&self, port: u16) -> bool {
        port == 443
            || self.more_ports.contains(&port)
            || (port == 80 && self.dangerously_allow_http)
            || self.dangerously_allow_private_targets
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

#[expect(clippy::unnested_or_patterns, reason = "one line for each entry of the registry")]
/// Excludes multicast, and every address that the IANA special-purpose registry (RFC 6890) does not call globally
/// reachable.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, ..)            // "This network" RFC 791; private RFC 1918; loopback RFC 1122.
            | (100, 64..=127, _)      // Shared by carriers, RFC 6598.
            | (169, 254, _)           // Link-local, RFC 3927: the cloud's metadata service.
            | (172, 16..=31, _)       // Private, RFC 1918.
            | (192, 0, 0 | 2)         // IETF protocol assignments RFC 6890; documentation RFC 5737.
            | (192, 88, 99)           // 6to4 relays, RFC 7526.
            | (192, 168, _)           // Private, RFC 1918.
            | (198, 18..=19, _)       // Benchmarks, RFC 2544.
            | (198, 51, 100)          // Documentation, RFC 5737.
            | (203, 0, 113)           // Documentation, RFC 5737.
            | (224..=255, ..) // Multicast RFC 5771, reserved RFC 1112, broadcast RFC 8190.
    )
}

/// Allows only global unicast, `2000::/3` (RFC 4291), without its special parts. If an address contains an IPv4
/// address, that address decides.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let carried = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4-mapped, RFC 4291, section 2.5.5.2; NAT64 under its well-known prefix, RFC 6052; 6to4, RFC 3056.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            carried(high, low)
        }
        // IETF protocol assignments RFC 2928 (Teredo among them), documentation RFC 3849 and RFC 9637.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // This excludes, among others: loopback and IPv4-compatible RFC 4291, NAT64 for local use RFC 8215, discard RFC
        // 6666, unique local RFC 4193, link-local, multicast, and segment routing's RFC 9602.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Returns whether a name fits DNS: RFC 1035, section 2.3.4. It may end with the dot of the root.
fn fits_dns(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253 && host.split('.').all(|label| (1..=63).contains(&label.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_judged_by_the_registries() {
        let cases = [
            ("8.8.8.8", true, "public"),
            ("172.15.255.255", true, "just below the private block"),
            ("172.32.0.0", true, "just above it"),
            ("100.63.255.255", true, "just below carrier space"),
            ("100.128.0.0", true, "just above it"),
            ("0.0.0.0", false, "this host"),
            ("10.1.2.3", false, "private"),
            ("100.64.0.1", false, "carrier-grade NAT"),
            ("127.8.9.10", false, "loopback"),
            ("169.254.169.254", false, "metadata service"),
            ("169.254.100.1", false, "Lambda Runtime API"),
            ("172.16.0.1", false, "private"),
            ("192.0.0.8", false, "protocol assignments"),
            ("192.168.1.1", false, "private"),
            ("198.19.0.1", false, "benchmarks"),
            ("203.0.113.9", false, "documentation"),
            ("224.0.0.1", false, "multicast"),
            ("240.0.0.1", false, "reserved"),
            ("255.255.255.255", false, "broadcast"),
            ("2606:4700::1111", true, "public"),
            ("2a00:1450:4001:80b::200e", true, "public"),
            ("64:ff9b::808:808", true, "NAT64 of a public address, as a resolver of an IPv6 network makes it"),
            ("64:ff9b::a00:1", false, "NAT64 of 10.0.0.1"),
            ("2002:808:808::1", true, "6to4 of a public address"),
            ("2002:7f00:1::", false, "6to4 of loopback"),
            ("::", false, "unspecified"),
            ("::1", false, "loopback"),
            ("::ffff:10.0.0.1", false, "IPv4-mapped 10.0.0.1"),
            ("::ffff:169.254.169.254", false, "IPv4-mapped metadata service"),
            ("::ffff:8.8.8.8", true, "IPv4-mapped: connecting to it is connecting to 8.8.8.8"),
            ("::8.8.8.8", false, "IPv4-compatible, deprecated"),
            ("::ffff:0:8.8.8.8", false, "IPv4-translated RFC 2765, not global"),
            ("64:ff9b:1::8.8.8.8", false, "NAT64 for local use"),
            ("64:ff9b::a9fe:a9fe", false, "NAT64 of the metadata service"),
            ("64:ff9b:0:0:0:1:808:808", false, "beside the well-known prefix, which has 96 bits"),
            ("100::1", false, "discard only"),
            ("fec0::1", false, "site-local, deprecated"),
            ("5f00::1", false, "segment routing"),
            ("3fff::1", false, "documentation"),
            ("2001:20::1", false, "ORCHID, which are not addresses"),
            ("4000::1", false, "not assigned"),
            ("2001::1", false, "Teredo"),
            ("2001:db8::1", false, "documentation"),
            ("fd00:ec2::254", false, "unique local: metadata service"),
            ("fe80::1", false, "link-local"),
            ("ff02::1", false, "multicast"),
        ];
        for (address, public, why) in cases {
            let verdict = TargetRules::default().vet_address(address.parse().unwrap());
            assert_eq!(verdict.is_ok(), public, "{address}: {why}");
        }
    }

    #[test]
    fn urls_are_judged_before_they_are_resolved() {
        use TargetError::{ForbiddenAddress, HasUserinfo, Malformed};
        let forbidden = |address: &str| Err(ForbiddenAddress { address: address.parse().unwrap() });
        let cases = [
            ("https://hooks.example/path?q=1", Ok(()), "the ordinary case"),
            ("https://hooks.example:443/", Ok(()), "the default port"),
            ("https://hooks.example:8443/", Ok(()), "an allowed port"),
            ("https://hooks.example:6379/", Err(TargetError::ForbiddenPort { port: 6_379 }), "somebody's Redis"),
            ("https://hooks.example:80/", Err(TargetError::ForbiddenPort { port: 80 }), "plain HTTP's port"),
            ("hooks.example", Err(Malformed), "no scheme"),
            ("http://hooks.example", Err(TargetError::UnsupportedScheme { scheme: "http".into() }), "in plain text"),
            ("file:///etc/passwd", Err(TargetError::UnsupportedScheme { scheme: "file".into() }), "not HTTP"),
            ("https://user@hooks.example", Err(HasUserinfo), "a user"),
            ("https://:pw@hooks.example", Err(HasUserinfo), "a password"),
            ("https://127.0.0.1/", forbidden("127.0.0.1"), "loopback"),
            ("https://2130706433/", forbidden("127.0.0.1"), "loopback as one number"),
            ("https://0x7f.1/", forbidden("127.0.0.1"), "loopback in hexadecimal"),
            ("https://0177.0.0.1/", forbidden("127.0.0.1"), "loopback in octal"),
            ("https://127.1/", forbidden("127.0.0.1"), "loopback, shortened"),
            ("https://127。0。0。1/", forbidden("127.0.0.1"), "ideographic full stops"),
            ("https://①②⑦.0.0.1/", forbidden("127.0.0.1"), "circled digits"),
            ("https://%31%32%37.0.0.1/", forbidden("127.0.0.1"), "percent-encoded"),
            ("https://169.254.169.254/latest/meta-data", forbidden("169.254.169.254"), "metadata service"),
            ("https://169.254.100.1/2018-06-01/runtime", forbidden("169.254.100.1"), "the Lambda Runtime API"),
            ("https://[::1]/", forbidden("::1"), "IPv6 loopback"),
            ("https://[0:0:0:0:0:0:0:1]/", forbidden("::1"), "the same, in full"),
            ("https://[0000::0001]/", forbidden("::1"), "the same, with zeros"),
            ("https://[::ffff:10.0.0.1]/", forbidden("::ffff:10.0.0.1"), "a bracketed literal"),
            ("https://[::FFFF:0A00:0001]/", forbidden("::ffff:10.0.0.1"), "the same in hexadecimal"),
            ("https://[64:ff9b::169.254.169.254]/", forbidden("64:ff9b::a9fe:a9fe"), "NAT64 of the metadata service"),
            ("https://[fe80::1%25eth0]/", Err(Malformed), "a zone"),
            ("https://[fd00:ec2::254]/", forbidden("fd00:ec2::254"), "the metadata service over IPv6"),
            ("https:///path", Ok(()), "as browsers read it: the host `path`, which does not resolve"),
        ];
        let rules = TargetRules { more_ports: BTreeSet::from([8_443]), ..TargetRules::default() };
        for (text, expected, why) in cases {
            assert_eq!(rules.parse(text).map(drop), expected, "{text}: {why}");
        }
    }

    #[test]
    fn a_host_is_a_name_that_dns_can_hold() {
        let label = |count| "a".repeat(count);
        let cases = [
            ("hooks.example".to_owned(), true, "the ordinary case"),
            ("hooks.example.".into(), true, "with the root's dot"),
            ("_hooks.example".into(), true, "an underscore, which DNS allows"),
            ("a..b.example".into(), false, "an empty part"),
            (".example".into(), false, "an empty part in front"),
            ("example..".into(), false, "two dots at the end"),
            (format!("{}.example", label(63)), true, "the longest part"),
            (format!("{}.example", label(64)), false, "a part too long"),
            (format!("{}.example", "ä".repeat(60)), false, "a part that punycode makes too long"),
            ([label(63), label(63), label(63), label(61)].join("."), true, "253 in total"),
            ([label(63), label(63), label(63), label(62)].join("."), false, "254 in all"),
        ];
        for (host, fits, why) in cases {
            assert_eq!(TargetRules::default().parse(&format!("https://{host}/")).is_ok(), fits, "{host}: {why}");
        }
    }

    #[test]
    fn parameters_are_added_after_the_existing_ones() {
        let cases = [
            ("https://tpp.example", "https://tpp.example/?a=b:c"),
            ("https://tpp.example/in?", "https://tpp.example/in?a=b:c"),
            ("https://tpp.example/in?key=x%20y", "https://tpp.example/in?key=x%20y&a=b:c"),
        ];
        for (url, expected) in cases {
            assert_eq!(TargetRules::default().parse(url).unwrap().with_query("a=b:c").url().as_str(), expected);
        }
    }

    #[test]
    fn the_values_of_an_endpoints_own_query_are_secrets_and_the_payload_is_not() {
        let cases: [(_, &[&str], _); 6] = [
            ("https://tpp.example/in", &[], "no query"),
            ("https://tpp.example/in?", &[], "an empty one"),
            ("https://tpp.example/in?token=s3cr3t&v=2", &["s3cr3t", "2"], "every value: nobody knows which is a token"),
            ("https://tpp.example/in?s3cr3t", &["s3cr3t"], "a token without a name"),
            ("https://tpp.example/in?t=a%2Fb+c", &["a/b c", "a%2Fb+c"], "decoded and as it is spelled"),
            (
                "https://tpp.example/in?t=abc%3D&&u=x=y",
                &["abc=", "abc%3D", "x=y"],
                "an empty pair, and a value with a `=`",
            ),
        ];
        for (url, expected, why) in cases {
            let target = TargetRules::default().parse(url).unwrap();
            for target in [target.clone(), target.with_query("status=DONE")] {
                let secrets = target.query_secrets();
                assert_eq!(secrets.iter().map(Secret::reveal).collect::<Vec<_>>(), expected, "{why}");
            }
        }
    }

    #[test]
    fn a_fragment_stays_at_home() {
        let target = TargetRules::default().parse("https://tpp.example/in?a=b#part").unwrap();
        assert_eq!(target.url().as_str(), "https://tpp.example/in?a=b");
    }

    #[test]
    fn a_local_stack_may_call_itself() {
        let rules = TargetRules {
            dangerously_allow_http: true,
            dangerously_allow_private_targets: true,
            ..TargetRules::default()
        };
        assert!(rules.parse("http://127.0.0.1:9000/hook").is_ok());
    }

    proptest! {
        /// An address that contains an IPv4 address is treated like that address, in any form.
        #[test]
        fn carriers_are_judged_by_what_they_carry(bits in any::<u32>(), rest in any::<[u16; 5]>()) {
            let rules = TargetRules::default();
            let inner = Ipv4Addr::from_bits(bits);
            let [high, low] = [(bits >> 16) as u16, (bits & 0xffff) as u16];
            let [a, b, c, d, e] = rest;
            let verdict = rules.vet_address(inner.into()).is_ok();
            let carriers = [
                inner.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, a, b, c, d, e),
            ];
            for carrier in carriers {
                prop_assert_eq!(rules.vet_address(carrier.into()).is_ok(), verdict, "{} in {}", inner, carrier);
            }
        }

        /// The standard library's own check is less precise than the registries. Every address that it calls local must
        /// be refused.
        #[test]
        fn addresses_that_are_local_to_the_standard_library_are_refused(bits in any::<u32>(), segments in any::<[u16; 8]>()) {
            let rules = TargetRules::default();
            let v4 = Ipv4Addr::from_bits(bits);
            let is_local = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
            prop_assert!(!is_local || rules.vet_address(v4.into()).is_err(), "{}", v4);
            let v6 = Ipv6Addr::from(segments);
            let is_local = v6.is_loopback() || v6.is_multicast() || v6.is_unicast_link_local() || v6.is_unique_local()
                || v6.is_unspecified();
            prop_assert!(!is_local || rules.vet_address(v6.into()).is_err(), "{}", v6);
        }

        /// A literal in a URL is treated like its address, in any spelling.
        #[test]
        fn a_literal_is_judged_as_its_address(bits in any::<u32>(), segments in any::<[u16; 8]>(), style in 0..4) {
            let rules = TargetRules::default();
            let [a, b, c, d] = bits.to_be_bytes();
            let spelled = match style {
                0 => format!("{a}.{b}.{c}.{d}"),
                1 => format!("{bits}"),
                2 => format!("{bits:#x}"),
                _ => format!("{a:#o}.{b:#x}.{}", u16::from_be_bytes([c, d])).replace("0o", "0"),
            };
            let verdict = rules.vet_address(Ipv4Addr::from_bits(bits).into());
            prop_assert_eq!(rules.parse(&format!("https://{spelled}/")).map(drop), verdict, "{}", spelled);
            let v6 = Ipv6Addr::from(segments);
            let verdict = rules.vet_address(v6.into());
            prop_assert_eq!(rules.parse(&format!("https://[{v6}]/")).map(drop), verdict, "{}", v6);
        }
    }
}
