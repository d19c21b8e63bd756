"""Computes what Signpost costs in a month, from docs/bench.json and prices.json. docs/cost.md and its calculator have these figures.

    cost.py --bills  prints bills as JSON, with which the test of the calculator compares its own
"""

import itertools
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRICES = json.loads((ROOT / "infra/bench/prices.json").read_text())
SERVICES = ("apiGateway", "lambda", "sqs", "dynamodb", "kms", "logs")
WAYS = {"sqs": "events by SQS", "http100": "events by HTTP, 100", "http1": "events by HTTP, one"}
A_MILLION = 1_000_000


@dataclass(frozen=True)
class Month:
    """A month of 30 days: what decides its bill."""

    millions: float
    """Deliveries, in millions: events times the endpoints that want each."""
    way: str = "sqs"
    """How events come in: a key of `WAYS`."""
    is_quiet: bool = False
    """Whether so little comes that each invocation has one event, not ten."""
    payload_kb: float = 1
    retention_days: int = 30
    given_up_percent: float = 0
    """The share of deliveries that fail at once in each of their attempts, until Signpost gives them up."""
    has_recovery: bool = True
    """Whether the tables have point-in-time recovery."""
    has_alarms: bool = True
    has_dashboard: bool = True


def bill(figures: dict, month: Month) -> dict[str, float]:
    """Returns the lines of a bill in dollars."""
    usd, assumed = PRICES["usd"], PRICES["month"]
    million, kb = month.millions, month.payload_kb
    way = next(one for one in figures["dollarsPerMillion"] if one["way"].startswith(WAYS[month.way]))
    quiet = assumed["batchesOfOneUsdPerMillion"] if month.is_quiet else dict.fromkeys(SERVICES, 0)
    chunks = math.ceil((kb + assumed["queuedKbBesidePayload"]) / 64)  # SQS counts a request for each 64 KB.
    units = max(0, math.ceil(kb) - 1)  # The measured event of 1 KB takes one unit. This leaves out that long ones are packed.
    stored = million * (kb + assumed["storedKbBesidePayload"]) * month.retention_days / 30
    return {
        "API Gateway": million * way["apiGateway"],
        "Lambda": million * (way["lambda"] + quiet["lambda"]),
        "SQS": million * (way["sqs"] + quiet["sqs"]) * chunks,
        "DynamoDB": million * (way["dynamodb"] + units * usd["dynamodbPerMillionWriteUnits"]),
        "logs": million * (way["logs"] + quiet["logs"]),
        "retries": million * month.given_up_percent / 100 * given_up(figures),
        "storage": stored * (usd["dynamodbPerGbMonth"] + month.has_recovery * usd["dynamodbRecoveryPerGbMonth"]),
        "data to the internet": million * (kb + assumed["sentKbBesidePayload"]) * usd["dataOutPerGb"],
        "KMS keys": assumed["kmsKeys"] * usd["kmsPerKeyMonth"],
        "metrics": assumed["metrics"] * usd["cloudwatchPerMetricMonth"],
        "polling and schedules": assumed["millionPolls"] * usd["sqsPerMillionRequests"] + assumed["schedulesUsd"],
        "alarms": month.has_alarms * assumed["alarmMetrics"] * usd["cloudwatchPerAlarmMetricMonth"],
        "dashboard": month.has_dashboard * usd["cloudwatchPerDashboardMonth"],
    }


def given_up(figures: dict) -> float:
    """Returns what a million deliveries cost more if each attempt fails at once, and Signpost gives them up."""
    attempt = next(one for one in figures["dollarsPerMillion"] if one["way"] == "attempts at a receiver that fails at once")
    calls = sum(attempt[service] for service in SERVICES if service != "dynamodb")
    assumed = PRICES["month"]
    units = assumed["writeUnitsUntilGivenUp"] - 1
    return (assumed["attemptsUntilGivenUp"] - 1) * calls + units * PRICES["usd"]["dynamodbPerMillionWriteUnits"]


def total(figures: dict, month: Month) -> float:
    return sum(bill(figures, month).values())


def dearest(millions: float) -> Month:
    return Month(millions, way="http1", is_quiet=True)


def peers(millions: float) -> dict[str, float]:
    """Returns what three others charge for as many events, each to one endpoint, from their published prices."""
    bridge, hookdeck, svix = (PRICES["peers"][name] for name in ("eventBridge", "hookdeck", "svix"))

    def plan(one: dict, included: str, per_million: float) -> float:
        return one["usdPerMonth"] + max(0, millions - one[included] / A_MILLION) * per_million

    return {
        "EventBridge": millions * (bridge["usdPerMillionEvents"] + bridge["usdPerMillionApiDestinationCalls"]),
        "Hookdeck, at least": plan(hookdeck, "includedEvents", hookdeck["usdPerMillionEventsAtLeast"]),
        "Hookdeck": plan(hookdeck, "includedEvents", hookdeck["usdPerMillionEvents"]),
        "Svix": plan(svix, "includedMessages", svix["usdPerMillionMessages"]),
    }


def data(figures: dict) -> dict:
    """Returns what the calculator computes with."""
    kept = {key: next(one for one in figures["dollarsPerMillion"] if one["way"].startswith(name)) for key, name in WAYS.items()}
    return {
        "ways": kept,
        "usd": PRICES["usd"],
        "month": PRICES["month"],
        "givenUp": given_up(figures),
        "date": PRICES["date"],
    }


def bills(figures: dict) -> list[dict]:
    choices = itertools.product((0.1, 1, 250), WAYS, (False, True), (1, 63.5, 300), (1, 90), (0, 2.5), (False, True))
    months = [Month(*one[:6], has_recovery=one[6], has_alarms=one[6], has_dashboard=not one[6]) for one in choices]
    return [{"month": asdict(month), "bill": bill(figures, month)} for month in months]


if __name__ == "__main__":
    if sys.argv[1:] != ["--bills"]:
        sys.exit(__doc__)
    json.dump(bills(json.loads((ROOT / "docs/bench.json").read_text())), sys.stdout)
