//! The log of a delivery's attempts as it is stored: some 35 bytes for each attempt, because a delivery's item is paid
//! for by the KiB with every write.
//!
//! Requests and answers are stored beside the log, each once, and an entry refers to them by their fingerprints. A text
//! that follows from other parts of the attempt is not stored.
//!
//! An entry has two bytes of flags, and then its parts in the order of [`encode`]. Numbers are in LEB128, as in DWARF
//! (version 5, section 7.6). Bytes after the last part are ignored, so that a later release may add parts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use uuid::Uuid;

use crate::delivery::answer::{AnswerRecord, answer_print};
use crate::delivery::attempt::{Attempt, AttemptError};
use crate::delivery::cause::{Cause, ExchangeFault};
use crate::delivery::sent::{Connection, Sent, SentRecord};

/// The number of attempts in the first chunk of a log.
pub const FIRST_CHUNK: u32 = 7;
/// The number of attempts in each other chunk.
pub const CHUNK: u32 = 12;
/// The number of last chunks that are shown, besides the first one and the attempts after the last chunk.
pub const CHUNKS_SHOWN: u32 = 6;

/// Returns whether attempt `number` begins a chunk, so that those before it become a chunk of their own.
///
/// The first chunk is smaller, because the record has the request of the first attempt besides, until that chunk is
/// moved away.
#[must_use]
pub fn begins_chunk(number: u32) -> bool {
    number.checked_sub(FIRST_CHUNK + 1).is_some_and(|after| after.is_multiple_of(CHUNK))
}

/// Returns the indices of the chunks that are shown, of `count`.
pub fn shown_chunks(count: u32) -> impl Iterator<Item = u32> {
    let last = count.saturating_sub(CHUNKS_SHOWN).max(1);
    (0..count.min(1)).chain(last..count)
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The attempt, without its request and its answer.
    attempt: Attempt,
    sent: SentReference,
    answer: AnswerReference,
}

/// The request of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SentReference {
    Nothing,
    Same,
    /// The request of the delivery's first attempt, which its record has.
    First,
    Stored(u64),
    /// The same as before, said again at the beginning of a chunk.
    SameAs(u64),
    /// No request. The last one before is said again at the beginning of a chunk.
    NothingAfter(u64),
}

/// The answer of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerReference {
    None,
    Same,
    Stored(u64),
    /// The same as the last stored one, said again at the beginning of a chunk.
    SameAs(u64),
    Skipped(u64),
    /// No answer. The last stored one before is said again at the beginning of a chunk.
    NoneAfter(u64),
    /// An answer that is not stored. The last stored one before is said again at the beginning of a chunk.
    SkippedAfter(u64),
}

impl AnswerReference {
    /// Returns the fingerprint of the stored answer, if the entry says it.
    fn stored_print(self) -> Option<u64> {
        match self {
            Self::None | Self::Same | Self::Skipped(_) => None,
            Self::Stored(print) | Self::SameAs(print) | Self::NoneAfter(print) | Self::SkippedAfter(print) => {
                Some(print)
            }
        }
    }
}

