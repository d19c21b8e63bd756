//! Circuit breakers: stop deliveries to an endpoint that fails repeatedly, and decide when to try it again.
//!
//! While a breaker is *closed*, Signpost sends deliveries to the endpoint. If too many attempts fail, the breaker
//! *opens*. While it is open, Signpost parks deliveries and does not send them. When the open time ends, Signpost sends
//! one delivery as a *probe*. Its outcome closes the breaker, or opens it again for longer.
//!
//! If an endpoint does not answer at all, Signpost reacts before the first attempt times out. An attempt that waits too
//! long for an answer is *silent*. If many attempts are silent, the endpoint is *held*: Signpost sends nothing more
//! until one of them is acknowledged or all have ended.
//!
//! The breaker also has the notices to the endpoint's owner ([`crate::delivery::notices`]), and knows the endpoint's pace ([`crate::delivery::pace`]), because every sender reads and writes it anyway.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::delivery::LONGEST_ATTEMPT;
use crate::delivery::attempt::{AttemptError, AttemptResult};
use crate::delivery::hold::{HeldBecause, Hold};
use crate::delivery::notices::{Facts, LastError, Notice, Notices};
use crate::delivery::pace::{Pace, PaceChange};

/// The state of an endpoint's breaker, shared by all instances that send to it. Times are in milliseconds since the
/// Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Breaker {
    state: State,
    /// The start of the current open or held time. None while the breaker is closed.
    held_since: Option<u64>,
    /// The number of failures since the last acknowledgement.
    failures_in_a_row: u32,
    /// The time of the first of these failures.
    failing_since: Option<u64>,
    /// The number of days (UTC) on which these failures happened.
    failing_days: u32,
    /// The last of these days, counted since the Unix epoch.
    last_failing_day: u64,
    /// The time of the last failed probe since the last acknowledgement.
    probe_failed_at: Option<u64>,
    /// How often the breaker opened since it was last closed for a long time.
    openings: u32,
    closed_at: Option<u64>,
    tally: Tally,
    /// The number of silent attempts since the last acknowledgement.
    silences: u32,
    pace: Pace,
    notices: Notices,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum State {
    #[default]
    Closed,
    Held {
        until: u64,
    },
    Open {
        until: u64,
    },
    /// A probe is in progress. After `until`, it counts as lost.
    Probing {
        until: u64,
    },
}

/// The breaker's decision about a delivery that is ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Park the delivery.
    Park,
    /// Send the delivery if this instance is the first to record the probe ([`Breaker::probing`]). Park it otherwise.
    Probe,
    /// Send the delivery.
    Send,
}

/// The outcomes of attempts that an instance counted and has not shared yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    tally: Tally,
    has_acknowledgement: bool,
    /// Failures since the last acknowledgement, or all failures if there was none.
    failures_in_a_row: u32,
    failing_since: Option<u64>,
    /// Silent attempts since the last acknowledgement, or all if there was none.
    silences: u32,
    pace: PaceChange,
    /// The last failure.
    last_error: Option<LastError>,
    /// The time when a delivery was given up first.
    exhausted_at: Option<u64>,
}

/// Attempts and failures of the last minutes. Each minute occurs once, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally(Vec<Count>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    minute: u64,
    attempts: u32,
    failures: u32,
}

