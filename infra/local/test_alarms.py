"""Shows that each alarm of infra/alarms.yaml fires when it should, ends, and is silent otherwise.

Reads the template itself. Each metric of each alarm is fed alone with a fault, so that an expression that leaves one out is
noticed. AWS leaves two things open, and each test runs with both: how far CloudWatch looks back, and what FILL makes of a
series without points.
"""

import itertools
import re
import unittest
from typing import NamedTuple

import metric_math
from alarms import ALARM, INSUFFICIENT_DATA, OK, Alarm, Clock, state_of
from template import ROOT, read_functions, resolve

TEMPLATE = read_functions(ROOT / "infra/alarms.yaml")
KEY_LIFE = 1440 * 60
# A parameter is the name of a resource, and so the resource has its parameter's name here.
PARAMETERS = {name: name for name in TEMPLATE["Parameters"]} | {
    "AlarmTopicArn": "arn:topic", "KeySigningMinutes": "1440", "Metrics": "true",
}
RESOURCES = resolve(TEMPLATE, PARAMETERS)
ALARMS = {name: Alarm.parse(name, one["Properties"]) for name, one in RESOURCES.items()}
BY_SCHEDULE = ("SweepAlarm", "KeyRotationAlarm")

# The value of each metric in each minute of a healthy stack with traffic. Metrics that are missing here have no data then.
HEALTHY = {
    "ApproximateAgeOfOldestMessage": {"EventsQueue": 2, "OwnEventsQueue": 1, "DeliveriesQueue": 900, "SlowDeliveriesQueue": 900},
    "ApproximateNumberOfMessagesNotVisible": 5000,
    "ApproximateNumberOfMessagesVisible": 0,
    "NumberOfMessagesSent": 0,
    "Errors": 0,
    "Throttles": 0,
    "5xx": 0,
    "Count": 600,
    "MinutesBehind": 0,
    "EndpointsNotReached": 0,
    "SigningKeyAgeEdDSA": KEY_LIFE,
    "SigningKeyAgeES256": KEY_LIFE,
    "SigningKeyAgeRS256": KEY_LIFE / 2,
}


class Fault(NamedTuple):
    """The value of one metric of an alarm when something is wrong, and when the alarm fires and ends. Times are in minutes."""

    value: float
    lasts: int
    fires_within: int
    ends_within: int  # After the fault.


def lasting(value: float, fires_within: int = 6, ends_within: int = 15) -> Fault:
    return Fault(value, 30, fires_within, ends_within)


def once(value: float, fires_within: int = 5, ends_within: int = 90) -> Fault:
    """A single moment. The alarm stays on for a while, so that an operator is called once for many of them."""
    return Fault(value, 1, fires_within, ends_within)


# By alarm and the id of its metric.
FAULTS = {
    "EventsAgeAlarm": {"events": lasting(301), "own": lasting(301)},
    "DeliveriesAgeAlarm": {"only": lasting(1201)},
    "SlowDeliveriesAgeAlarm": {"only": lasting(1201)},
    "InFlightAlarm": {name: lasting(60_001, 2) for name in ("events", "own", "deliveries", "slow")},
    "LateSweepsAlarm": {"minutes": lasting(1, 11), "endpoints": lasting(1, 11)},
    "ExpiringDeliveriesAlarm": {"only": once(1, fires_within=60, ends_within=8 * 60)},
    "DeadLetterAlarm": {"sent": once(1), "kept": Fault(1, 30, 5, 90)},
    "RejectedAlarm": {"sent": once(1), "kept": Fault(1, 30, 5, 90)},
    "EndpointsDisabledAlarm": {"only": once(1)},
    "RefusedKeysAlarm": {name: once(1) for name in ("publicKeys", "rotateKeys", "deliver", "manage", "portal")},
    "FunctionErrorsAlarm": {
        name: lasting(1, 5) for name in ("ingest", "fanout", "deliver", "relay", "manage", "portal", "publicKeys")
    },
    "FunctionThrottlesAlarm": {
        name: lasting(1, 5)
        for name in ("ingest", "fanout", "deliver", "sweep", "relay", "manage", "portal", "publicKeys", "rotateKeys")
    },
    "FailingCallsAlarm": {name: lasting(1, 16, 45) for name in ("events", "deliveries")},
    # `requests` is what the errors are compared with: few requests, and as many errors in both hours.
    "ApiErrorsAlarm": {"errors": lasting(31, 6, 45)},
    "ReadThrottlesAlarm": {
        name: lasting(1, 5)
        for name in ("endpoints", "events", "parking", "keys", "endpointKeys", "tokenRequests", "audit", "portal")
    },
    "WriteThrottlesAlarm": {
        name: lasting(1, 5)
        for name in ("endpoints", "events", "parking", "keys", "endpointKeys", "tokenRequests", "audit", "portal")
    },
    "SweepAlarm": {"only": lasting(1)},
    "KeyRotationAlarm": {"only": lasting(1)},
    "SigningKeyAgeAlarm": {name: lasting(KEY_LIFE + 16 * 60) for name in ("edDSA", "es256", "rs256")},
    "DroppedSchedulesAlarm": {"sweep": lasting(1), "rotateKeys": lasting(1)},
    "LoopAlarm": {"fanout": once(1), "deliver": once(1)},
}
WITNESSES = {"ApiErrorsAlarm": {"requests"}}  # Metrics that no fault shows in alone.


