//! Destinations: a customer's SQS queue or EventBridge bus, which Signpost reaches through a role in an account of the
//! customer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A queue or a bus that takes an endpoint's webhooks, and the role that may send to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredDestination", into = "StoredDestination")]
pub struct Destination {
    /// The queue or the bus.
    pub resource: Resource,
    /// The role that `deliver` assumes.
    pub role: RoleArn,
    /// The `ExternalId` with which `deliver` assumes the role. Signpost makes it from the tenant and the stack, and no
    /// request sets it. So no tenant can use the role of another. Empty until `manage` has made it.
    pub external_id: String,
}

/// A kind of destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// An event bus of EventBridge.
    #[serde(rename = "eventBridge")]
    EventBridge,
    /// A queue of SQS, standard or FIFO.
    #[serde(rename = "sqs")]
    Sqs,
}

impl Kind {
    /// Returns the noun for error texts.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::EventBridge => "event bus",
            Self::Sqs => "queue",
        }
    }

    /// Returns the name of the service.
    #[must_use]
    pub fn service(self) -> &'static str {
        match self {
            Self::EventBridge => "EventBridge",
            Self::Sqs => "SQS",
        }
    }

    /// Returns the action that the role must allow.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::EventBridge => "events:PutEvents",
            Self::Sqs => "sqs:SendMessage",
        }
    }

    /// Returns the member of the settings with the ARN.
    #[must_use]
    pub fn member(self) -> &'static str {
        match self {
            Self::EventBridge => "busArn",
            Self::Sqs => "queueArn",
        }
    }

    /// Describes the ARN that is accepted.
    #[must_use]
    pub fn expected(self) -> &'static str {
        match self {
            Self::EventBridge => {
                "the ARN of an event bus, such as arn:aws:events:eu-west-1:111122223333:event-bus/webhooks"
            }
            Self::Sqs => "the ARN of a queue, such as arn:aws:sqs:eu-west-1:111122223333:webhooks",
        }
    }

    /// Returns the service in ARNs, in host names and in signatures.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::EventBridge => "events",
            Self::Sqs => "sqs",
        }
    }
}

/// A queue or a bus, by its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its kind.
    pub kind: Kind,
    partition: Partition,
    region: String,
    account: String,
    name: String,
}

/// A partition of AWS: a group of Regions with accounts and names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partition {
    Aws,
    China,
    UsGov,
}

impl Partition {
    fn parse(text: &str) -> Option<Self> {
        [Self::Aws, Self::China, Self::UsGov].into_iter().find(|partition| partition.as_str() == text)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::China => "aws-cn",
            Self::UsGov => "aws-us-gov",
        }
    }

    /// Returns the end of its services' host names.
    fn suffix(self) -> &'static str {
        match self {
            Self::Aws | Self::UsGov => "amazonaws.com",
            Self::China => "amazonaws.com.cn",
        }
    }
}

/// The maximum length of an ARN of a queue or a bus. The longest has a bus's name of 256 bytes.
const MAX_ARN_BYTES: usize = 400;
/// The maximum length of a role's ARN ([`AssumeRole`][api]).
///
/// [api]: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const MAX_ROLE_BYTES: usize = 2_048;

impl Resource {
    /// Parses the ARN of a queue or a bus.
    ///
    /// The names are those that SQS and EventBridge accept ([`CreateQueue`][queue], [`CreateEventBus`][bus]). A partner's
    /// bus, with slashes in its name, takes events from the partner only.
    ///
    /// [queue]: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
    /// [bus]: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CreateEventBus.html
    #[must_use]
    pub fn parse(kind: Kind, arn: &str) -> Option<Self> {
        if arn.len() > MAX_ARN_BYTES {
            return None;
        }
        let mut parts = arn.splitn(6, ':');
        let mut next = || parts.next();
        let (scheme, partition, service) = (next()?, Partition::parse(next()?)?, next()?);
        let (region, account, rest) = (next()?, next()?, next()?);
        let is_named = |name: &str, most: usize, others: &[u8]| {
            (1..=most).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
        };
        let name = match kind {
            Kind::EventBridge => rest.strip_prefix("event-bus/").filter(|name| is_named(name, 256, b".-_"))?,
            Kind::Sqs => Some(rest)
                .filter(|name| name.len() <= 80 && is_named(name.strip_suffix(FIFO).unwrap_or(name), 80, b"-_"))?,
        };
        let fits = scheme == "arn" && service == kind.code() && is_region(region) && is_account(account);
        let [region, account, name] = [region, account, name].map(str::to_owned);
        fits.then_some(Self { kind, partition, region, account, name })
    }