/// The number of failures in a row that opens a breaker.
const FAILURES_IN_A_ROW: u32 = 10;
/// The number of attempts within the window that opens a breaker if at least half of them failed.
const ATTEMPTS_IN_WINDOW: u32 = 20;
/// The length of the window, including the current minute.
const WINDOW_MINUTES: u64 = 5;
/// The number of silent attempts after which Signpost holds an endpoint.
const SILENCES: u32 = 10;
/// How long a hold lasts. Every silent attempt ends within this time, because an attempt takes at most 30 s.
const HELD: Duration = Duration::from_secs(35);
/// An attempt is silent after this time without an answer, or after twice the recent time of an acknowledgement if that
/// is longer.
pub const SILENT_AFTER: Duration = Duration::from_secs(2);
/// How long a breaker is open the first time. Each time it opens again, this time doubles, up to [`LONGEST_OPEN`].
const FIRST_OPEN: Duration = Duration::from_secs(30);
/// The longest time that a breaker is open. After a closed time of this length, the open time starts at 30 s again.
pub const LONGEST_OPEN: Duration = Duration::from_mins(15);
/// The random part of the open time. Without it, Signpost would probe all endpoints that failed together at the same
/// time.
const JITTER: f64 = 0.2;
/// Signpost disables an endpoint that only failed for this time, if the next three limits are reached too.
pub const HOPELESS_AFTER: Duration = Duration::from_hours(5 * 24);
/// The minimum number of failures for this.
const HOPELESS_FAILURES: u32 = 10;
/// The minimum number of days with failures, because two failures with days without attempts between them prove
/// nothing.
const HOPELESS_DAYS: u32 = 3;
/// A probe must have failed within this time, so that the endpoint gets a last chance.
const HOPELESS_PROBE: Duration = Duration::from_hours(24);
/// The number of parked deliveries that an endpoint gets in the first minute after its breaker closed. The number
/// doubles each minute, up to [`FULL_PACE`].
const FIRST_PACE: usize = 600;
/// The maximum number per minute: a hundred per second.
const FULL_PACE: usize = 6_000;

impl Breaker {
    /// Returns a breaker that closed at this time.
    #[must_use]
    pub fn closed_at(unix_ms: u64) -> Self {
        Self { closed_at: Some(unix_ms), ..Self::default() }
    }

    /// Returns the breaker after an operator enabled the endpoint. Only the limits of notices, and those that wait, stay.
    #[must_use]
    pub fn closed_by_operator(self, now_unix_ms: u64) -> Self {
        Self { notices: self.notices.closed_by_operator(), ..Self::closed_at(now_unix_ms) }
    }

    /// Returns the notices to the endpoint's owner.
    #[must_use]
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Returns the breaker after notices were sent.
    #[must_use]
    pub fn without_notices(mut self, sent: &[Notice]) -> Self {
        self.notices.remove(sent);
        self
    }

    /// Decides what happens to a delivery that is ready now.
    #[must_use]
    pub fn admits(&self, now_unix_ms: u64) -> Admission {
        match self.state {
            State::Held { until } | State::Open { until } | State::Probing { until } if now_unix_ms < until => {
                Admission::Park
            }
            State::Closed | State::Held { .. } => Admission::Send,
            State::Open { .. } | State::Probing { .. } => Admission::Probe,
        }
    }

    /// Returns the breaker while a probe is in progress. Only the instance that stores this state first may send the
    /// probe.
    #[must_use]
    pub fn probing(self, now_unix_ms: u64) -> Self {
        Self { state: State::Probing { until: now_unix_ms + millis(LONGEST_ATTEMPT) }, ..self }
    }