def clocks(alarm: Alarm):
    for more_points, fills_empty in itertools.product((0, 2, 5), (False, True)):
        yield Clock(alarm, more_points, fills_empty)


def healthy(alarm: Alarm) -> dict[str, list[float]]:
    values = {}
    for one in alarm.queries:
        value = HEALTHY.get(one.metric.name)
        if isinstance(value, dict):
            value = value[dict(one.metric.dimensions)["QueueName"]]
        if value is not None:
            values[one.id] = [value]
    return values


def pass_time(clock: Clock, minutes: int, values: dict[str, list[float]]) -> list[str]:
    return [clock.pass_minute(values) for _ in range(minutes)]


class EachAlarm(unittest.TestCase):
    def test_has_a_fault_for_each_of_its_metrics(self):
        self.assertEqual(FAULTS.keys(), ALARMS.keys())
        for name, alarm in ALARMS.items():
            fed = FAULTS[name].keys() | WITNESSES.get(name, set())
            self.assertEqual(fed, {one.id for one in alarm.queries}, name)

    def test_has_the_data_on_a_healthy_stack_that_the_list_of_metrics_says(self):
        rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\|[^|]*\| ([^|]+) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
        own = {one.metric.name for alarm in ALARMS.values() for one in alarm.queries if one.metric.namespace == "Signpost"}
        always = {name for name, written in rows if written == "each run"}
        self.assertEqual(own & always, own & HEALTHY.keys())

    def test_is_silent_on_a_fresh_stack_without_traffic(self):
        for name, alarm in ALARMS.items():
            for clock in clocks(alarm):
                states = set(pass_time(clock, 6 * 60, {}))
                self.assertEqual(states & {ALARM}, set(), f"{name}, {clock}")

    def test_is_silent_on_a_healthy_stack(self):
        for name, alarm in ALARMS.items():
            for clock in clocks(alarm):
                states = set(pass_time(clock, 3 * 60, healthy(alarm)))
                self.assertEqual(states & {ALARM}, set(), f"{name}, {clock}")
                self.assertEqual(clock.state, OK, f"{name}, {clock}")

    def test_is_silent_when_the_traffic_starts_and_ends(self):
        for name, alarm in ALARMS.items():
            for clock in clocks(alarm):
                states = pass_time(clock, 60, {}) + pass_time(clock, 90, healthy(alarm)) + pass_time(clock, 3 * 60, {})
                self.assertEqual(set(states) & {ALARM}, set(), f"{name}, {clock}")

    def test_fires_for_a_fault_of_each_metric_and_ends_when_it_ends(self):
        for name, id, clock in self.faults():
            with self.subTest(alarm=name, metric=id, clock=(clock.more_points, clock.fills_empty)):
                self.check(clock, FAULTS[name][id], id, healthy(clock.alarm), OK)

    def test_ends_when_nothing_happens_any_more(self):
        """A stack whose traffic ends with the fault has no data that show that all is well."""
        for name, id, clock in self.faults():
            with self.subTest(alarm=name, metric=id, clock=(clock.more_points, clock.fills_empty)):
                self.check(clock, FAULTS[name][id], id, {}, INSUFFICIENT_DATA if name in BY_SCHEDULE else OK)

    def faults(self):
        for name, alarm in ALARMS.items():
            for id in FAULTS[name]:
                for clock in clocks(alarm):
                    yield name, id, clock

    def check(self, clock: Clock, fault: Fault, id: str, afterwards: dict[str, list[float]], end: str) -> None:
        good = healthy(clock.alarm)
        pass_time(clock, 120, good)
        self.assertEqual(clock.state, OK)
        states = pass_time(clock, fault.lasts, {**good, id: [fault.value]})
        states += pass_time(clock, fault.ends_within + 120, afterwards)
        self.assertIn(ALARM, states[: fault.fires_within])
        self.assertEqual(set(states[fault.lasts + fault.ends_within :]), {end})
        self.assertEqual(changes([OK, *states]), 2, "one call and one end")


def changes(states: list[str]) -> int:
    return sum(old != new for old, new in itertools.pairwise(states))


