//! The events that an endpoint chose, in the form in which `fanout` remembers them.

use std::borrow::Cow;
use std::ops::Range;

use crate::endpoint::filter::{Document, Filter, Matcher, Verdict};
use crate::endpoint::{EndpointId, NOTICE_TYPES, TypeFilter, VERIFICATION_TYPE};
use crate::event::RoutingFacts;
use crate::input::fault::Faults;

/// The types that an endpoint chose ([`crate::endpoint::Endpoint::types`]), and its filter, in little memory.
///
/// A type may have hundreds of names of one character each. As a [`String`], each takes 40 bytes or more; here it
/// takes its own bytes, and four for its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// All names, one after the other: of each filter its type, its statuses, and its stages.
    names: Box<str>,
    /// Where each name ends in `names`.
    ends: Box<[u32]>,
    /// How many statuses and stages each filter has.
    counts: Box<[[u32; 2]]>,
    filter: Option<Matcher>,
    /// Whether the endpoint asks for the numbers of events ([`crate::event::sequence`]).
    pub sequence: bool,
}

/// The decision whether an event goes to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The endpoint did not choose it.
    No,
    /// It would take too long to compare the event with the filter. The event goes there, so that the endpoint misses
    /// nothing.
    TooCostly,
    /// The endpoint chose it.
    Yes,
}

impl Choice {
    /// Returns whether the event goes to the endpoint.
    #[must_use]
    pub fn is_chosen(self) -> bool {
        self != Self::No
    }

    fn of(is_chosen: bool) -> Self {
        if is_chosen { Self::Yes } else { Self::No }
    }
}

impl Subscription {
    /// Parses types, and a filter, as the table stores them, in JSON. Returns `None` if one of them is invalid.
    #[must_use]
    pub fn parse(types: &str, filter: Option<&str>) -> Option<Self> {
        let filter = match filter {
            Some(filter) => Some(Filter::parse(filter).ok()?.into_matcher()),
            None => None,
        };
        let filters: Vec<TypeFilter> = serde_json::from_str(types).ok()?;
        let mut faults = Faults::default();
        for filter in &filters {
            filter.check("", &mut faults);
        }
        faults.none().ok()?;
        let (mut names, mut ends, mut counts) = (String::new(), Vec::new(), Vec::new());
        for TypeFilter { kind, statuses, stages } in &filters {
            for name in [kind].into_iter().chain(statuses).chain(stages) {
                names.push_str(name);
                ends.push(u32::try_from(names.len()).ok()?);
            }
            counts.push([u32::try_from(statuses.len()).ok()?, u32::try_from(stages.len()).ok()?]);
        }
        Some(Self { names: names.into(), ends: ends.into(), counts: counts.into(), filter, sequence: false })
    }