    /// Returns whether the endpoint has proved that it answers quickly ([`Pace::is_quick`]).
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.pace.is_quick()
    }

    /// Returns whether acknowledgements do not change the breaker.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.state == State::Closed && self.failures_in_a_row == 0 && self.silences == 0
    }

    /// Returns the breaker after some attempts. `random` is a number from 0 up to 1. It makes the open time up to a
    /// fifth shorter or longer.
    #[must_use]
    pub fn after(mut self, outcomes: &Outcomes, now_unix_ms: u64, random: f64) -> Self {
        self.tally.add_all(&outcomes.tally, now_unix_ms);
        if outcomes.has_acknowledgement {
            self.failures_in_a_row = 0;
            self.failing_since = None;
            self.failing_days = 0;
            self.probe_failed_at = None;
            self.silences = 0;
        }
        let day = now_unix_ms / DAY_MS;
        if outcomes.failures_in_a_row > 0 && (self.failing_days == 0 || self.last_failing_day != day) {
            (self.failing_days, self.last_failing_day) = (self.failing_days.saturating_add(1), day);
        }
        if matches!(self.state, State::Held { until } if now_unix_ms >= until) {
            (self.state, self.silences, self.held_since) = (State::Closed, 0, None);
        }
        self.silences = self.silences.saturating_add(outcomes.silences);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(outcomes.failures_in_a_row);
        self.failing_since = self.failing_since.or(outcomes.failing_since);
        self.pace = self.pace.after(outcomes.pace);
        let changed = self.changed(outcomes, now_unix_ms, random);
        let held_since = match changed.state {
            State::Closed => None,
            State::Held { .. } | State::Open { .. } | State::Probing { .. } => changed.held_since.or(Some(now_unix_ms)),
        };
        Self { held_since, ..changed }.noticed(outcomes, now_unix_ms)
    }

    /// Returns the breaker with the notices that are due after its change.
    fn noticed(mut self, outcomes: &Outcomes, now_unix_ms: u64) -> Self {
        let is_open = matches!(self.state, State::Open { .. } | State::Probing { .. });
        let facts = Facts {
            open_since: self.failing_since.or(self.held_since).filter(|_| is_open),
            failing_since: self.failing_since,
            is_closed: self.state == State::Closed,
            is_acknowledged: outcomes.has_acknowledgement,
            is_hopeless: self.should_disable(now_unix_ms),
            exhausted_at: outcomes.exhausted_at,
            last_error: outcomes.last_error.clone(),
        };
        self.notices = self.notices.after(facts, now_unix_ms);
        self
    }

    /// Returns the breaker after outcomes that are already counted.
    fn changed(self, outcomes: &Outcomes, now_unix_ms: u64, random: f64) -> Self {
        match self.state {
            State::Closed | State::Held { .. } if self.has_too_many_failures() => {
                let was_well = self.closed_at.is_none_or(|at| now_unix_ms >= at + millis(LONGEST_OPEN));
                let openings = if was_well { 0 } else { self.openings };
                Self { openings, ..self }.opened(now_unix_ms, random)
            }
            State::Probing { .. } if outcomes.has_acknowledgement => {
                let (state, tally) = (State::Closed, Tally::default());
                Self { state, tally, closed_at: Some(now_unix_ms), ..self }
            }
            State::Probing { .. } if outcomes.failures_in_a_row > 0 => {
                Self { probe_failed_at: Some(now_unix_ms), ..self }.opened(now_unix_ms, random)
            }
            State::Held { .. } if outcomes.has_acknowledgement => Self { state: State::Closed, ..self },
            State::Closed if self.silences >= SILENCES => {
                Self { state: State::Held { until: now_unix_ms + millis(HELD) }, ..self }
            }
            // Attempts from before the breaker opened do not show what a probe would find.
            State::Closed | State::Held { .. } | State::Open { .. } | State::Probing { .. } => self,
        }
    }

    /// Returns why Signpost sends nothing now, or none. The hold continues while a probe is due or in progress, and
    /// ends if the probe succeeds.
    #[must_use]
    pub fn hold(&self, now_unix_ms: u64) -> Option<Hold> {
        let (because, until) = match self.state {
            State::Held { until } if now_unix_ms < until => (HeldBecause::Silent, until),
            State::Closed | State::Held { .. } => return None,
            State::Open { until } | State::Probing { until } => (HeldBecause::Failing, until),
        };
        // Breakers stored before `held_since` existed have only this time.
        let since_unix_ms = self.held_since.or(self.failing_since);
        Some(Hold { because, since_unix_ms, next_probe_unix_ms: Some(until.max(now_unix_ms)) })
    }

    /// Returns until when the breaker is open. Only an operator closes it before that time. Returns none if it is closed,
    /// or if an acknowledgement could close it at any time.
    #[must_use]
    pub fn open_until(&self) -> Option<u64> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::Held { .. } | State::Probing { .. } => None,
        }
    }

    /// Returns whether the endpoint only failed for [`HOPELESS_AFTER`], often and on several days, and a probe failed
    /// within the last day.
    #[must_use]
    pub fn should_disable(&self, now_unix_ms: u64) -> bool {
        self.failing_since.is_some_and(|since| now_unix_ms >= since + millis(HOPELESS_AFTER))
            && self.failures_in_a_row >= HOPELESS_FAILURES
            && self.failing_days >= HOPELESS_DAYS
            && self.probe_failed_at.is_some_and(|at| now_unix_ms < at + millis(HOPELESS_PROBE))
    }

    /// Returns whether the endpoint gets parked deliveries as fast as any does ([`Self::drain_rate`]).
    #[must_use]
    pub fn is_at_full_pace(&self, now_unix_ms: u64) -> bool {
        self.drain_rate(now_unix_ms) == FULL_PACE
    }

    /// Returns the start of the current series of failures.
    #[must_use]
    pub fn failing_since(&self) -> Option<u64> {
        self.failing_since
    }

    /// Returns how many parked deliveries an endpoint with a closed breaker gets per minute. There are few at first,
    /// because the endpoint may have just recovered.
    #[must_use]
    pub fn drain_rate(&self, now_unix_ms: u64) -> usize {
        let Some(closed_at) = self.closed_at else { return FULL_PACE };
        let minutes = now_unix_ms.saturating_sub(closed_at) / 60_000;
        u32::try_from(minutes)
            .ok()
            .and_then(|minutes| FIRST_PACE.checked_shl(minutes))
            .unwrap_or(FULL_PACE)
            .min(FULL_PACE)
    }

    fn has_too_many_failures(&self) -> bool {
        let (attempts, failures) = self.tally.sums();
        self.failures_in_a_row >= FAILURES_IN_A_ROW
            || (attempts >= ATTEMPTS_IN_WINDOW && failures >= attempts.div_ceil(2))
    }

    fn opened(self, now_unix_ms: u64, random: f64) -> Self {
        let doubled = FIRST_OPEN.saturating_mul(1_u32.checked_shl(self.openings).unwrap_or(u32::MAX)).min(LONGEST_OPEN);
        let open = doubled.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0)).min(LONGEST_OPEN);
        let openings = self.openings.saturating_add(1);
        let (state, tally) = (State::Open { until: now_unix_ms + millis(open) }, Tally::default());
        Self { state, openings, tally, silences: 0, ..self }
    }
}

