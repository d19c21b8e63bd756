"""Runs the commands of README.md and docs/*.md as written, against the local stack. The caller has
docs/operator-policy.json, the further permissions that the documents name, and no others.

    run_docs.py (user | session) FOLDER [DOCUMENT …]

FOLDER has the built `signpost`. Without a DOCUMENT, all are run.

A block that begins with ```sh ROLE runs as a caller with docs/policies/ROLE.json only, or docs/operator-policy.json, and
before all other blocks of its document. IAM must refuse each line of a block that begins with ```sh ROLE refused.

A block that begins with ```rust run must be one of lib/testkit/examples. FOLDER/examples has the built example, which runs.

A `user` has its own keys; a `session` is an assumed role, which has a session token. The local stack checks both
signatures as AWS does. Needs a stack that enforces IAM, its settings in the environment, and curl, aws and awscurl in
PATH. Prints errors, and exits with 1 if there are any.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ACCOUNT = "000000000000"
EXAMPLES = ROOT / "lib/testkit/examples"


ROLES = ("producer", "operator", "on-call", "reader")
# How curl, the AWS CLI and `signpost` say that IAM has refused a request.
REFUSED = r"AccessDenied|Forbidden|not authorized|\b403\b"


def main(kind: str, programs: str, *names: str) -> int:
    tenant = f"docs-{uuid.uuid4()}"
    credentials = CALLERS[kind](f"reader-{uuid.uuid4()}", policy(tenant))
    failed = 0
    for document in [Path(name).resolve() for name in names] or DOCUMENTS:
        text = document.read_text()
        for role in ROLES:
            allowed, forbidden = blocks(text, f" {role}"), blocks(text, f" {role} refused")
            if allowed or forbidden:
                caller = CALLERS[kind](f"{role}-{uuid.uuid4()}", role_policy(role, tenant))
                failed += not run(document, [*allowed, *map(refused, forbidden)], tenant, caller, programs)
        if commands := [*blocks(text), *examples(document, text, programs)]:
            failed += not run(document, commands, tenant, credentials, programs)
    return 1 if failed else 0


def refused(block: str) -> str:
    """Returns commands that succeed if IAM refuses each line of `block`."""
    lines = [line for line in block.splitlines() if line.strip()]
    return "".join(
        f"if said=$({{ {line}; }} 2>&1); then echo {shlex.quote('is allowed: ' + line)} >&2; false; fi\n"
        f"if ! grep -qiE {shlex.quote(REFUSED)} <<< \"$said\"; then echo \"is not refused by IAM: $said\" >&2; false; fi\n"
        for line in lines
    )


def blocks(text: str, info: str = "") -> list[str]:
    """Returns the blocks of shell commands whose first line ends with `info`."""
    return re.findall(rf"^```(?:sh|bash|console){info}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def examples(document: Path, text: str, programs: str) -> list[str]:
    """Returns a command for each program in Rust that is to run."""
    sources = {re.sub(r"\A(//!|#!).*\n\n?", "", re.sub(r"\A//!.*\n", "", path.read_text())): path for path in EXAMPLES.glob("*.rs")}
    shown = re.findall(r"^```rust run\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    if unknown := [block for block in shown if block not in sources]:
        sys.exit(f"{document.name}: a program is in no file of lib/testkit/examples; copy it from there:\n{unknown[0]}")
    return [shlex.quote(f"{Path(programs).resolve()}/examples/{sources[block].stem}") + "\n" for block in shown]


def run(document: Path, commands: list[str], tenant: str, credentials: dict[str, str], programs: str) -> bool:
    """Runs the document's commands in one shell, block after block. Returns whether all succeeded."""
    script = "set -eo pipefail\ntrap 'echo \"FAILED: $BASH_COMMAND\" >&2' ERR\nset -E\n"
    for block in commands:
        # A tenant that leaves is another one, because its erasure ends minutes later.
        script += block.replace("acme", tenant).replace("leaver", f"{tenant}-leaver") + awaited(block, tenant)
    # Redrives the tenant's messages only, because other tests wait for theirs in the same queues.
    script = re.sub(r'(\{"redrive":"\w+")\}', rf'\1,"tenant":"{tenant}"}}', script)
    with tempfile.TemporaryDirectory() as home:
        bin_dir = Path(home) / "bin"
        bin_dir.mkdir()
        (Path(home) / ".curlrc").write_text("fail-with-body\n")  # Else curl and awscurl succeed if refused.
        wrap(bin_dir, "awscurl", "--fail-with-body")
        (Path(home) / "node_modules").symlink_to(ROOT / "infra/local/verify/node_modules")
        env = {name: value for name, value in os.environ.items() if name != "AWS_SESSION_TOKEN"}
        env |= {**credentials, "HOME": home, "PATH": os.pathsep.join([str(bin_dir), os.environ["PATH"], programs])}
        done = subprocess.run(["bash", "-c", script], cwd=home, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"{document.name}\n{done.stdout}\n{done.stderr}", file=sys.stderr)
    return done.returncode == 0