/// Encodes an attempt of a delivery whose event arrived at `arrived_unix_ms`. `last_sent` and `last_answer` are the
/// fingerprints of the last request and of the last stored answer, those of this attempt included.
#[must_use]
pub fn encode(attempt: &Attempt, arrived_unix_ms: u64, last_sent: Option<u64>, last_answer: Option<u64>) -> Vec<u8> {
    let is_start = begins_chunk(attempt.number);
    let (sent, sent_to) = match (&attempt.sent, last_sent) {
        (SentRecord::Nothing, Some(print)) if is_start => (5, Some(print)),
        (SentRecord::Nothing, _) => (0, None),
        (SentRecord::Same, Some(print)) if is_start => (4, Some(print)),
        (SentRecord::Same, _) => (1, None),
        (SentRecord::This(_), _) if attempt.number == 1 => (2, None),
        (SentRecord::This(sent), _) => (3, Some(sent.print())),
    };
    let (answer, answer_to) = match (&attempt.response, attempt.answer) {
        (None, _) if is_start && last_answer.is_some() => (5, last_answer),
        (None, _) => (0, None),
        (Some(response), AnswerRecord::Known) if is_start => (3, Some(answer_print(response))),
        (Some(_), AnswerRecord::Known) => (1, None),
        (Some(response), AnswerRecord::New) => (2, Some(answer_print(response))),
        (Some(_), AnswerRecord::Skipped) if is_start && last_answer.is_some() => (6, last_answer),
        (Some(response), AnswerRecord::Skipped) => (4, Some(answer_print(response))),
    };
    let error = ErrorForm::of(attempt);
    let connection = attempt.connection.as_ref();
    let address = match connection.map(|connection| connection.address) {
        None => 0,
        Some(SocketAddr::V4(_)) => 1,
        Some(SocketAddr::V6(_)) => 2,
    };
    let tls = connection.and_then(|connection| connection.tls.as_deref());
    let tls_form = tls.map_or(0, |tls| (1..).zip(TLS).find(|(_, one)| *one == tls).map_or(OTHER_TLS, |(form, _)| form));
    let flags = sent
        | answer << 3
        | error.tag() << 6
        | u16::from(attempt.status.is_some()) << 9
        | address << 10
        | tls_form << 12
        | u16::from(attempt.redirect.is_some()) << 14;

    let mut bytes = flags.to_le_bytes().to_vec();
    put_number(&mut bytes, attempt.number.into());
    put_number(&mut bytes, zigzag(attempt.at_unix_ms.wrapping_sub(arrived_unix_ms)));
    put_number(&mut bytes, attempt.duration_ms);
    if let Some(status) = attempt.status {
        put_number(&mut bytes, status.into());
    }
    for print in [sent_to, answer_to].into_iter().flatten() {
        bytes.extend(print.to_le_bytes());
    }
    error.put(&mut bytes);
    if let Some(Connection { address, .. }) = connection {
        match address.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
        bytes.extend(address.port().to_le_bytes());
    }
    if let (Some(tls), OTHER_TLS) = (tls, tls_form) {
        put_text(&mut bytes, tls);
    }
    if let Some(redirect) = &attempt.redirect {
        put_text(&mut bytes, redirect);
    }
    put_number(&mut bytes, attempt.kids.len() as u64);
    for kid in &attempt.kids {
        if let Some(uuid) = Uuid::parse_str(kid).ok().filter(|uuid| uuid.to_string() == *kid) {
            put_number(&mut bytes, 0);
            bytes.extend(uuid.as_bytes());
        } else {
            put_number(&mut bytes, kid.len() as u64 + 1);
            bytes.extend(kid.as_bytes());
        }
    }
    bytes
}

/// Decodes what [`encode`] made. Returns `None` for anything else.
#[must_use]
pub fn decode(bytes: &[u8], arrived_unix_ms: u64) -> Option<Entry> {
    let mut rest = Rest(bytes);
    let flags = u16::from_le_bytes(rest.take()?);
    let bits = |from: u32, count: u32| flags >> from & ((1 << count) - 1);
    let number = u32::try_from(rest.number()?).ok()?;
    let at_unix_ms = arrived_unix_ms.wrapping_add(unzigzag(rest.number()?));
    let duration_ms = rest.number()?;
    let status = if bits(9, 1) == 1 { Some(u16::try_from(rest.number()?).ok()?) } else { None };
    let sent = match bits(0, 3) {
        0 => SentReference::Nothing,
        1 => SentReference::Same,
        2 => SentReference::First,
        3 => SentReference::Stored(u64::from_le_bytes(rest.take()?)),
        4 => SentReference::SameAs(u64::from_le_bytes(rest.take()?)),
        5 => SentReference::NothingAfter(u64::from_le_bytes(rest.take()?)),
        _ => return None,
    };
    let answer = match bits(3, 3) {
        0 => AnswerReference::None,
        1 => AnswerReference::Same,
        2 => AnswerReference::Stored(u64::from_le_bytes(rest.take()?)),
        3 => AnswerReference::SameAs(u64::from_le_bytes(rest.take()?)),
        4 => AnswerReference::Skipped(u64::from_le_bytes(rest.take()?)),
        5 => AnswerReference::NoneAfter(u64::from_le_bytes(rest.take()?)),
        6 => AnswerReference::SkippedAfter(u64::from_le_bytes(rest.take()?)),
        _ => return None,
    };
    let (error, cause) = ErrorForm::take(bits(6, 3), &mut rest)?.texts(status);
    let address = match bits(10, 2) {
        0 => None,
        1 => Some(IpAddr::from(rest.take::<4>()?)),
        2 => Some(IpAddr::from(rest.take::<16>()?)),
        _ => return None,
    };
    let address = match address {
        Some(ip) => Some(SocketAddr::new(ip, u16::from_le_bytes(rest.take()?))),
        None => None,
    };
    let tls = match bits(12, 2) {
        0 => None,
        OTHER_TLS => Some(rest.text()?),
        known => Some(TLS[usize::from(known) - 1].to_owned()),
    };
    let redirect = if bits(14, 1) == 1 { Some(rest.text()?) } else { None };
    let mut kids = Vec::new();
    for _ in 0..rest.number()? {
        kids.push(match rest.number()?.checked_sub(1) {
            None => Uuid::from_bytes(rest.take()?).to_string(),
            Some(length) => rest.text_of(length)?,
        });
    }
    let attempt = Attempt {
        number,
        at_unix_ms,
        duration_ms,
        kids,
        status,
        error,
        cause,
        response: None,
        answer: AnswerRecord::Known,
        sent: SentRecord::Nothing,
        connection: address.map(|address| Connection { address, tls }),
        redirect,
    };
    Some(Entry { attempt, sent, answer })
}