class ScheduledFunctions(unittest.TestCase):
    def test_tell_when_their_schedule_stops(self):
        for name in BY_SCHEDULE:
            properties = RESOURCES[name]["Properties"]
            self.assertEqual(properties["InsufficientDataActions"], ["arn:topic"], name)
            for clock in clocks(ALARMS[name]):
                pass_time(clock, 60, {"only": [0]})
                self.assertEqual(clock.state, OK)
                pass_time(clock, 15, {})
                self.assertEqual(clock.state, INSUFFICIENT_DATA, name)


class QueuesOfDeadLetters(unittest.TestCase):
    NAMES = ("DeadLetterAlarm", "RejectedAlarm")

    def test_report_the_first_message_in_an_empty_queue_that_a_redrive_policy_moved(self):
        for name in self.NAMES:
            for clock in clocks(ALARMS[name]):
                pass_time(clock, 90, {})
                self.assertIn(ALARM, pass_time(clock, 10, {"kept": [1]}), f"{name}, {clock}")

    def test_end_although_the_messages_stay(self):
        for name in self.NAMES:
            for clock in clocks(ALARMS[name]):
                pass_time(clock, 90, {})
                pass_time(clock, 2 * 60, {"kept": [1]})
                self.assertEqual(clock.state, OK, f"{name}, {clock}")

    def test_report_the_next_message_although_others_stay(self):
        for name in self.NAMES:
            for clock in clocks(ALARMS[name]):
                pass_time(clock, 3 * 60, {"kept": [7], "sent": [0]})
                self.assertEqual(clock.state, OK, f"{name}, {clock}")
                self.assertIn(ALARM, pass_time(clock, 5, {"kept": [8], "sent": [1]}), f"{name}, {clock}")

    def test_call_once_for_messages_that_come_every_half_hour(self):
        for name in self.NAMES:
            for clock in clocks(ALARMS[name]):
                pass_time(clock, 120, {"kept": [0], "sent": [0]})
                states = [clock.state]
                for count in range(1, 9):
                    states.append(clock.pass_minute({"kept": [count], "sent": [1]}))
                    states += pass_time(clock, 29, {"kept": [count], "sent": [0]})
                self.assertEqual(changes(states), 1, f"{name}, {clock}")

    def test_are_silent_when_an_operator_looks_at_messages_or_removes_them(self):
        for name in self.NAMES:
            for clock in clocks(ALARMS[name]):
                states = pass_time(clock, 3 * 60, {"kept": [9], "sent": [0]})[90:]
                states += pass_time(clock, 1, {"kept": [0], "sent": [0]})  # All are hidden for half a minute.
                states += pass_time(clock, 30, {"kept": [9], "sent": [0]})
                states += pass_time(clock, 90, {"kept": [2], "sent": [0]})
                self.assertEqual(set(states), {OK}, f"{name}, {clock}")


class SmallTroubles(unittest.TestCase):
    def test_call_nobody(self):
        troubles = {
            "a crash that is repeated": ("FunctionErrorsAlarm", {"deliver": [1]}, 2),
            "a burst of throttles": ("FunctionThrottlesAlarm", {"deliver": [400]}, 2),
            "a batch whose calls failed": ("FailingCallsAlarm", {"deliveries": [10]}, 5),
            "a browser that loaded a link ahead": ("ApiErrorsAlarm", {"errors": [4], "requests": [9]}, 1),
            "a few errors among many answers": ("ApiErrorsAlarm", {"errors": [4], "requests": [600]}, 30),
            "a short burst of throttled reads": ("ReadThrottlesAlarm", {"endpoints": [30]}, 2),
            "a short burst of throttled writes": ("WriteThrottlesAlarm", {"parking": [30]}, 2),
            "a sweep that failed": ("SweepAlarm", {"only": [1]}, 1),
            "a burst of due deliveries": ("LateSweepsAlarm", {"minutes": [3]}, 9),
            "a run that was dropped": ("DroppedSchedulesAlarm", {"sweep": [1]}, 1),
            "events that waited for a moment": ("EventsAgeAlarm", {"events": [400]}, 4),
        }
        for trouble, (name, values, minutes) in troubles.items():
            for clock in clocks(ALARMS[name]):
                good = healthy(clock.alarm)
                states = pass_time(clock, 60, good) + pass_time(clock, minutes, {**good, **values}) + pass_time(clock, 60, good)
                self.assertEqual(set(states) & {ALARM}, set(), f"{trouble}: {name}, {clock}")

    def test_a_key_in_the_last_minute_of_its_life_is_not_too_old(self):
        for clock in clocks(ALARMS["SigningKeyAgeAlarm"]):
            states = pass_time(clock, 60, {"rs256": [KEY_LIFE + 14 * 60]})
            self.assertEqual(set(states) & {ALARM}, set())