def wrap(bin_dir: Path, program: str, options: str) -> None:
    """Makes every call of `program` have `options`."""
    wrapper = bin_dir / program
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which(program)} {options} "$@"\n')
    wrapper.chmod(0o755)


def awaited(block: str, tenant: str) -> str:
    """Returns a command that waits as a reader does, because events need a moment to arrive."""
    if '"$API_URL/v1/events"' not in block:
        return ""
    return f'call "$API_URL/v1/tenants/{tenant}/status/operation/payment-1" -H "prefer: wait=20"\n'


def policy(tenant: str) -> dict:
    """Returns docs/operator-policy.json, with the further permissions that the documents name."""
    api = os.environ["API_URL"].rpartition("/")[2]
    region = os.environ["AWS_REGION"]
    text = (ROOT / "docs/operator-policy.json").read_text()
    for word, value in (("API_ID", api), ("REGION", region), ("ACCOUNT", ACCOUNT), ("TENANT", f"{tenant}*")):
        text = text.replace(word, value)
    document = json.loads(text)

    def arn(service: str, resource: str) -> str:
        return f"arn:aws:{service}:{region}:{ACCOUNT}:{resource}"

    more = [
        ("execute-api:Invoke", arn("execute-api", f"{api}/$default/POST/v1/events")),
        ("execute-api:Invoke", arn("execute-api", f"{api}/$default/GET/token-requests/*")),
        ("sqs:SendMessage", arn("sqs", last_part("EVENTS_QUEUE_URL"))),
        ("sqs:ReceiveMessage", arn("sqs", last_part("DEAD_LETTER_QUEUE_URL"))),
        ("sqs:ReceiveMessage", arn("sqs", last_part("REJECTED_QUEUE_URL"))),
        ("lambda:InvokeFunction", arn("lambda", f"function:{os.environ['SWEEP_FUNCTION']}")),
        ("lambda:InvokeFunction", arn("lambda", f"function:{os.environ['ROTATE_KEYS_FUNCTION']}")),
        ("dynamodb:Query", arn("dynamodb", f"table/{os.environ['KEYS_TABLE']}")),
        ("cloudformation:DescribeStacks", arn("cloudformation", "stack/signpost/*")),
        ("cloudformation:ListStackResources", arn("cloudformation", "stack/signpost/*")),
    ]
    document["Statement"] += [{"Effect": "Allow", "Action": action, "Resource": on} for action, on in more]
    return with_batches(document)


def with_batches(document: dict) -> dict:
    """Returns the policy as MiniStack needs it: there, `sqs:SendMessage` does not cover batches, as it does on AWS."""
    for statement in document["Statement"]:
        if statement["Action"] == "sqs:SendMessage":
            statement["Action"] = ["sqs:SendMessage", "sqs:SendMessageBatch"]
    return document


def role_policy(role: str, tenant: str) -> dict:
    """Returns the policy that the documents give to copy for `role`, filled in."""
    path = ROOT / ("docs/operator-policy.json" if role == "operator" else f"docs/policies/{role}.json")
    values = {
        "API_ID": os.environ["API_URL"].rpartition("/")[2], "REGION": os.environ["AWS_REGION"], "ACCOUNT": ACCOUNT,
        "TENANT": tenant, "STACK": "signpost", "SWEEP_FUNCTION": os.environ["SWEEP_FUNCTION"],
        "ROTATE_KEYS_FUNCTION": os.environ["ROTATE_KEYS_FUNCTION"], "EVENTS_QUEUE": last_part("EVENTS_QUEUE_URL"),
        "DELIVERIES_QUEUE": last_part("DELIVERIES_QUEUE_URL"), "SLOW_QUEUE": last_part("SLOW_DELIVERIES_QUEUE_URL"),
        "DEAD_LETTER_QUEUE": last_part("DEAD_LETTER_QUEUE_URL"), "REJECTED_QUEUE": last_part("REJECTED_QUEUE_URL"),
    }
    text = path.read_text()
    for word, value in values.items():
        text = re.sub(rf"(?<![A-Za-z_]){word}(?![A-Za-z_])", value, text)
    return with_batches(json.loads(text))


def last_part(variable: str) -> str:
    return os.environ[variable].rpartition("/")[2]


def user(name: str, document: dict) -> dict[str, str]:
    iam = boto3.client("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def session(name: str, document: dict) -> dict[str, str]:
    iam = boto3.client("iam")
    anybody = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
    trust = {"Version": "2012-10-17", "Statement": [anybody]}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(document))
    key = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="docs")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_SESSION_TOKEN": key["SessionToken"],
    }


CALLERS = {"user": user, "session": session}

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