impl Entry {
    /// Returns the fingerprint of the stored request that the entry refers to, if it does.
    #[must_use]
    pub fn sent_print(&self) -> Option<u64> {
        match self.sent {
            SentReference::Nothing | SentReference::Same | SentReference::First => None,
            SentReference::Stored(print) | SentReference::SameAs(print) | SentReference::NothingAfter(print) => {
                Some(print)
            }
        }
    }

    /// Returns the fingerprint of the stored answer that the entry refers to, if it does.
    #[must_use]
    pub fn answer_print(&self) -> Option<u64> {
        self.answer.stored_print()
    }
}

/// Returns the attempts of some entries, oldest first. `first` is the request of the first attempt, if it was sent. A
/// request or an answer that is not stored any more is left out.
#[must_use]
pub fn attempts(
    mut entries: Vec<Entry>,
    first: Option<&Sent>,
    sent: &BTreeMap<u64, Sent>,
    answers: &BTreeMap<u64, String>,
) -> Vec<Attempt> {
    entries.sort_by_key(|entry| entry.attempt.number);
    let of_print = |print| sent.get(&print).or_else(|| first.filter(|first| first.print() == print)).cloned();
    let (mut now, mut shown, mut stored, mut before) = (None, None, None, 0);
    let attempts = entries.into_iter().map(|Entry { mut attempt, sent, answer }| {
        if attempt.number > before + 1 {
            (now, shown, stored) = (None, None, None); // The attempts between are not read.
        }
        before = attempt.number;
        now = match sent {
            SentReference::Nothing | SentReference::Same => now,
            SentReference::First => first.map(Sent::print),
            SentReference::Stored(print) | SentReference::SameAs(print) | SentReference::NothingAfter(print) => {
                Some(print)
            }
        };
        let is_said = matches!(sent, SentReference::First | SentReference::Stored(_)) || shown != now;
        attempt.sent = match now.and_then(of_print) {
            _ if matches!(sent, SentReference::Nothing | SentReference::NothingAfter(_)) => SentRecord::Nothing,
            None => SentRecord::Nothing,
            Some(_) if !is_said => SentRecord::Same,
            Some(sent) => {
                shown = now;
                SentRecord::This(sent)
            }
        };
        let (record, print) = match answer {
            AnswerReference::None | AnswerReference::NoneAfter(_) => (AnswerRecord::Known, None),
            AnswerReference::Same => (AnswerRecord::Known, stored),
            AnswerReference::Stored(print) => (AnswerRecord::New, Some(print)),
            AnswerReference::SameAs(print) => (AnswerRecord::Known, Some(print)),
            AnswerReference::Skipped(print) => (AnswerRecord::Skipped, Some(print)),
            AnswerReference::SkippedAfter(_) => (AnswerRecord::Skipped, None),
        };
        stored = answer.stored_print().or(stored);
        (attempt.answer, attempt.response) = (record, print.and_then(|print| answers.get(&print).cloned()));
        attempt
    });
    attempts.collect()
}

/// The versions of TLS that have a flag.
const TLS: [&str; 2] = ["1.2", "1.3"];
/// The flag of any other version, whose text follows.
const OTHER_TLS: u16 = 3;

/// The texts of a failure, or the parts that they follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ErrorForm {
    None,
    /// The status was not 2xx.
    Rejected,
    /// The exchange with the endpoint failed, within a time limit in seconds.
    Exchange(ExchangeFault, u64),
    /// The exchange with the token URL failed.
    TokenExchange(ExchangeFault, u64),
    Texts {
        error: Option<String>,
        cause: Option<String>,
    },
}

