"""Checks what the guides claim and no test runs:

- docs/settings.md: the times of each retry policy are those of its JSON, and so are the times in docs/tell-your-integrators.md;
- docs/policies: parliament knows each action, resource and condition.

Prints each difference, and exits with 1 if there is one.
"""

import json
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

import parliament

ROOT = Path(__file__).resolve().parents[2]
DAY = 86_400
NOON = 12 * 3_600
ID = "0123456789"
WORDS = {
    "PRODUCER_ACCOUNT": "222222222222", "PRODUCER_ROLE": "producer", "API_ID": ID, "REGION": "us-east-1", "ACCOUNT": "111111111111",
    "TENANT": "acme", "STACK": "signpost", "DEAD_LETTER_QUEUE": "signpost-DeadLetterQueue", "REJECTED_QUEUE": "signpost-RejectedQueue",
    "EVENTS_QUEUE": "signpost-EventsQueue", "DELIVERIES_QUEUE": "signpost-DeliveriesQueue", "SLOW_QUEUE": "signpost-SlowDeliveriesQueue",
    "SWEEP_FUNCTION": "signpost-SweepFunction", "ROTATE_KEYS_FUNCTION": "signpost-RotateKeysFunction", "BUCKET": "artifacts", "CLOUDFORMATION_ROLE": "cloudformation",
}
# Actions that AWS allows on all resources only.
STAR = ("deploy.json", "on-call.json")


def main() -> int:
    found = [*retries(), *letter(), *policies()]
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


def retries():
    """Yields a text for each policy of docs/settings.md whose times are others than it says."""
    rows = re.findall(r"^\|[^|]*\| `(\{.*?\})` \| ([^|]*) \|$", text("docs/settings.md"), flags=re.MULTILINE)
    if len(rows) < 4:
        yield "docs/settings.md: found fewer than four retry policies in a table; expected the recommended ones"
    for policy, claimed in rows:
        expected = ", ".join(times(json.loads(policy))) or "none"
        if claimed.strip() != expected:
            yield f"docs/settings.md: {policy}: found {claimed.strip()}; expected {expected}"


def letter():
    """Yields a text if the clock times of the letter are not those of the default policy."""
    contract = text("infra/openapi.yaml")
    schedule = json.loads(re.search(r'schedule"?: ?(\[5, ?300[^\]]*\])', contract)[1])
    rows = re.findall(r"^\| \d+ \| [^|]+ \| (\d\d:\d\d:\d\d)( on the next day)? \|$", text("docs/tell-your-integrators.md"), flags=re.MULTILINE)
    claimed = [time + (" +1" if later else "") for time, later in rows]
    if claimed != times({"schedule": schedule}):
        yield f"docs/tell-your-integrators.md: found the times {claimed}; expected {times({'schedule': schedule})}"


def times(policy: dict) -> list[str]:
    """Returns when each retry begins, if the first attempt begins at noon and each fails at once."""
    if "schedule" in policy:
        waits = policy["schedule"]
    else:
        waits = [policy.get("intervalSeconds", 5)] * policy.get("maxRetries", 5)
    moment, found = NOON, []
    for wait in waits:
        moment += wait
        day, second = divmod(moment, DAY)
        found.append(f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}" + (f" +{day}" if day else ""))
    return found


def policies():
    """Yields a text for each fault that parliament finds."""
    for path in [*sorted((ROOT / "docs/policies").glob("*.json")), ROOT / "docs/operator-policy.json"]:
        document = path.read_text()
        if path.stem.endswith("-trust"):  # A trust policy has no resource, and parliament wants one.
            document = document.replace('"Action": "sts:AssumeRole"', '"Action": "sts:AssumeRole", "Resource": "arn:aws:iam::111111111111:role/x"')
        for word, value in WORDS.items():
            document = re.sub(rf"(?<![A-Za-z_]){word}(?![A-Za-z_])", value, document)
        for one in parliament.analyze_policy_string(document, ignore_private_auditors=True).findings:
            is_expected = path.name in STAR if one.issue == "RESOURCE_STAR" else "transform/Serverless" in str(one.location)
            if not is_expected:
                yield f"{path.relative_to(ROOT)}: {one.issue} {one.detail}"


def text(path: str) -> str:
    return (ROOT / path).read_text()


if __name__ == "__main__":
    sys.exit(main())