    /// Returns the Region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Returns the URL of the service in the Region.
    #[must_use]
    pub fn service_url(&self) -> String {
        format!("https://{}.{}.{}/", self.kind.code(), self.region, self.partition.suffix())
    }

    /// Returns the URL of the queue, or that of the service for a bus.
    #[must_use]
    pub fn url(&self) -> String {
        match self.kind {
            Kind::EventBridge => self.service_url(),
            Kind::Sqs => format!("{}{}/{}", self.service_url(), self.account, self.name),
        }
    }

    /// Returns whether it is a FIFO queue.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.kind == Kind::Sqs && self.name.ends_with(FIFO)
    }
}

/// The end of the names of FIFO queues.
const FIFO: &str = ".fifo";

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, partition, region, account, name } = self;
        let folder = if *kind == Kind::EventBridge { "event-bus/" } else { "" };
        write!(f, "arn:{}:{}:{region}:{account}:{folder}{name}", partition.as_str(), kind.code())
    }
}

/// The ARN of a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleArn(String);

impl RoleArn {
    /// Parses the ARN of a role, with or without a path.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let mut next = || parts.next();
        let (scheme, _, service) = (next()?, Partition::parse(next()?)?, next()?);
        let (region, account, name) = (next()?, next()?, next()?.strip_prefix("role/")?);
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
        };
        let fits = arn.len() <= MAX_ROLE_BYTES && scheme == "arn" && service == "iam" && region.is_empty();
        let fits = fits && is_account(account) && name.split('/').all(is_name);
        fits.then(|| Self(arn.to_owned()))
    }

    /// Returns the ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Describes the ARN of a role that is accepted.
pub const EXPECTED_ROLE: &str = "the ARN of a role, such as arn:aws:iam::111122223333:role/signpost-webhooks";

fn is_region(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.ends_with('-')
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Destination {
    /// Returns whether the role and the resource are in the same partition. Roles of another cannot be assumed.
    #[must_use]
    pub fn is_in_one_partition(&self) -> bool {
        self.role.as_str().split(':').nth(1) == Some(self.resource.partition.as_str())
    }
}

/// A destination as the table stores it, and as operators see it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredDestination {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bus_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue_arn: Option<String>,
    role_arn: String,
    #[serde(default)]
    external_id: String,
}

impl From<Destination> for StoredDestination {
    fn from(destination: Destination) -> Self {
        let Destination { resource, role: RoleArn(role_arn), external_id } = destination;
        let arn = Some(resource.to_string());
        let (bus_arn, queue_arn) = match resource.kind {
            Kind::EventBridge => (arn, None),
            Kind::Sqs => (None, arn),
        };
        Self { kind: resource.kind, bus_arn, queue_arn, role_arn, external_id }
    }
}

impl TryFrom<StoredDestination> for Destination {
    type Error = &'static str;

    fn try_from(stored: StoredDestination) -> Result<Self, &'static str> {
        let StoredDestination { kind, bus_arn, queue_arn, role_arn, external_id } = stored;
        let arn = match kind {
            Kind::EventBridge => bus_arn,
            Kind::Sqs => queue_arn,
        };
        let resource = arn.and_then(|arn| Resource::parse(kind, &arn)).ok_or(kind.expected())?;
        let role = RoleArn::parse(&role_arn).ok_or(EXPECTED_ROLE)?;
        Ok(Self { resource, role, external_id })
    }
}

