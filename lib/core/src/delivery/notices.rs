//! Notices to the owner of an endpoint: it fails, is about to be disabled, works again, or a delivery was given up.
//!
//! An *episode* begins when Signpost first stops sending to an endpoint that fails. It ends when a probe is acknowledged,
//! when Signpost disables the endpoint, or when an operator closes its breaker. Each notice of an episode is sent once, in
//! this order: failing, disabling soon (at half of the time and at nine tenths), and recovered if the endpoint works again.
//! The notice that Signpost disabled an endpoint comes from `deliver` itself, because only it knows of a 410.
//!
//! The state is a part of the endpoint's breaker, which every failure writes anyway. Notices that are due wait there until
//! they are sent, so that a crash loses none. A notice that is sent twice has the same id, and `fanout` drops the second.
//!
//! An endpoint that fails and recovers again and again has one episode in an hour at most, so its owner gets a bounded number
//! of notices ([`MOST_PER_HOUR`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::delivery::attempt::AttemptError;
use crate::delivery::breaker::HOPELESS_AFTER;
use crate::endpoint::{DISABLING_SOON_TYPE, EXHAUSTED_TYPE, EndpointId, FAILING_TYPE, RECOVERED_TYPE};

/// The notices of an endpoint: which of the current episode were sent, and which wait to be sent. Times are in milliseconds
/// since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Notices {
    /// The start of the episode that the owner knows of.
    #[serde(skip_serializing_if = "Option::is_none")]
    told_since: Option<u64>,
    /// The share of the time until the endpoint is disabled, in percent, that the owner was warned of last.
    #[serde(skip_serializing_if = "is_zero")]
    warned_at_percent: u8,
    /// Whether Signpost disables the endpoint, so that the rest of the episode is of no interest.
    #[serde(skip_serializing_if = "is_false")]
    is_over: bool,
    /// When the last episode began for the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_told_at: Option<u64>,
    /// Whether the owner knows that deliveries were given up since the last acknowledgement.
    #[serde(skip_serializing_if = "is_false")]
    is_exhaustion_told: bool,
    /// When the owner heard of that last.
    #[serde(skip_serializing_if = "Option::is_none")]
    exhausted_told_at: Option<u64>,
    /// The last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastError>,
    /// The notices that wait to be sent, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    due: Vec<Notice>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notice {
    /// Its content.
    pub kind: NoticeKind,
    /// The start of the episode, or when the delivery was given up.
    pub since: u64,
    /// When it became due.
    pub at: u64,
}

/// The content of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NoticeKind {
    /// A delivery was given up. There may be others until the endpoint acknowledges one.
    Exhausted,
    /// Signpost has stopped sending to the endpoint, because it fails.
    Failing,
    /// Half of the time is over after which Signpost disables the endpoint.
    HalfOver,
    /// Nine tenths of this time are over.
    NearlyOver,
    /// The endpoint works again.
    Recovered,
}

/// The last failure of an endpoint, as its owner may read it: neither an address nor a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The stable code of the cause.
    pub cause: String,
    /// The error in words: how the owner can correct it.
    pub text: String,
}

/// The facts that decide which notices are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Since when Signpost sends nothing because the endpoint fails.
    pub(crate) open_since: Option<u64>,
    /// Since when every attempt has failed.
    pub(crate) failing_since: Option<u64>,
    /// Whether the breaker is closed.
    pub(crate) is_closed: bool,
    /// Whether an attempt was acknowledged.
    pub(crate) is_acknowledged: bool,
    /// Whether Signpost disables the endpoint now.
    pub(crate) is_hopeless: bool,
    /// When a delivery was given up.
    pub(crate) exhausted_at: Option<u64>,
    /// The last failure.
    pub(crate) last_error: Option<LastError>,
}

