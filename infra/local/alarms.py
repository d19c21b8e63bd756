"""Alarms of CloudWatch as AWS documents them: what a template's alarm watches, and its state after some data points.

No emulator of the local stack evaluates alarms by these rules: missing data, "M out of N" and metric math are left out.
The rules are those of "Configuring how CloudWatch alarms treat missing data" in the CloudWatch user guide, whose tables
test_alarms.py has as rows.
"""

import operator
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import metric_math

OK, ALARM, INSUFFICIENT_DATA = "OK", "ALARM", "INSUFFICIENT_DATA"
COMPARISONS = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
STATISTICS = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "Average": lambda values: sum(values) / len(values),
    "SampleCount": len,
}
MOST_METRICS = 10  # Of one expression of an alarm.


class Metric(NamedTuple):
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]


class Query(NamedTuple):
    id: str
    metric: Metric
    statistic: str


@dataclass(frozen=True)
class Alarm:
    """An alarm as a template declares it, all functions of CloudFormation resolved."""

    name: str
    queries: tuple[Query, ...]
    expression: str | None  # None: the only query.
    period: int
    evaluation_periods: int
    datapoints_to_alarm: int
    comparison: str
    threshold: float
    treat_missing_data: str

    @staticmethod
    def parse(name: str, properties: dict) -> "Alarm":
        if "Metrics" in properties:
            queries = [query(one["Id"], one["MetricStat"]) for one in properties["Metrics"] if "MetricStat" in one]
            expressions = [one["Expression"] for one in properties["Metrics"] if "Expression" in one]
            periods = {one["MetricStat"]["Period"] for one in properties["Metrics"] if "MetricStat" in one}
            returned = [one["Id"] for one in properties["Metrics"] if one.get("ReturnData", True)]
            if len(expressions) != 1 or len(periods) != 1 or len(returned) != 1 or len(queries) > MOST_METRICS:
                raise ValueError(f"{name}: expected one expression, one period and at most {MOST_METRICS} metrics")
            [expression], [period] = expressions, periods
        else:
            queries, expression = [query("only", {"Metric": properties, "Stat": properties["Statistic"]})], None
            period = properties["Period"]
        evaluation_periods = properties["EvaluationPeriods"]
        treatment = properties["TreatMissingData"]
        if any(one.metric.namespace == "AWS/DynamoDB" for one in queries):
            treatment = "ignore"  # The API reference: these alarms "always ignore missing data".
        return Alarm(
            name, tuple(queries), expression, period, evaluation_periods,
            properties.get("DatapointsToAlarm", evaluation_periods), properties["ComparisonOperator"],
            float(properties["Threshold"]), treatment,
        )

    def values(self, series: dict[str, list[float | None]], length: int, fills_empty: bool) -> list[float | None]:
        if self.expression is None:
            return series["only"]
        return metric_math.compute(self.expression, series, length, fills_empty)

    def state(self, points: list[float | None], before: str) -> str:
        """Returns the state after `points`, all of the evaluation range, oldest first; `before` is the state so far."""
        breaches = COMPARISONS[self.comparison]
        marks = [None if point is None else breaches(point, self.threshold) for point in points]
        return state_of(marks, self.evaluation_periods, self.datapoints_to_alarm, self.treat_missing_data, before)


def query(id: str, stat: dict) -> Query:
    metric = stat["Metric"]
    dimensions = tuple(sorted((one["Name"], one["Value"]) for one in metric.get("Dimensions", [])))
    return Query(id, Metric(metric["Namespace"], metric["MetricName"], dimensions), stat["Stat"])


def state_of(marks: list[bool | None], periods: int, to_alarm: int, treatment: str, before: str) -> str:
    """Returns the state for data points that breach (True), do not (False) or are missing (None), oldest first.

    `periods` is N and `to_alarm` is M of "M out of N". `marks` is the evaluation range, which is longer than N.
    """
    existing = [mark for mark in marks if mark is not None]
    breaching = sum(existing[-periods:])
    missing = max(0, periods - len(existing))
    if missing == 0:
        return ALARM if breaching >= to_alarm else OK
    if treatment == "breaching":
        return ALARM if breaching + missing >= to_alarm else OK
    if treatment == "notBreaching":
        return ALARM if breaching >= to_alarm else OK
    if existing and not all(existing):
        return ALARM if breaching >= to_alarm else OK
    if treatment == "ignore":
        return before
    # Nothing, or breaching points only. "Premature transitions": the oldest of them decides by its age.
    ages = [len(marks) - place for place, mark in enumerate(marks) if mark]
    return ALARM if ages and max(ages) >= to_alarm else INSUFFICIENT_DATA


@dataclass
class Clock:
    """One alarm over time. Each minute it may get values, and at the end of each period CloudWatch evaluates it."""

    alarm: Alarm
    more_points: int = 2  # How many data points CloudWatch retrieves beyond N. AWS does not say; in its example, 2.
    fills_empty: bool = False  # Whether FILL fills a series without a point. AWS does not say.
    state: str = INSUFFICIENT_DATA  # "The alarm has just started."
    minute: int = 0
    points: dict[str, deque] = field(init=False, repr=False)  # Of complete periods, by the ids of the metrics.
    values: dict[str, list[float]] = field(init=False, repr=False)  # Of the present period.

    def __post_init__(self):
        length = self.alarm.evaluation_periods + self.more_points
        self.points = {one.id: deque([None] * length, length) for one in self.alarm.queries}
        self.values = {one.id: [] for one in self.alarm.queries}

    def pass_minute(self, values: dict[str, list[float]]) -> str:
        """Adds the values of one minute, by the ids of the alarm's metrics, and returns the state after it."""
        for id, many in values.items():
            self.values[id] += many
        self.minute += 1
        if self.minute % (self.alarm.period // 60) == 0:
            for one in self.alarm.queries:
                new = self.values[one.id]
                self.points[one.id].append(float(STATISTICS[one.statistic](new)) if new else None)
                self.values[one.id] = []
            series = {id: list(points) for id, points in self.points.items()}
            length = self.alarm.evaluation_periods + self.more_points
            self.state = self.alarm.state(self.alarm.values(series, length, self.fills_empty), self.state)
        return self.state
