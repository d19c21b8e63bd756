"""Finds the functions of template.yaml that can start themselves again, through queues or by invoking each other.

AWS Lambda drops a message that has passed through the same function more than 16 times, unless the function sets
`RecursiveLoop: Allow`. So each function on a loop must set it, and needs an alarm on `RecursiveInvocationsDropped` in infra/alarms.yaml,
in case Lambda drops a message anyway. A function on no loop keeps AWS's protection. Prints each fault, and exits with
1 if there is one.

A function sends to the queues that its role allows. A queue starts the functions whose `Events` name it. SQS moves
messages from a queue to its dead-letter queue.
"""

import sys

from template import ROOT, read

METRIC = "RecursiveInvocationsDropped"
LEADS_TO = ("sqs:SendMessage", "lambda:InvokeFunction")


def main() -> int:
    resources = read()["Resources"]
    found = faults(resources, watched_functions(read(ROOT / "infra/alarms.yaml")["Resources"]))
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


def faults(resources: dict, watched: set[str]) -> list[str]:
    edges = ways(resources)
    found = []
    for name, function in of_type(resources, "AWS::Serverless::Function").items():
        allowed = function["Properties"].get("RecursiveLoop") == "Allow"
        loops = name in reachable(edges, name)
        if loops and not allowed:
            found.append(f"{name} can start itself again, so Lambda drops its messages; set RecursiveLoop: Allow")
        if loops and name not in watched:
            found.append(f"{name} can start itself again; add an alarm on {METRIC} of that function")
        if allowed and not loops:
            found.append(f"{name} cannot start itself again; remove RecursiveLoop, which disables a protection")
    return found


def ways(resources: dict) -> dict[str, set[str]]:
    """Returns, for each function and queue, the next functions and queues of its messages."""
    edges = {name: set() for name in resources}
    for name, function in of_type(resources, "AWS::Serverless::Function").items():
        role = resources[resource(function["Properties"]["Role"])]
        edges[name] |= {
            resource(statement["Resource"])
            for policy in role["Properties"]["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Action"] in LEADS_TO
        }
        for event in function["Properties"].get("Events", {}).values():
            if event["Type"] == "SQS":
                edges[resource(event["Properties"]["Queue"])].add(name)
    for name, queue in of_type(resources, "AWS::SQS::Queue").items():
        if redrive := queue["Properties"].get("RedrivePolicy"):
            edges[name].add(resource(redrive["deadLetterTargetArn"]))
    return edges


def reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    """Returns all that messages of `start` can reach; this includes `start` if they return to it."""
    seen, ahead = set(), [start]
    while ahead:
        for name in edges[ahead.pop()] - seen:
            seen.add(name)
            ahead.append(name)
    return seen


def watched_functions(resources: dict) -> set[str]:
    """Returns the functions that alarms watch. Their names are parameters of the alarms' template, called as the functions."""
    return {
        dimension["Value"]
        for alarm in of_type(resources, "AWS::CloudWatch::Alarm").values()
        for one in alarm["Properties"].get("Metrics", [])
        if "MetricStat" in one and one["MetricStat"]["Metric"]["MetricName"] == METRIC
        for dimension in one["MetricStat"]["Metric"]["Dimensions"]
    }


def of_type(resources: dict, wanted: str) -> dict[str, dict]:
    return {name: one for name, one in resources.items() if one["Type"] == wanted}


def resource(attribute: str) -> str:
    """Returns the resource that an argument of !GetAtt names."""
    return attribute.partition(".")[0]


if __name__ == "__main__":
    sys.exit(main())