/// The roles that the stack may assume: ARNs in which `*` stands for any characters, and `?` for one, as in IAM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolePatterns(Vec<String>);

impl RolePatterns {
    /// No roles.
    pub const NONE: Self = Self(Vec::new());

    /// Parses ARNs that are separated by commas. Returns `None` if one of them is not a pattern of roles.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let patterns = text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
        let is_pattern = |pattern: &str| {
            let mut parts = pattern.splitn(6, ':');
            let mut next = || parts.next().unwrap_or_default();
            let (scheme, partition, service, region) = (next(), next(), next(), next());
            let (account, name) = (next(), next());
            let is_account = account == "*" || is_account(account);
            scheme == "arn"
                && Partition::parse(partition).is_some()
                && service == "iam"
                && region.is_empty()
                && is_account
                && name.starts_with("role/")
                && name.len() > "role/".len()
        };
        let patterns: Vec<_> = patterns.map(str::to_owned).collect();
        patterns.iter().all(|pattern| is_pattern(pattern)).then_some(Self(patterns))
    }

    /// Returns whether there are none, so that no endpoint can have a destination.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the stack may assume a role.
    #[must_use]
    pub fn allows(&self, role: &RoleArn) -> bool {
        self.0.iter().any(|pattern| matches(pattern.as_bytes(), role.as_str().as_bytes()))
    }
}