impl Outcomes {
    /// Counts an attempt. It does not count if it says nothing about the endpoint: if the payload was at fault, or the
    /// receiver opted out.
    pub fn add(&mut self, result: &AttemptResult, now_unix_ms: u64) {
        match result {
            Ok(_) => {
                self.tally.add(now_unix_ms, 0);
                let (tally, last_error) = (std::mem::take(&mut self.tally), self.last_error.take());
                let (pace, exhausted_at) = (self.pace, self.exhausted_at);
                *self = Self { tally, pace, last_error, exhausted_at, has_acknowledgement: true, ..Self::default() };
            }
            Err(
                AttemptError::MessageTooLarge { .. }
                | AttemptError::UrlTooLong { .. }
                | AttemptError::Rejected { status: 410, .. },
            ) => {}
            Err(error) => {
                self.last_error = Some(LastError::of(error));
                self.tally.add(now_unix_ms, 1);
                self.failures_in_a_row += 1;
                self.failing_since.get_or_insert(now_unix_ms);
            }
        }
    }

    /// Counts an attempt that is still in progress and has waited long for an answer.
    pub fn add_silence(&mut self) {
        self.silences += 1;
    }

    /// Counts a delivery that was given up, with the error of its last attempt if that is known.
    pub fn add_exhausted(&mut self, error: Option<&AttemptError>, now_unix_ms: u64) {
        self.last_error = error.map(LastError::of).or(self.last_error.take());
        self.exhausted_at.get_or_insert(now_unix_ms);
    }

    /// Notes that an attempt is still in progress after [`SILENT_AFTER`].
    pub fn add_slow(&mut self) {
        self.pace.add_slow();
    }

    /// Notes how long an attempt took, with any outcome.
    pub fn add_duration(&mut self, took: Duration) {
        self.pace.add(took);
    }