/// The shortest time between two episodes for the owner, and between two notices of deliveries that were given up.
const APART: Duration = Duration::from_hours(1);
/// The most notices that become due within an hour.
pub const MOST_PER_HOUR: usize = 5;
/// How many notices may wait. Any more push the oldest out, so that the breaker stays small.
const MOST_DUE: usize = 8;
/// How many bytes of an error's text are kept.
const LONGEST_TEXT: usize = 200;
/// How long a notice that waits is left to the instance that found it. After that, any other sends it.
pub const LEFT_ALONE: Duration = Duration::from_secs(30);

impl Notices {
    /// Returns the notices that wait to be sent and became due at least `age` ago, oldest first.
    #[must_use]
    pub fn due(&self, now_unix_ms: u64, age: Duration) -> &[Notice] {
        let is_old = |notice: &&Notice| now_unix_ms >= notice.at + millis(age);
        // They are in the order of their moments.
        &self.due[..self.due.iter().take_while(is_old).count()]
    }

    /// Returns the last failure, if it is on record.
    #[must_use]
    pub fn last_error(&self) -> Option<&LastError> {
        self.last_error.as_ref()
    }

    /// Removes notices that were sent.
    pub(crate) fn remove(&mut self, sent: &[Notice]) {
        self.due.retain(|notice| !sent.contains(notice));
    }

    /// Returns whether the owner must hear of a delivery that was given up now.
    pub(crate) fn wants_exhaustion(&self, now_unix_ms: u64) -> bool {
        !self.is_exhaustion_told && is_apart(self.exhausted_told_at, now_unix_ms)
    }

    /// Returns whether the owner knows of deliveries that were given up since the last acknowledgement.
    pub(crate) fn is_exhaustion_told(&self) -> bool {
        self.is_exhaustion_told
    }

    /// Ends the episode without a notice, because an operator closed the breaker. The limits stay.
    pub(crate) fn closed_by_operator(self) -> Self {
        let Self { failing_told_at, exhausted_told_at, due, .. } = self;
        Self { failing_told_at, exhausted_told_at, due, ..Self::default() }
    }

    /// Returns the notices after the breaker has changed.
    pub(crate) fn after(mut self, facts: Facts, now_unix_ms: u64) -> Self {
        self.last_error = facts.last_error.or(self.last_error);
        if facts.is_acknowledged {
            (self.is_exhaustion_told, self.is_over) = (false, false);
        }
        match self.told_since {
            Some(_) if facts.is_hopeless => (self.told_since, self.is_over) = (None, true),
            Some(since) if facts.is_closed => {
                self.told_since = None;
                self.push(NoticeKind::Recovered, since, now_unix_ms);
            }
            Some(since) => self.warn(since, facts.failing_since, now_unix_ms),
            None if facts.is_hopeless => self.is_over = true,
            None => {
                if let Some(since) = facts.open_since
                    && !self.is_over
                    && is_apart(self.failing_told_at, now_unix_ms)
                {
                    (self.told_since, self.failing_told_at, self.warned_at_percent) =
                        (Some(since), Some(now_unix_ms), 0);
                    self.push(NoticeKind::Failing, since, now_unix_ms);
                }
            }
        }
        if let Some(at) = facts.exhausted_at
            && self.wants_exhaustion(now_unix_ms)
        {
            (self.is_exhaustion_told, self.exhausted_told_at) = (true, Some(now_unix_ms));
            self.push(NoticeKind::Exhausted, at, now_unix_ms);
        }
        self
    }

    /// Warns the owner of the end, once at half of the time and once at nine tenths.
    fn warn(&mut self, since: u64, failing_since: Option<u64>, now_unix_ms: u64) {
        let Some(failing_since) = failing_since else { return };
        let percent = now_unix_ms.saturating_sub(failing_since).saturating_mul(100) / millis(HOPELESS_AFTER);
        let due = [(90, NoticeKind::NearlyOver), (50, NoticeKind::HalfOver)];
        let due = due.into_iter().find(|(at, _)| percent >= u64::from(*at));
        if let Some((at, kind)) = due
            && self.warned_at_percent < at
        {
            self.warned_at_percent = at;
            self.push(kind, since, now_unix_ms);
        }
    }

