"""Checks the pipes of template.yaml that bring notices to the operator, because the local stack does not play them.

The paths with which a pipe reads a message must exist in each message that `fanout` sends: `NoticeEvent` of the contract,
infra/openapi.yaml. A pipe's role must allow what the pipe does, and nothing else. Prints each fault, and exits with 1 if there
is one.
"""

import re
import sys
from pathlib import Path

from template import read

CONTRACT = Path(__file__).resolve().parents[1] / "openapi.yaml"
PATH = re.compile(r"^\$\.body((?:\.\w+)*)$")
TAKES = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
GIVES = {"NoticesTopicPipe": "sns:Publish", "NoticesBusPipe": "events:PutEvents"}


def main() -> int:
    found = faults(read()["Resources"], read(CONTRACT)["components"]["schemas"])
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


def faults(resources: dict, schemas: dict) -> list[str]:
    pipes = {name: one["Properties"] for name, one in resources.items() if one["Type"] == "AWS::Pipes::Pipe"}
    found = [f"template.yaml: there is no {name}" for name in GIVES.keys() - pipes.keys()]
    for name, pipe in pipes.items():
        found += [f"{name}: {path} is not in every notice" for path in paths(pipe) if not is_required(path, schemas)]
        found += role_faults(name, pipe, resources)
    return found


def paths(pipe: dict) -> list[str]:
    """Returns the JSON paths with which a pipe reads a message of SQS, whose `body` it parses."""
    target = pipe["TargetParameters"]
    bus = target.get("EventBridgeEventBusParameters", {})
    return [*re.findall(r"<([^>]+)>", target["InputTemplate"]), *(text for text in bus.values() if text.startswith("$"))]


def is_required(path: str, schemas: dict) -> bool:
    """Returns whether each notice has what `path` leads to. The body as a whole is there."""
    if (parts := PATH.match(path)) is None:
        return False
    schema = schemas["NoticeEvent"]
    for member in parts.group(1).split(".")[1:]:
        if member not in schema["required"]:
            return False
        schema = schema["properties"][member]
        if reference := schema.get("$ref"):
            schema = schemas[reference.rsplit("/", 1)[1]]
    return True


def role_faults(name: str, pipe: dict, resources: dict) -> list[str]:
    role = resources[pipe["RoleArn"].partition(".")[0]]["Properties"]
    statements = [with_options(one) for policy in role["Policies"] for one in policy["PolicyDocument"]["Statement"]]
    allowed = {one["Action"]: one["Resource"] for one in statements}
    expected = {**dict.fromkeys(TAKES, pipe["Source"]), GIVES.get(name): pipe["Target"], "kms:Decrypt": "DataKeyArn"}
    if allowed == expected:
        return []
    return [f"{name}: its role allows {sorted(allowed.items())}; expected {sorted(expected.items())}"]


def with_options(statement: dict | list) -> dict:
    """Returns a statement that only some parameters add: `!If` is a list of the condition and both values."""
    return statement[1] if isinstance(statement, list) else statement


if __name__ == "__main__":
    sys.exit(main())