    /// Forgets silent attempts and quick ones that do not change the breaker, and deliveries of which the owner need not
    /// hear. All counts start again.
    pub fn forget_unneeded(&mut self) {
        (self.silences, self.pace, self.exhausted_at) = (0, PaceChange::default(), None);
    }

    /// Adds outcomes that were counted before these.
    pub fn merge_earlier(&mut self, mut earlier: Self, now_unix_ms: u64) {
        earlier.tally.add_all(&self.tally, now_unix_ms);
        self.pace = earlier.pace.then(self.pace);
        self.last_error = self.last_error.take().or(earlier.last_error.take());
        self.exhausted_at = earlier.exhausted_at.or(self.exhausted_at);
        if self.has_acknowledgement {
            self.tally = earlier.tally;
        } else {
            let failures_in_a_row = earlier.failures_in_a_row + self.failures_in_a_row;
            let failing_since = earlier.failing_since.or(self.failing_since);
            let (silences, pace) = (earlier.silences + self.silences, self.pace);
            let (last_error, exhausted_at) = (self.last_error.take(), self.exhausted_at);
            *self = Self { failures_in_a_row, failing_since, silences, pace, last_error, exhausted_at, ..earlier };
        }
    }

    /// Returns whether these outcomes change the breaker. A healthy endpoint costs no write, because its
    /// acknowledgements stay in memory until there is a failure to record.
    #[must_use]
    pub fn changes(&self, breaker: &Breaker) -> bool {
        self.failures_in_a_row > 0
            || (self.has_acknowledgement && !breaker.is_healthy())
            || (self.silences > 0 && breaker.state == State::Closed)
            || self.exhausted_at.is_some_and(|at| breaker.notices.wants_exhaustion(at))
            || (self.has_acknowledgement && breaker.notices.is_exhaustion_told())
            || breaker.pace.after(self.pace) != breaker.pace
    }
}

impl Tally {
    fn add(&mut self, now_unix_ms: u64, failures: u32) {
        let minute = now_unix_ms / 60_000;
        self.add_all(&Self(vec![Count { minute, attempts: 1, failures }]), now_unix_ms);
    }

    /// Adds the minutes of another tally, and forgets those that are older than the window.
    fn add_all(&mut self, other: &Self, now_unix_ms: u64) {
        for added in &other.0 {
            match self.0.iter_mut().find(|minute| minute.minute == added.minute) {
                Some(minute) => {
                    minute.attempts = minute.attempts.saturating_add(added.attempts);
                    minute.failures = minute.failures.saturating_add(added.failures);
                }
                None => self.0.push(*added),
            }
        }
        self.0.retain(|minute| minute.minute + WINDOW_MINUTES > now_unix_ms / 60_000);
    }

    fn sums(&self) -> (u32, u32) {
        self.0.iter().fold((0, 0), |(attempts, failures), minute| {
            (minute.attempts.saturating_add(attempts), minute.failures.saturating_add(failures))
        })
    }
}