    /// Returns how many bytes of memory it takes, besides its own constant size.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let filter = self.filter.as_ref().map_or(0, Matcher::heap_bytes);
        self.names.len() + size_of_val(&*self.ends) + size_of_val(&*self.counts) + filter
    }

    /// Decides whether an event goes to the endpoint `id` with this `subscription`. Test events and verification events go
    /// to the endpoint in their subject, regardless of its filter. Notices go to the endpoints that list their type, and
    /// never to the endpoint in their subject, so that no notice causes another. Other events go to the endpoints that
    /// chose their type. In each case the filter decides too. If a subscription is unreadable, the event goes there, so that
    /// the endpoint misses nothing.
    #[must_use]
    pub fn is_for(
        document: &Document<'_>,
        facts: &RoutingFacts<'_>,
        id: &EndpointId,
        subscription: Option<&Self>,
    ) -> Choice {
        let event = document.event();
        let is_about_it = || event.subject.as_deref() == Some(id.as_str());
        match subscription {
            _ if event.is_test() || event.kind == VERIFICATION_TYPE => Choice::of(is_about_it()),
            None => Choice::of(!NOTICE_TYPES.contains(&&*event.kind)),
            Some(subscription) => {
                let is_type_chosen = if NOTICE_TYPES.contains(&&*event.kind) {
                    !is_about_it() && subscription.matches(facts)
                } else {
                    subscription.counts.is_empty() || subscription.matches(facts)
                };
                if is_type_chosen { subscription.filtered(document) } else { Choice::No }
            }
        }
    }

    /// Decides whether an event of a chosen type fits the filter.
    fn filtered(&self, document: &Document<'_>) -> Choice {
        match self.filter.as_ref().map(|filter| filter.judge(document)) {
            None | Some(Verdict::Matches) => Choice::Yes,
            Some(Verdict::Differs) => Choice::No,
            Some(Verdict::TooCostly) => Choice::TooCostly,
        }
    }

    /// Returns whether one of the types matches.
    fn matches(&self, event: &RoutingFacts<'_>) -> bool {
        let mut next = 0;
        self.counts.iter().any(|[statuses, stages]| {
            let kind = next;
            let statuses = kind + 1..kind + 1 + *statuses as usize;
            let stages = statuses.end..statuses.end + *stages as usize;
            next = stages.end;
            self.name(kind) == event.kind
                && self.is_among(statuses, event.status.as_ref())
                && self.is_among(stages, event.stage.as_ref())
        })
    }

    /// Returns whether `value` is one of these names, or any value is allowed.
    fn is_among(&self, mut names: Range<usize>, value: Option<&Cow<'_, str>>) -> bool {
        names.is_empty() || value.is_some_and(|value| names.any(|index| self.name(index) == value))
    }

    fn name(&self, index: usize) -> &str {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.names[begin as usize..self.ends[index] as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::endpoint::TEST_TYPE;
    use crate::event::{Event, OWN_SOURCE};

    fn endpoint(number: u128) -> EndpointId {
        EndpointId::new(Uuid::from_u128(number))
    }

    fn is_for(event: &Event, id: &EndpointId, subscription: Option<&Subscription>) -> bool {
        Subscription::is_for(&Document::of(event), &event.routing_facts(), id, subscription).is_chosen()
    }

    fn parsed(types: &str) -> Subscription {
        Subscription::parse(types, None).unwrap()
    }

    fn event(kind: &str, data: &str) -> Event {
        Event::parse_own(&format!(
            r#"{{"specversion":"1.0","id":"1","source":"/","type":"{kind}","tenant":"acme","data":{data}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn types_statuses_and_stages_decide_which_endpoints_get_an_event() {
        let approved = ("operation", r#"{"type":"OPERATION","operationId":"1","status":"APPROVED"}"#);
        let unsaid = ("operation", r#"{"type":"OPERATION","operationId":"1"}"#);
        let session = ("session", r#"{"sessionId":"1","stage":"Accounts","status":"Finished"}"#);
        let failed =
            ("token-request", r#"{"request-id":"1","request_id":"1","error":14,"message":"m","trace-id":"t"}"#);
        let transaction = ("transaction", r#"{"id":"1","status":"captured"}"#);
        let custom = ("invoice", r#"{"status":"paid"}"#);
        let cases = [
            ("[]", approved, true, "no filter"),
            (r#"[{"type":"operation"}]"#, approved, true, "the type"),
            (r#"[{"type":"session"}]"#, approved, false, "another type"),
            (r#"[{"type":"operation","statuses":["APPROVED"]}]"#, approved, true, "the status"),
            (r#"[{"type":"operation","statuses":["FAILED"]}]"#, approved, false, "another status"),
            (r#"[{"type":"operation","statuses":["APPROVED"]}]"#, unsaid, false, "no status to match"),
            (r#"[{"type":"operation"}]"#, unsaid, true, "no status required"),
            (r#"[{"type":"session","stages":["Accounts"]}]"#, session, true, "the stage"),
            (r#"[{"type":"session","stages":["Transactions"]}]"#, session, false, "another stage"),
            (r#"[{"type":"session","stages":["Accounts"],"statuses":["Failed"]}]"#, session, false, "stage and status"),
            (r#"[{"type":"token-request","statuses":["error"]}]"#, failed, true, "a status that is derived"),
            (r#"[{"type":"token-request","statuses":["completed"]}]"#, failed, false, "another that is derived"),
            (r#"[{"type":"transaction","statuses":["captured"]}]"#, transaction, true, "a status that came later"),
            (r#"[{"type":"invoice","statuses":["paid"]}]"#, custom, true, "a custom type"),
            (r#"[{"type":"invoice"},{"type":"session"}]"#, session, true, "one of several"),
        ];
        for (types, (kind, data), wanted, why) in cases {
            let (subscription, event) = (Subscription::parse(types, None).unwrap(), event(kind, data));
            assert_eq!(is_for(&event, &endpoint(1), Some(&subscription)), wanted, "{types}: {why}");
        }
    }

    #[test]
    fn test_and_verification_events_go_only_to_their_endpoint() {
        let [tried, other] = [1, 2].map(endpoint);
        let [trial, question] = [TEST_TYPE, VERIFICATION_TYPE].map(|kind| {
            let text = format!(
                r#"{{"specversion":"1.0","id":"1","source":"/","type":"{kind}","tenant":"acme","subject":"{tried}","data":{{}}}}"#
            );
            Event::parse_own(&text).unwrap()
        });
        let example = Event::parse_own(&format!(
            r#"{{"specversion":"1.0","id":"1","source":"{OWN_SOURCE}","type":"invoice","tenant":"acme","subject":"{tried}","data":{{}}}}"#
        ))
        .unwrap();
        let (all, operations) = (parsed("[]"), parsed(r#"[{"type":"operation"}]"#));
        let (custom, disabled) = (event("custom", "{}"), event("signpost.endpoint-disabled", "{}"));
        let about_other = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/","type":"signpost.endpoint-disabled","tenant":"acme","subject":"{other}","data":{{}}}}"#
        );
        let about_other = Event::parse_own(&about_other).unwrap();
        let named = parsed(r#"[{"type":"signpost.endpoint-disabled"}]"#);
        let cases = [
            (&trial, &tried, Some(&operations), true, "regardless of its types"),
            (&trial, &tried, None, true, "even if its filters are unreadable"),
            (&trial, &other, Some(&all), false, "nobody else"),
            (&trial, &other, None, false, "nobody else"),
            (&example, &tried, Some(&operations), true, "an example of another type"),
            (&example, &other, Some(&all), false, "nobody else, though it chose the type"),
            (&question, &tried, Some(&operations), true, "regardless of its types"),
            (&question, &other, Some(&all), false, "nobody else"),
            (&custom, &other, Some(&all), true, "chosen"),
            (&custom, &other, Some(&operations), false, "not chosen"),
            (&custom, &other, None, true, "it may have chosen them"),
            (&disabled, &other, Some(&all), false, "it does not name the type"),
            (&disabled, &other, Some(&named), true, "it names the type"),
            (&disabled, &other, None, false, "it may not name the type"),
            (&about_other, &tried, Some(&named), true, "it names the type"),
            (&about_other, &other, Some(&named), false, "a notice about itself"),
        ];
        for (event, id, subscription, expected, why) in cases {
            assert_eq!(is_for(event, id, subscription), expected, "{why}");
        }
    }

    #[test]
    fn every_notice_goes_only_to_endpoints_that_name_its_type() {
        for kind in NOTICE_TYPES {
            let (all, named) = (parsed("[]"), parsed(&format!(r#"[{{"type":"{kind}"}}]"#)));
            let notice = event(kind, "{}");
            assert!(
                !is_for(&notice, &endpoint(1), Some(&all)) && is_for(&notice, &endpoint(1), Some(&named)),
                "{kind}"
            );
        }
    }

    #[test]
    fn the_filter_decides_about_events_of_the_chosen_types() {
        let with = |types: &str, filter: &str| Subscription::parse(types, Some(filter)).unwrap();
        let large = with("[]", r#"{"data":{"total":[{"numeric":[">",100]}]}}"#);
        let approved = with(r#"[{"type":"invoice"}]"#, r#"{"data":{"status":["paid"]}}"#);
        let about = r#"[{"type":"signpost.endpoint-disabled"}]"#;
        let (notices, none) = (with(about, r#"{"subject":[{"exists":false}]}"#), with(about, r#"{"subject":["x"]}"#));
        let [small, big] = [r#"{"total":7}"#, r#"{"total":700.50}"#].map(|data| event("invoice", data));
        let (paid, other) = (event("invoice", r#"{"status":"paid"}"#), event("other", r#"{"status":"paid"}"#));
        let notice = event("signpost.endpoint-disabled", "{}");
        let trial = Event::parse_own(&format!(
            r#"{{"specversion":"1.0","id":"1","source":"/","type":"{TEST_TYPE}","tenant":"acme","subject":"{}","data":{{}}}}"#,
            endpoint(1)
        ))
        .unwrap();
        let long = event("invoice", &format!(r#"{{"total":[{}]}}"#, vec!["7"; 20_000].join(",")));
        let cases = [
            (&large, &big, Choice::Yes, "it fits"),
            (&large, &small, Choice::No, "it does not fit"),
            (&large, &paid, Choice::No, "the field is absent"),
            (&large, &trial, Choice::Yes, "a test goes to its endpoint"),
            (&large, &long, Choice::TooCostly, "more values than are compared"),
            (&approved, &paid, Choice::Yes, "type and content"),
            (&approved, &other, Choice::No, "another type"),
            (&approved, &big, Choice::No, "other content"),
            (&notices, &notice, Choice::Yes, "a notice that fits"),
            (&none, &notice, Choice::No, "a notice that does not fit"),
        ];
        for (subscription, event, expected, why) in cases {
            let facts = event.routing_facts();
            let choice = Subscription::is_for(&Document::of(event), &facts, &endpoint(1), Some(subscription));
            assert_eq!(choice, expected, "{why}");
        }
        assert_eq!(Subscription::parse("[]", Some("{}")), None, "a filter that names nothing");
    }

    #[test]
    fn invalid_filters_are_unreadable() {
        let cases = [
            ("{", "no JSON"),
            ("{}", "no list"),
            (r#"[{"kind":"operation"}]"#, "an unknown member"),
            (r#"[{"type":"operation","statuses":["approved"]}]"#, "a status that the type never has"),
        ];
        for (types, why) in cases {
            assert_eq!(Subscription::parse(types, None), None, "{why}");
        }
    }

    /// Filters of custom types, which may have any status and no stage.
    fn filters() -> impl Strategy<Value = Vec<TypeFilter>> {
        let name = || prop::sample::select(vec!["", "a", "b", "ab", "aa", "\u{e4}", "\u{0}"]);
        let statuses = prop::collection::vec(name().prop_map(str::to_owned), 0..4);
        let filter = (name(), statuses).prop_map(|(kind, statuses)| TypeFilter { statuses, ..TypeFilter::of(kind) });
        prop::collection::vec(filter, 0..5)
    }

    proptest! {
        #[test]
        fn the_compact_form_matches_as_the_filters_do(
            filters in filters(),
            kind in prop::sample::select(vec!["", "a", "b", "ab", "\u{e4}"]),
            status in prop::option::of(prop::sample::select(vec!["", "a", "b", "ba", "\u{0}"])),
        ) {
            let facts = RoutingFacts { kind, status: status.map(Cow::Borrowed), stage: None };
            let is_status = |filter: &TypeFilter| {
                filter.statuses.is_empty() || status.is_some_and(|status| filter.statuses.iter().any(|one| one == status))
            };
            let expected = filters.iter().any(|filter| filter.kind == kind && is_status(filter));
            let subscription = parsed(&serde_json::to_string(&filters).unwrap());
            prop_assert_eq!(subscription.matches(&facts), expected);
        }

        #[test]
        fn a_filter_takes_the_bytes_of_its_json(count in 1_usize..=100, is_nested in any::<bool>()) {
            let name = |index: usize| if is_nested { format!(r#""{index}":{{"a":[1]}}"#) } else { format!(r#""{index}":[1]"#) };
            let fields: Vec<_> = (0..count).map(name).collect();
            let filter = format!(r#"{{"data":{{{}}}}}"#, fields.join(","));
            prop_assert_eq!(Subscription::parse("[]", Some(&filter)).unwrap().heap_bytes(), filter.len());
        }

        #[test]
        fn the_compact_form_takes_at_most_three_times_the_bytes_of_its_json(filters in filters()) {
            let json = serde_json::to_string(&filters).unwrap();
            prop_assert!(parsed(&json).heap_bytes() <= 3 * json.len());
        }
    }
}