impl ErrorForm {
    fn of(attempt: &Attempt) -> Self {
        let texts = (attempt.error.clone(), attempt.cause.clone());
        let (Some(error), Some(cause)) = (&attempt.error, &attempt.cause) else {
            let (error, cause) = texts;
            return if error.is_none() && cause.is_none() { Self::None } else { Self::Texts { error, cause } };
        };
        // The only number in these texts is the time limit.
        let digits: String =
            error.chars().skip_while(|one| !one.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        let seconds = digits.parse().unwrap_or_default();
        let exchanges = ExchangeFault::of_code(cause).map(|fault| Self::Exchange(fault, seconds)).into_iter();
        let of_token = cause.strip_prefix("token-").and_then(ExchangeFault::of_code);
        let forms = exchanges.chain(of_token.map(|fault| Self::TokenExchange(fault, seconds))).chain([Self::Rejected]);
        let found = forms.into_iter().find(|form| form.texts(attempt.status) == texts);
        found.unwrap_or(Self::Texts { error: texts.0, cause: texts.1 })
    }

    fn tag(&self) -> u16 {
        match self {
            Self::None => 0,
            Self::Rejected => 1,
            Self::Exchange(..) => 2,
            Self::TokenExchange(..) => 3,
            Self::Texts { .. } => 4,
        }
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::None | Self::Rejected => {}
            Self::Exchange(fault, seconds) | Self::TokenExchange(fault, seconds) => {
                put_text(bytes, fault.code());
                put_number(bytes, *seconds);
            }
            Self::Texts { error, cause } => {
                for text in [error, cause] {
                    put_number(bytes, u64::from(text.is_some()));
                    if let Some(text) = text {
                        put_text(bytes, text);
                    }
                }
            }
        }
    }

    fn take(tag: u16, rest: &mut Rest<'_>) -> Option<Self> {
        Some(match tag {
            0 => Self::None,
            1 => Self::Rejected,
            2 => Self::Exchange(ExchangeFault::of_code(&rest.text()?)?, rest.number()?),
            3 => Self::TokenExchange(ExchangeFault::of_code(&rest.text()?)?, rest.number()?),
            4 => Self::Texts { error: rest.optional_text()?, cause: rest.optional_text()? },
            _ => return None,
        })
    }

    /// Returns the error and the cause of an attempt with this status.
    fn texts(&self, status: Option<u16>) -> (Option<String>, Option<String>) {
        let of = |error: String, cause: Cause| (Some(error), Some(cause.to_string()));
        match self {
            Self::None => (None, None),
            Self::Rejected => {
                let status = status.unwrap_or_default();
                of(AttemptError::Rejected { status, retry_after: None }.to_string(), Cause::Status)
            }
            Self::Exchange(fault, seconds) => {
                of(fault.told("endpoint", Duration::from_secs(*seconds)), Cause::Exchange(*fault))
            }
            Self::TokenExchange(fault, seconds) => {
                of(fault.told("token URL", Duration::from_secs(*seconds)), Cause::TokenExchange(*fault))
            }
            Self::Texts { error, cause } => (error.clone(), cause.clone()),
        }
    }
}

/// Maps small differences in both directions to small numbers.
fn zigzag(difference: u64) -> u64 {
    let signed = difference.cast_signed();
    (signed << 1 ^ signed >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len() as u64);
    bytes.extend(text.as_bytes());
}