    fn push(&mut self, kind: NoticeKind, since: u64, at: u64) {
        if self.due.len() == MOST_DUE {
            self.due.remove(0);
        }
        self.due.push(Notice { kind, since, at });
    }
}

fn is_apart(before: Option<u64>, now_unix_ms: u64) -> bool {
    before.is_none_or(|before| now_unix_ms >= before + millis(APART))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl LastError {
    /// Returns what the owner may read of an error.
    #[must_use]
    pub fn of(error: &AttemptError) -> Self {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        Self { cause: error.cause().to_string(), text }
    }
}

impl Notice {
    /// Returns the id of its event. A notice that is sent again has the same one.
    #[must_use]
    pub fn event_id(&self, endpoint: &EndpointId) -> String {
        let kind = match self.kind {
            NoticeKind::Exhausted => "exhausted",
            NoticeKind::Failing => "failing",
            NoticeKind::HalfOver => "disabling-soon-50",
            NoticeKind::NearlyOver => "disabling-soon-90",
            NoticeKind::Recovered => "recovered",
        };
        format!("{kind}-{endpoint}-{}", self.since)
    }
}

impl NoticeKind {
    /// Returns the type of its event.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Exhausted => EXHAUSTED_TYPE,
            Self::Failing => FAILING_TYPE,
            Self::HalfOver | Self::NearlyOver => DISABLING_SOON_TYPE,
            Self::Recovered => RECOVERED_TYPE,
        }
    }

    /// Returns how much of the time is over until Signpost disables the endpoint, in percent.
    #[must_use]
    pub fn percent(self) -> Option<u8> {
        match self {
            Self::HalfOver => Some(50),
            Self::NearlyOver => Some(90),
            Self::Exhausted | Self::Failing | Self::Recovered => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::attempt::judge_status;
    use crate::delivery::breaker::{Admission, Breaker, Outcomes};
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    /// Some days after the epoch.
    const START: u64 = 100 * DAY;

    /// An endpoint with its breaker. Like `deliver`, it probes, sends what is due, and removes it.
    #[derive(Default)]
    struct Owner {
        breaker: Breaker,
        heard: Vec<Notice>,
    }

    impl Owner {
        fn attempts(&mut self, now: u64, statuses: &[u16]) {
            if self.breaker.admits(now) == Admission::Probe {
                self.breaker = self.breaker.clone().probing(now);
            }
            let mut outcomes = Outcomes::default();
            for status in statuses {
                outcomes.add(&judge_status(*status, None), now);
            }
            self.tell(&outcomes, now);
        }

        /// As `deliver` does: outcomes that change nothing are not written.
        fn acknowledges(&mut self, now: u64) {
            let mut outcomes = Outcomes::default();
            outcomes.add(&Ok(204), now);
            if outcomes.changes(&self.breaker) {
                self.tell(&outcomes, now);
            }
        }

        fn gives_up(&mut self, now: u64) {
            let mut outcomes = Outcomes::default();
            outcomes.add_exhausted(None, now);
            if outcomes.changes(&self.breaker) {
                self.tell(&outcomes, now);
            }
        }

        fn tell(&mut self, outcomes: &Outcomes, now: u64) {
            self.breaker = self.breaker.clone().after(outcomes, now, 0.5);
            let due = self.breaker.notices().due(now, Duration::ZERO).to_vec();
            self.breaker = self.breaker.clone().without_notices(&due);
            self.heard.extend(due);
        }

        fn kinds(&self) -> Vec<NoticeKind> {
            self.heard.iter().map(|notice| notice.kind).collect()
        }
    }

    use NoticeKind::{Exhausted, Failing, HalfOver, NearlyOver, Recovered};

    #[test]
    fn an_episode_has_each_of_its_notices_once() {
        let mut owner = Owner::default();
        owner.attempts(START, &[500; 9]);
        assert_eq!(owner.kinds(), [], "the breaker is closed");
        owner.attempts(START, &[500]);
        assert_eq!(owner.heard, [Notice { kind: Failing, since: START, at: START }]);
        for minute in (1..2 * 24 * 60).step_by(16) {
            owner.attempts(START + minute * MINUTE, &[500]);
        }
        assert_eq!(owner.kinds(), [Failing], "probes that fail are no news");
        owner.attempts(START + 2 * DAY + 12 * HOUR, &[500]);
        owner.attempts(START + 3 * DAY, &[500]);
        assert_eq!(owner.kinds(), [Failing, HalfOver]);
        owner.attempts(START + 4 * DAY + 12 * HOUR, &[500]);
        owner.attempts(START + 4 * DAY + 13 * HOUR, &[500]);
        assert_eq!(owner.kinds(), [Failing, HalfOver, NearlyOver]);
        owner.attempts(START + 4 * DAY + 20 * HOUR, &[204]);
        owner.attempts(START + 4 * DAY + 20 * HOUR, &[204]);
        assert_eq!(owner.kinds(), [Failing, HalfOver, NearlyOver, Recovered]);
        assert!(owner.heard.iter().all(|notice| notice.since == START), "of one episode");
    }

    #[test]
    fn an_endpoint_that_is_disabled_gets_no_more_notices_until_it_acknowledges() {
        let mut owner = Owner::default();
        for day in 0..6 {
            owner.attempts(START + day * DAY, &[500; 10]);
        }
        assert!(owner.breaker.should_disable(START + 5 * DAY));
        assert_eq!(owner.kinds(), [Failing, HalfOver], "and `deliver` says that it is disabled");
        owner.attempts(START + 5 * DAY + 2 * HOUR, &[500]);
        assert_eq!(owner.kinds(), [Failing, HalfOver]);
        owner.attempts(START + 5 * DAY + 4 * HOUR, &[204]);
        assert_eq!(owner.kinds(), [Failing, HalfOver], "not recovered: it is disabled");
        owner.attempts(START + 6 * DAY, &[500; 10]);
        assert_eq!(owner.kinds(), [Failing, HalfOver, Failing]);
    }

    #[test]
    fn a_warning_that_comes_late_is_the_last_one_only() {
        let mut owner = Owner::default();
        owner.attempts(START, &[500; 10]);
        owner.attempts(START + 4 * DAY + 18 * HOUR, &[500]);
        assert_eq!(owner.kinds(), [Failing, NearlyOver]);
    }

    #[test]
    fn deliveries_that_are_given_up_are_one_notice_until_the_endpoint_acknowledges() {
        let mut owner = Owner::default();
        owner.gives_up(START);
        owner.gives_up(START + 2 * HOUR);
        assert_eq!(owner.heard, [Notice { kind: Exhausted, since: START, at: START }]);
        owner.acknowledges(START + 3 * HOUR);
        owner.gives_up(START + 3 * HOUR);
        assert_eq!(owner.kinds(), [Exhausted, Exhausted]);
        owner.acknowledges(START + 3 * HOUR + MINUTE);
        owner.gives_up(START + 3 * HOUR + 2 * MINUTE);
        assert_eq!(owner.kinds(), [Exhausted, Exhausted], "within the hour");
    }

    #[test]
    fn an_operator_ends_an_episode_without_a_notice() {
        let mut owner = Owner::default();
        owner.attempts(START, &[500; 10]);
        owner.breaker = owner.breaker.clone().closed_by_operator(START + MINUTE);
        owner.attempts(START + MINUTE, &[204]);
        owner.attempts(START + 2 * MINUTE, &[500; 10]);
        assert_eq!(owner.kinds(), [Failing], "the limit stays");
        owner.attempts(START + 61 * MINUTE, &[500]);
        assert_eq!(owner.kinds(), [Failing, Failing]);
        assert_eq!(owner.heard[1].since, START + 2 * MINUTE);
    }

    #[test]
    fn a_notice_waits_in_the_breaker_until_it_is_sent() {
        let mut outcomes = Outcomes::default();
        (0..10).for_each(|_| outcomes.add(&judge_status(503, None), START));
        let breaker = Breaker::default().after(&outcomes, START, 0.5);
        let due = breaker.notices().due(START, Duration::ZERO);
        assert_eq!(due.len(), 1);
        assert_eq!(breaker.notices().due(START + 29_999, LEFT_ALONE), [], "the instance that found it sends it");
        assert_eq!(breaker.notices().due(START + 30_000, LEFT_ALONE), due);
        let last = breaker.notices().last_error().unwrap();
        assert_eq!((&*last.cause, &*last.text), ("status", "endpoint answered 503; answer 2xx to acknowledge"));
        assert_eq!(breaker.clone().without_notices(due).notices().due(START, Duration::ZERO), []);
    }

    #[test]
    fn a_notice_that_is_sent_again_has_the_same_id_and_no_other_has_it() {
        let endpoint = EndpointId::new(uuid::Uuid::from_u128(7));
        let kinds = [Exhausted, Failing, HalfOver, NearlyOver, Recovered];
        let ids: std::collections::HashSet<_> =
            kinds.map(|kind| Notice { kind, since: 1, at: 2 }.event_id(&endpoint)).into();
        assert_eq!(ids.len(), 5);
        let one = Notice { kind: Failing, since: START, at: 9 };
        assert_eq!(one.event_id(&endpoint), "failing-ep_00000000000000000000000000000007-8640000000");
        assert_eq!(Notice { at: 10, ..one }.event_id(&endpoint), one.event_id(&endpoint));
    }

    proptest! {
        /// Attempts of any outcome at any time, deliveries that are given up, and operators.
        #[test]
        fn notices_are_few_and_in_order(
            steps in prop::collection::vec(
                (0..40 * MINUTE, prop::collection::vec(prop::sample::select(vec![204, 500]), 0..12), 0..12_u8),
                0..120,
            )
        ) {
            let (mut owner, mut now) = (Owner::default(), START);
            let mut ended_by_operator = Vec::new();
            for (passed, statuses, other) in steps {
                now += passed;
                match other {
                    0 => {
                        owner.breaker = owner.breaker.clone().closed_by_operator(now);
                        ended_by_operator.push(now);
                    }
                    1 | 2 => owner.gives_up(now),
                    // Long outages, of which there are few in so short a time otherwise.
                    3 => { now += 12 * HOUR; owner.attempts(now, &[500; 10]); }
                    _ => owner.attempts(now, &statuses),
                }
                prop_assert!(serde_json::to_string(&owner.breaker).unwrap().len() < 1_000, "it stays small");
            }
            for (index, notice) in owner.heard.iter().enumerate() {
                let later = owner.heard[index..].iter().take_while(|other| other.at < notice.at + HOUR);
                prop_assert!(later.count() <= MOST_PER_HOUR, "{:?}", owner.heard);
            }
            let endpoint = EndpointId::new(uuid::Uuid::from_u128(7));
            let ids: std::collections::HashSet<_> =
                owner.heard.iter().map(|notice| notice.event_id(&endpoint)).collect();
            prop_assert_eq!(ids.len(), owner.heard.len(), "no notice twice");
            let mut open: Option<(u64, u8)> = None;
            for notice in &owner.heard {
                let rank = match notice.kind { Exhausted => continue, Failing => 0, HalfOver => 1, NearlyOver => 2, Recovered => 3 };
                if notice.kind == Failing {
                    open = Some((notice.since, 0));
                    continue;
                }
                let Some((since, last)) = open else { return Err(TestCaseError::fail(format!("{:?}", owner.heard))) };
                prop_assert!(since == notice.since && rank > last, "{:?}", owner.heard);
                open = if rank == 3 { None } else { Some((since, rank)) };
            }
        }
    }
}