/// Returns whether a text fits a pattern with `*` and `?`. The time is at most the product of both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut last_star = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => {
                // The last `*` stands for one character more.
                let Some((star, from)) = last_star else { return false };
                last_star = Some((star, from + 1));
                (at, seen) = (star + 1, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn arns_of_queues_and_buses_are_read_and_written() {
        let cases = [
            (
                Kind::Sqs,
                "arn:aws:sqs:eu-west-1:111122223333:orders",
                "https://sqs.eu-west-1.amazonaws.com/111122223333/orders",
            ),
            (Kind::Sqs, "arn:aws:sqs:us-gov-east-1:111122223333:o.fifo", ""),
            (
                Kind::Sqs,
                "arn:aws-cn:sqs:cn-north-1:111122223333:O_r-d.fifo",
                "https://sqs.cn-north-1.amazonaws.com.cn/111122223333/O_r-d.fifo",
            ),
            (
                Kind::EventBridge,
                "arn:aws-us-gov:events:us-gov-west-1:111122223333:event-bus/a.b-c_d",
                "https://events.us-gov-west-1.amazonaws.com/",
            ),
        ];
        for (kind, arn, url) in cases {
            let resource = Resource::parse(kind, arn).unwrap_or_else(|| panic!("{arn}"));
            assert_eq!((resource.to_string(), resource.is_fifo()), (arn.to_owned(), arn.contains(".fifo")));
            assert!(url.is_empty() || resource.url() == url, "{}", resource.url());
        }
        let long = format!("arn:aws:sqs:eu-west-1:111122223333:{}", "x".repeat(81));
        let bad = [
            "",
            "arn",
            "orders",
            "https://sqs.eu-west-1.amazonaws.com/111122223333/orders",
            &long,
            "arn:aws:sqs:eu-west-1:111122223333:",
            "arn:aws:sqs:eu-west-1:111122223333:.fifo",
            "arn:aws:sqs:eu-west-1:111122223333:or ders",
            "arn:aws:sqs:eu-west-1:111122223333:a/b",
            "arn:aws:sqs:eu-west-1:1111222233:orders",
            "arn:aws:sqs::111122223333:orders",
            "arn:aws:sqs:evil.example#:111122223333:orders",
            "arn:aws:sns:eu-west-1:111122223333:orders",
            "arn:awz:sqs:eu-west-1:111122223333:orders",
            "arn:aws:sqs:eu-west-1:111122223333:a.b",
        ];
        for arn in bad {
            assert_eq!(Resource::parse(Kind::Sqs, arn), None, "{arn}");
        }
        for name in ["", "event-bus/", "event-bus/aws.partner/x", "bus/a", "event-bus/a b"] {
            assert_eq!(
                Resource::parse(Kind::EventBridge, &format!("arn:aws:events:eu-west-1:111122223333:{name}")),
                None
            );
        }
    }

    #[test]
    fn roles_are_arns_and_patterns_choose_some() {
        let role = |arn: &str| RoleArn::parse(arn);
        for good in ["arn:aws:iam::111122223333:role/a", "arn:aws:iam::111122223333:role/path/to/A+=,.@-_"] {
            assert!(role(good).is_some(), "{good}");
        }
        let bad = [
            "",
            "arn:aws:iam::111122223333:user/a",
            "arn:aws:iam:eu-west-1:111122223333:role/a",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role//a",
            "arn:aws:iam::*:role/a",
            "arn:aws:sts::111122223333:assumed-role/a/b",
            "arn:aws:iam::111122223333:role/*",
        ];
        for arn in bad {
            assert_eq!(role(arn), None, "{arn}");
        }
        let patterns = RolePatterns::parse("arn:aws:iam::111122223333:role/a, arn:aws:iam::*:role/hooks-?*").unwrap();
        let cases = [
            ("arn:aws:iam::111122223333:role/a", true),
            ("arn:aws:iam::444455556666:role/a", false),
            ("arn:aws:iam::444455556666:role/hooks-1", true),
            ("arn:aws:iam::444455556666:role/hooks-", false),
            ("arn:aws:iam::444455556666:role/x/hooks-1", false),
        ];
        for (arn, expected) in cases {
            assert_eq!(patterns.allows(&role(arn).unwrap()), expected, "{arn}");
            assert!(!RolePatterns::NONE.allows(&role(arn).unwrap()));
        }
        assert_eq!(RolePatterns::parse(" , "), Some(RolePatterns::NONE));
        for bad in ["*", "arn:aws:iam::1:role/a", "arn:aws:iam::*:user/a", "arn:aws:iam::*:role/", "role/a"] {
            assert_eq!(RolePatterns::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_destination_is_stored_as_it_is_shown() {
        let role = "arn:aws:iam::111122223333:role/a";
        for shown in [
            json!({"kind": "sqs", "queueArn": "arn:aws:sqs:eu-west-1:111122223333:q", "roleArn": role, "externalId": "x"}),
            json!({"kind": "eventBridge", "busArn": "arn:aws:events:eu-west-1:111122223333:event-bus/b",
                   "roleArn": role, "externalId": "x"}),
        ] {
            let read: Destination = serde_json::from_value(shown.clone()).unwrap();
            assert_eq!((json!(read), read.is_in_one_partition()), (shown, true));
        }
        let bad =
            json!({"kind": "sqs", "busArn": "arn:aws:events:eu-west-1:111122223333:event-bus/b", "roleArn": role});
        assert!(serde_json::from_value::<Destination>(bad).is_err());
    }

    proptest! {
        /// The definition: a `*` stands for any text, a `?` for one character.
        #[test]
        fn patterns_match_by_their_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn fits(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|at| fits(rest, &text[at..])),
                    Some((first, rest)) => text.split_first().is_some_and(|(byte, others)| {
                        (*first == b'?' || first == byte) && fits(rest, others)
                    }),
                }
            }
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits(pattern.as_bytes(), text.as_bytes()));
        }

        /// No ARN leads a request to a host outside AWS.
        #[test]
        fn every_accepted_arn_is_a_host_of_aws(region in "[a-z0-9./#@:-]{0,12}", name in ".{0,12}") {
            for kind in [Kind::Sqs, Kind::EventBridge] {
                let folder = if kind == Kind::Sqs { "" } else { "event-bus/" };
                let arn = format!("arn:aws:{}:{region}:111122223333:{folder}{name}", kind.code());
                if let Some(resource) = Resource::parse(kind, &arn) {
                    let url = url::Url::parse(&resource.url()).unwrap();
                    prop_assert!(url.host_str().is_some_and(|host| host.ends_with(".amazonaws.com")));
                    prop_assert_eq!(resource.to_string(), arn);
                }
            }
        }
    }
}