const DAY_MS: u64 = 24 * 3_600_000;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::attempt::judge_status;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    fn outcomes(statuses: &[u16], now: u64) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for status in statuses {
            outcomes.add(&judge_status(*status, None), now);
        }
        outcomes
    }

    fn after(breaker: Breaker, statuses: &[u16], now: u64) -> Breaker {
        breaker.after(&outcomes(statuses, now), now, 0.5)
    }

    fn silent(breaker: Breaker, count: u32, now: u64) -> Breaker {
        let mut outcomes = Outcomes::default();
        (0..count).for_each(|_| outcomes.add_silence());
        breaker.after(&outcomes, now, 0.5)
    }

    #[test]
    fn a_hold_begins_when_the_breaker_opens_and_ends_when_it_closes() {
        let seen = |breaker: &Breaker, now| {
            breaker.hold(now).map(|hold| (hold.because.as_str(), hold.since_unix_ms, hold.next_probe_unix_ms))
        };
        assert_eq!(seen(&after(Breaker::default(), &[500; 9], HOUR), HOUR), None);

        let opened = after(Breaker::default(), &[500; 10], HOUR);
        let probe = HOUR + 30_000;
        assert_eq!(seen(&opened, HOUR), Some(("failing", Some(HOUR), Some(probe))));
        assert_eq!(seen(&opened, probe + 5), Some(("failing", Some(HOUR), Some(probe + 5))), "the probe is due");
        let probing = opened.probing(probe);
        assert_eq!(seen(&probing, probe), Some(("failing", Some(HOUR), Some(probe + millis(LONGEST_ATTEMPT)))));
        let again = after(probing.clone(), &[500], probe + 1);
        assert_eq!(
            seen(&again, probe + 1),
            Some(("failing", Some(HOUR), Some(probe + 60_001))),
            "since it opened first"
        );
        let closed = after(probing, &[204], probe + 1);
        assert_eq!(seen(&closed, probe + 1), None);
        let later = after(closed, &[500; 10], 2 * HOUR);
        assert_eq!(seen(&later, 2 * HOUR), Some(("failing", Some(2 * HOUR), Some(2 * HOUR + 30_000))), "another hold");

        let held = silent(Breaker::default(), 10, HOUR);
        assert_eq!(seen(&held, HOUR), Some(("silent", Some(HOUR), Some(HOUR + 35_000))));
        assert_eq!(seen(&held, HOUR + 35_000), None, "deliveries are sent again");
        let failing = after(held.clone(), &[500; 10], HOUR + 10_000);
        assert_eq!(
            seen(&failing, HOUR + 10_000),
            Some(("failing", Some(HOUR), Some(HOUR + 40_000))),
            "since the silent attempts"
        );
        let again = after(held, &[500; 10], HOUR + 36_000);
        assert_eq!(seen(&again, HOUR + 36_000), Some(("failing", Some(HOUR + 36_000), Some(HOUR + 66_000))));
    }

    #[test]
    fn many_silent_attempts_hold_an_endpoint_until_one_is_acknowledged_or_they_have_failed() {
        assert_eq!(silent(Breaker::default(), 9, HOUR).admits(HOUR), Admission::Send);
        let held = silent(silent(Breaker::default(), 9, HOUR), 1, HOUR);
        assert_eq!(held.admits(HOUR), Admission::Park);
        let cases: [(&[u16], Admission, &str); 4] = [
            (&[204], Admission::Send, "slow, but healthy"),
            (&[500; 9], Admission::Park, "others are still silent"),
            (&[500; 10], Admission::Park, "open"),
            (&[500, 204], Admission::Send, "one of them is enough"),
        ];
        for (statuses, expected, why) in cases {
            assert_eq!(after(held.clone(), statuses, HOUR).admits(HOUR), expected, "{why}");
        }
        let (over, opened) = (HOUR + 35_000, after(held.clone(), &[500; 10], HOUR + 10_000));
        assert_eq!(held.admits(over), Admission::Send, "no answer, and no attempt in progress any more");
        assert_eq!(opened.admits(over + 5_000), Admission::Probe);
        assert_eq!(silent(held.clone(), 9, over).admits(over), Admission::Send, "counted from zero again");
        let between = after(silent(Breaker::default(), 9, HOUR), &[204], HOUR);
        assert_eq!(silent(between, 9, HOUR).admits(HOUR), Admission::Send, "an acknowledgement between");
        let mut silence = Outcomes::default();
        silence.add_silence();
        assert!(silence.changes(&Breaker::default()) && !silence.changes(&held) && !silence.changes(&opened));
        assert!(outcomes(&[204], HOUR).changes(&silent(Breaker::default(), 1, HOUR)));
    }

    fn open(now: u64) -> Breaker {
        after(Breaker::default(), &[500; 10], now)
    }

    #[test]
    fn failures_in_a_row_or_half_of_many_open_it() {
        let half: Vec<u16> = [500, 204].repeat(10);
        let few: Vec<u16> = [500, 204].repeat(9);
        let less: Vec<u16> = [500, 204, 204].repeat(10);
        let cases = [
            (vec![500; 9], Admission::Send, "nine in a row"),
            (vec![500; 10], Admission::Park, "ten in a row"),
            ([vec![500; 9], vec![204], vec![500; 9]].concat(), Admission::Send, "an acknowledgement between: 18 of 19"),
            ([vec![500; 9], vec![204; 2], vec![500; 9]].concat(), Admission::Park, "18 of 20"),
            (half, Admission::Park, "ten of twenty"),
            (few, Admission::Send, "half, but of eighteen"),
            (less, Admission::Send, "a third"),
            (vec![410; 30], Admission::Send, "a receiver that opted out is not broken"),
        ];
        for (statuses, expected, why) in cases {
            assert_eq!(after(Breaker::default(), &statuses, HOUR).admits(HOUR), expected, "{why}, recorded together");
            let one_by_one = statuses.iter().fold(Breaker::default(), |breaker, one| after(breaker, &[*one], HOUR));
            assert_eq!(one_by_one.admits(HOUR), expected, "{why}, recorded one by one");
        }
    }

    #[test]
    fn only_the_last_five_minutes_count() {
        let before = after(Breaker::default(), &[500, 204].repeat(9), HOUR);
        let soon = after(before.clone(), &[500, 204], HOUR + 4 * MINUTE);
        assert_eq!(soon.admits(HOUR + 4 * MINUTE), Admission::Park);
        let late = after(before, &[500, 204], HOUR + 5 * MINUTE);
        assert_eq!(late.admits(HOUR + 5 * MINUTE), Admission::Send);
    }

    #[test]
    fn one_probe_decides_and_open_times_grow() {
        let mut breaker = open(0);
        let mut now = 0;
        for seconds in [30, 60, 120, 240, 480, 900, 900] {
            assert_eq!(breaker.admits(now + seconds * 1_000 - 1), Admission::Park, "{seconds}");
            now += seconds * 1_000;
            assert_eq!(breaker.admits(now), Admission::Probe, "{seconds}");
            breaker = breaker.probing(now);
            assert_eq!(breaker.admits(now), Admission::Park, "one probe at a time");
            breaker = after(breaker, &[500], now);
        }
        let probing = breaker.clone().probing(now);
        assert_eq!(probing.admits(now + millis(LONGEST_ATTEMPT)), Admission::Probe, "the probing instance died");
        let closed = after(probing, &[204], now);
        assert_eq!(closed.admits(now), Admission::Send);
        assert!(closed.is_healthy());

        let soon = after(closed.clone(), &[500; 10], now + MINUTE);
        assert_eq!(soon.admits(now + MINUTE + 899_999), Admission::Park, "it was closed only briefly");
        let later = after(closed, &[500; 10], now + 15 * MINUTE);
        assert_eq!(later.admits(now + 15 * MINUTE + 30_000), Admission::Probe, "it was healthy");
    }

    #[test]
    fn attempts_from_before_a_breaker_opened_do_not_close_it() {
        let late = after(open(0), &[204, 204], 1_000);
        assert_eq!(late.admits(1_000), Admission::Park);
        assert_eq!(late.failing_since(), None, "but it resets the count of failures");
        assert_eq!(after(open(0), &[500; 10], 1_000).openings, 1, "and does not open it again");
    }

    #[test]
    fn a_healthy_endpoint_has_no_news() {
        let well = Breaker::default();
        assert!(!Outcomes::default().changes(&well));
        assert!(!outcomes(&[204; 50], 0).changes(&well), "acknowledgements need no write");
        assert!(outcomes(&[204, 500], 0).changes(&well));
        let troubled = after(well, &[500], 0);
        assert!(outcomes(&[204], 0).changes(&troubled));
        assert!(!outcomes(&[204], 0).changes(&after(troubled, &[204], 0)), "told once");
        assert!(!outcomes(&[410], 0).changes(&open(0)));
    }

    #[test]
    fn five_days_of_failures_on_several_days_and_a_failed_probe_are_hopeless() {
        const DAY: u64 = 24 * HOUR;
        let failing = |days: &[(u64, usize)]| {
            let fail = |breaker, (at, count): &(u64, usize)| after(breaker, &vec![500; *count], 1_000 + at * DAY);
            days.iter().fold(Breaker::default(), fail)
        };
        let probed = |breaker: Breaker, at| after(breaker.probing(at), &[500], at);
        let last = 1_000 + 5 * DAY;
        let cases: [(&[(u64, usize)], _, _); 5] = [
            (&[(0, 1), (5, 1)], false, "two failures five days apart"),
            (&[(0, 10), (5, 10)], false, "two bad days"),
            (&[(0, 3), (2, 3), (5, 2)], false, "nine failures with the probe's"),
            (&[(0, 4), (2, 3), (5, 3)], true, "failures on three days"),
            (&[(1, 10), (2, 10), (3, 10), (4, 10), (5, 10)], false, "four days"),
        ];
        for (days, should_disable, why) in cases {
            assert!(!failing(days).should_disable(last), "{why}, and no probe yet");
            assert_eq!(probed(failing(days), last).should_disable(last), should_disable, "{why}");
        }
        let breaker = probed(failing(&[(0, 4), (2, 3), (5, 3)]), last);
        assert!(!breaker.should_disable(last - 1_001), "not before");
        assert!(
            breaker.should_disable(last + DAY - 1) && !breaker.should_disable(last + DAY),
            "the probe is a day old"
        );
        let breaker = after(breaker.probing(last), &[204], last);
        assert!(!breaker.should_disable(last));
        let breaker = after(breaker, &[500], last);
        assert_eq!(breaker.failing_since(), Some(last), "counted from here");
    }

    #[test]
    fn an_endpoint_that_is_just_back_gets_few() {
        let closed = Breaker::closed_at(HOUR);
        let paces = [0, 1, 2, 3, 4, 100].map(|minutes| closed.drain_rate(HOUR + minutes * MINUTE));
        assert_eq!(paces, [600, 1_200, 2_400, 4_800, 6_000, 6_000]);
        assert_eq!(closed.drain_rate(0), 600, "a clock that is behind");
        assert_eq!(Breaker::default().drain_rate(HOUR), 6_000, "its breaker never opened");
    }

    #[test]
    fn a_breaker_reads_back() {
        let trouble = after(Breaker::default(), &[204, 500], HOUR);
        for breaker in [Breaker::default(), trouble, open(HOUR), open(HOUR).probing(2 * HOUR), Breaker::closed_at(7)] {
            let json = serde_json::to_string(&breaker).unwrap();
            assert_eq!(serde_json::from_str::<Breaker>(&json).unwrap(), breaker, "{json}");
        }
        assert_eq!(serde_json::from_str::<Breaker>("{}").unwrap(), Breaker::default());
    }

    proptest! {
        #[test]
        fn outcomes_that_are_put_back_count_as_before(
            earlier in prop::collection::vec(prop::sample::select(vec![204, 500]), 0..8),
            later in prop::collection::vec(prop::sample::select(vec![204, 500]), 0..8)
        ) {
            let mut again = outcomes(&later, HOUR);
            again.merge_earlier(outcomes(&earlier, HOUR), HOUR);
            prop_assert_eq!(again, outcomes(&[earlier, later].concat(), HOUR));
        }

        #[test]
        fn an_open_breaker_lets_a_probe_through_within_a_quarter_of_an_hour(
            steps in prop::collection::vec((0..2 * HOUR, prop::collection::vec(prop::sample::select(vec![204, 500]), 0..15), 0.0..1.0_f64), 0..40)
        ) {
            let (mut breaker, mut now) = (Breaker::default(), HOUR);
            for (passed, statuses, random) in steps {
                now += passed;
                if breaker.admits(now) == Admission::Probe {
                    breaker = breaker.probing(now);
                }
                breaker = breaker.after(&outcomes(&statuses, now), now, random);
                prop_assert_ne!(breaker.admits(now + millis(LONGEST_OPEN)), Admission::Park);
                prop_assert!(serde_json::to_string(&breaker).unwrap().len() < 1_000, "it stays small");
            }
        }
    }
}