/// The bytes that are not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()?;
        self.text_of(length)
    }

    fn text_of(&mut self, length: u64) -> Option<String> {
        let (text, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        str::from_utf8(text).ok().map(str::to_owned)
    }

    /// Reads a text that may be missing. Returns `None` if the bytes cannot be read.
    #[expect(clippy::option_option, reason = "the outer one is the error, as in all methods here")]
    fn optional_text(&mut self) -> Option<Option<String>> {
        match self.number()? {
            0 => Some(None),
            _ => Some(Some(self.text()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ARRIVED: u64 = 1_769_853_600_007;

    /// A delivery as a table has it.
    #[derive(Default)]
    struct Stored {
        chunks: Vec<Vec<Vec<u8>>>,
        recent: Vec<Vec<u8>>,
        first: Option<Sent>,
        sent: BTreeMap<u64, Sent>,
        answers: BTreeMap<u64, String>,
        prints: (Option<u64>, Option<u64>),
    }

    impl Stored {
        /// Adds an attempt with this request and this answer, as `deliver` does.
        fn add(&mut self, attempt: Attempt, request: Option<Sent>, response: Option<String>, is_last: bool) -> Attempt {
            let (last_sent, last_answer) = self.prints;
            let answer = AnswerRecord::new(response.as_deref(), last_answer, attempt.number, is_last);
            let print = request.as_ref().map(Sent::print).or(last_sent);
            let attempt = Attempt { response, answer, sent: SentRecord::new(request, last_sent), ..attempt };
            if begins_chunk(attempt.number) {
                self.chunks.push(std::mem::take(&mut self.recent));
            }
            match &attempt.sent {
                SentRecord::This(sent) if attempt.number == 1 => self.first = Some(sent.clone()),
                SentRecord::This(sent) => drop(self.sent.insert(sent.print(), sent.clone())),
                SentRecord::Nothing | SentRecord::Same => {}
            }
            self.prints.0 = print;
            if let (Some(response), AnswerRecord::New) = (&attempt.response, answer) {
                self.prints.1 = Some(answer_print(response));
                self.answers.insert(answer_print(response), response.clone());
            }
            self.recent.push(encode(&attempt, ARRIVED, self.prints.0, self.prints.1));
            attempt
        }

        fn read(&self) -> Vec<Attempt> {
            let shown =
                shown_chunks(u32::try_from(self.chunks.len()).unwrap()).flat_map(|index| &self.chunks[index as usize]);
            let entries: Vec<_> = shown.chain(&self.recent).map(|bytes| decode(bytes, ARRIVED).unwrap()).collect();
            // Only what the entries refer to is read.
            let wanted = |prints: Vec<u64>, print: &u64| prints.contains(print);
            let sent = self
                .sent
                .iter()
                .filter(|(print, _)| wanted(entries.iter().filter_map(Entry::sent_print).collect(), print));
            let sent = sent.map(|(print, sent)| (*print, sent.clone())).collect();
            let answers = self.answers.iter();
            let answers =
                answers.filter(|(print, _)| wanted(entries.iter().filter_map(Entry::answer_print).collect(), print));
            let answers = answers.map(|(print, answer)| (*print, answer.clone())).collect();
            attempts(entries, self.first.as_ref(), &sent, &answers)
        }
    }

    fn sent(body_bytes: u64) -> Sent {
        Sent {
            method: "POST".into(),
            url: "https://a.example/in".into(),
            names: "content-type".into(),
            values: Vec::new(),
            body_sha256: [7; 32],
            body_bytes,
        }
    }

    /// Returns the texts of a failure: those of this release, and others.
    fn texts() -> impl Strategy<Value = (Option<u16>, Option<String>, Option<String>)> {
        let fault = (prop::sample::select(ExchangeFault::ALL.to_vec()), 1..31_u64, any::<bool>());
        let of_fault = fault.prop_map(|(fault, seconds, is_token)| {
            let (server, cause) = if is_token {
                ("token URL", Cause::TokenExchange(fault))
            } else {
                ("endpoint", Cause::Exchange(fault))
            };
            (None, Some(fault.told(server, Duration::from_secs(seconds))), Some(cause.to_string()))
        });
        prop_oneof![
            (100..600_u16).prop_map(|status| {
                let error = AttemptError::Rejected { status, retry_after: None };
                (Some(status), Some(error.to_string()), Some(error.cause().to_string()))
            }),
            of_fault,
            (any::<Option<u16>>(), any::<Option<String>>(), any::<Option<String>>()),
        ]
    }

    fn attempt() -> impl Strategy<Value = Attempt> {
        let kid = prop_oneof![any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string()), ".{0,40}"];
        let tls = prop_oneof![Just(None), Just(Some("1.3".to_owned())), any::<Option<String>>()];
        let connection = prop::option::of(
            (any::<SocketAddr>(), tls)
                .prop_map(|(address, tls)| Connection { address: SocketAddr::new(address.ip(), address.port()), tls }),
        );
        let times = prop_oneof![(ARRIVED..ARRIVED + 900_000, 0..30_000_u64), (any::<u64>(), any::<u64>())];
        (times, texts(), prop::collection::vec(kid, 0..3), connection, any::<Option<String>>()).prop_map(
            |((at_unix_ms, duration_ms), (status, error, cause), kids, connection, redirect)| Attempt {
                number: 0,
                at_unix_ms,
                duration_ms,
                kids,
                status,
                error,
                cause,
                response: None,
                answer: AnswerRecord::Known,
                sent: SentRecord::Nothing,
                connection,
                redirect,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_sequence_of_attempts_reads_back(
            all in prop::collection::vec((attempt(), prop::option::of(0..3_u64), prop::option::of(0..4_u8)), 1..150),
        ) {
            let (mut stored, mut all_sent, mut all_added) = (Stored::default(), BTreeMap::new(), Vec::new());
            let count = u32::try_from(all.len()).unwrap();
            for (number, (attempt, request, answer)) in (1..).zip(all) {
                let request = request.map(sent);
                let response = answer.map(|answer| format!("page {answer}"));
                all_sent.insert(number, request.clone());
                let attempt = Attempt { number, ..attempt };
                all_added.push((response.clone(), stored.add(attempt, request, response, number == count)));
            }
            let read = stored.read();
            let numbers: Vec<_> = read.iter().map(|attempt| attempt.number).collect();
            prop_assert!((1..=count.min(5)).all(|number| numbers.contains(&number)), "the first 5: {numbers:?}");
            prop_assert!((1..=count).rev().take(70).all(|number| numbers.contains(&number)), "the last 70: {numbers:?}");
            let (mut last, mut before) = (None, 0);
            for attempt in &read {
                let (response, added) = &all_added[attempt.number as usize - 1];
                let like = Attempt { sent: attempt.sent.clone(), response: attempt.response.clone(), ..added.clone() };
                prop_assert_eq!(attempt, &like);
                match added.answer {
                    AnswerRecord::Skipped => {
                        prop_assert!(attempt.response.is_none() || attempt.response == *response);
                    }
                    AnswerRecord::Known | AnswerRecord::New => prop_assert_eq!(&attempt.response, response),
                }
                // As the API shows them: the request of the attempt before counts only if that is there.
                last = last.filter(|_| attempt.number <= before + 1);
                before = attempt.number;
                let shown = match &attempt.sent {
                    SentRecord::Nothing => None,
                    SentRecord::Same => last.clone(),
                    SentRecord::This(sent) => { last = Some(sent.clone()); last.clone() }
                };
                prop_assert_eq!(&shown, &all_sent[&attempt.number], "{}", attempt.number);
            }
        }

        #[test]
        fn bytes_that_are_no_entry_are_refused_or_read_without_a_panic(bytes: Vec<u8>, arrived: u64) {
            if let Some(entry) = decode(&bytes, arrived) {
                let mut longer = bytes;
                longer.extend([1, 2, 3]);
                prop_assert_eq!(decode(&longer, arrived), Some(entry), "a later release may add parts");
            }
        }
    }

    #[test]
    fn the_attempts_of_a_receiver_that_fails_the_same_way_take_40_bytes_each() {
        let failed = |number, error: AttemptError| Attempt {
            number,
            at_unix_ms: ARRIVED + 900_000,
            duration_ms: 10_000,
            kids: vec!["070725bf-7dac-4712-b61a-420ba3701263".into()],
            status: error.status(),
            error: Some(error.to_string()),
            cause: Some(error.cause().to_string()),
            response: error.status().map(|_| "busy".into()),
            answer: AnswerRecord::Known,
            sent: SentRecord::Same,
            connection: error
                .status()
                .map(|_| Connection { address: "203.0.113.7:443".parse().unwrap(), tls: Some("1.3".into()) }),
            redirect: None,
        };
        let (fault, timeout) = (ExchangeFault::ConnectionRefused, Duration::from_secs(10));
        let errors = [
            AttemptError::Rejected { status: 503, retry_after: None },
            AttemptError::Exchange { fault, timeout, source: None },
        ];
        for (error, most) in errors.into_iter().zip([37, 50]) {
            let bytes = encode(&failed(6, error), ARRIVED, Some(7), Some(7));
            assert!(bytes.len() <= most, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn the_first_attempts_and_the_last_ones_are_in_shown_chunks() {
        assert_eq!((1..50).filter(|number| begins_chunk(*number)).collect::<Vec<_>>(), [8, 20, 32, 44]);
        for (count, expected) in
            [(0, vec![]), (1, vec![0]), (7, vec![0, 1, 2, 3, 4, 5, 6]), (9, vec![0, 3, 4, 5, 6, 7, 8])]
        {
            assert_eq!(shown_chunks(count).collect::<Vec<_>>(), expected, "{count}");
        }
    }
}