class TheTablesOfAws(unittest.TestCase):
    """The rows of "Configuring how CloudWatch alarms treat missing data": points, then the states for `missing`, `ignore`,
    `breaching` and `notBreaching`. `=` keeps the state."""

    ALL_OF_3 = (
        ("0 - X - X", OK, OK, OK, OK),
        ("0 - - - -", OK, OK, OK, OK),
        ("- - - - -", INSUFFICIENT_DATA, "=", ALARM, OK),
        ("0 X X - X", ALARM, ALARM, ALARM, ALARM),
        ("- - X - -", ALARM, "=", ALARM, OK),
    )
    TWO_OF_3 = (
        ("0 - X - X", ALARM, ALARM, ALARM, ALARM),
        ("0 0 X 0 X", ALARM, ALARM, ALARM, ALARM),
        ("0 - X - -", OK, OK, ALARM, OK),
        ("- - - - 0", OK, OK, ALARM, OK),
        ("- - - X -", ALARM, "=", ALARM, OK),
    )
    # "Avoiding premature transitions to alarm state": not at once, when the points are breaching but too new.
    NOT_YET = (("- - - - X",), ("- - - X -",))

    def test_hold(self):
        for rows, to_alarm in ((self.ALL_OF_3, 3), (self.TWO_OF_3, 2)):
            for points, *states in rows:
                for treatment, expected in zip(("missing", "ignore", "breaching", "notBreaching"), states):
                    for before in (OK, ALARM, INSUFFICIENT_DATA):
                        found = state_of(marks(points), 3, to_alarm, treatment, before)
                        self.assertEqual(found, before if expected == "=" else expected, f"{points}, {to_alarm}, {treatment}")

    def test_hold_for_points_that_are_too_new(self):
        for [points] in self.NOT_YET:
            self.assertNotEqual(state_of(marks(points), 3, 3, "missing", OK), ALARM)

    def test_alarms_on_dynamodb_ignore_missing_data(self):
        self.assertEqual(ALARMS["ReadThrottlesAlarm"].treat_missing_data, "ignore")


def marks(points: str) -> list[bool | None]:
    return [{"0": False, "X": True, "-": None}[point] for point in points.split()]


class MetricMath(unittest.TestCase):
    """The examples of "Using metric math", and what the alarms rely on."""

    def check(self, expression: str, expected: list, **metrics: list):
        self.assertEqual(metric_math.compute(expression, metrics, len(expected)), expected, expression)

    def test_compares_as_the_guide_says(self):
        metrics = {"metric1": [30, 20, 0, 0], "metric2": [20, None, 20, None]}
        self.check("metric1 < metric2", [0, 0, 1, 0], **metrics)
        self.check("metric1 >= 30", [1, 0, 0, 0], **metrics)
        self.check("metric1 > 15 AND metric2 > 15", [1, 0, 0, 0], **metrics)

    def test_chooses_as_the_guide_says(self):
        one = [1, 1, 0, 0, None]
        self.check("IF(a, b, c)", [30, 0, 20, None, None], a=one, b=[30, None, 0, 0, 30], c=[0, 0, 20, None, 20])
        self.check("IF(a, 5, c)", [5, 5, 20, None, None], a=one, c=[0, 0, 20, None, 20])
        self.check("IF(a, b, 5)", [30, 0, 5, 5, None], a=one, b=[30, None, 0, 0, 30])

    def test_takes_a_gap_as_zero_beside_another_series_only(self):
        self.check("a + b", [3, 2, 1, None], a=[1, None, 1, None], b=[2, 2, None, None])
        self.check("a / 2", [2, None], a=[4, None])
        self.check("a / b", [None, 2], a=[4, 4], b=[0, 2])

    def test_computes_in_the_usual_order(self):
        self.check("a + 2 * 3 - (a - 1)", [7, 7], a=[10, 20])
        self.check("-a + 100 * a / 4", [24], a=[1])

    def test_sums_fills_and_differs(self):
        self.check("SUM(METRICS())", [3, 1, None], a=[1, 1, None], b=[2, None, None])
        self.check("MAX([a, b])", [2, 1, None], a=[1, 1, None], b=[2, None, None])
        self.check("FILL(a, 0)", [0, 5], a=[None, 5])
        self.check("FILL(a, 0)", [None, None], a=[None, None])
        self.check("DIFF(a)", [None, 2, None, None], a=[1, 3, None, 4])
        self.check("TIME_SERIES(0) + SUM(METRICS())", [0, 0], a=[None, None])

    def test_refuses_expressions_that_an_alarm_cannot_watch(self):
        for expression in ("METRICS()", "MAX(a) + a", "SEARCH(a)", "a b", "unknown", "1 + 1", "SUM(METRICS()"):
            with self.assertRaises(metric_math.ExpressionError, msg=expression):
                metric_math.compute(expression, {"a": [1, 2]}, 2)


if __name__ == "__main__":
    unittest.main()
