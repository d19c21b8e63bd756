"""Runs the commands of README.md and docs/*.md as written, against the local stack. The caller has
docs/operator-policy.json, the further permissions that the documents name, and no others.

    run_docs.py (user | session) FOLDER

FOLDER has the built `signpost`.

A `user` has its own keys; a `session` is an assumed role, which has a session token. The local stack checks both
signatures as AWS does. Needs a stack that enforces IAM, its settings in the environment, and curl, aws and awscurl in
PATH. Prints errors, and exits with 1 if there are any.
"""

import json
import os
import re
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


def main(kind: str, programs: str) -> int:
    tenant = f"docs-{uuid.uuid4()}"
    credentials = CALLERS[kind](f"reader-{uuid.uuid4()}", policy(tenant))
    failed = 0
    for document in DOCUMENTS:
        if commands := blocks(document.read_text()):
            failed += not run(document, commands, tenant, credentials, programs)
    return 1 if failed else 0


def blocks(text: str) -> list[str]:
    return re.findall(r"^```(?:sh|bash|console)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def run(document: Path, commands: list[str], tenant: str, credentials: dict[str, str], programs: str) -> bool:
    """Runs the document's commands in one shell, block after block. Returns whether all succeeded."""
    script = "set -eo pipefail\ntrap 'echo \"FAILED: $BASH_COMMAND\" >&2' ERR\nset -E\n"
    for block in commands:
        script += block.replace("acme", tenant) + awaited(block, tenant)
    # Redrives the tenant's messages only, because other tests wait for theirs in the same queues.
    script = re.sub(r'(\{"redrive":"\w+")\}', rf'\1,"tenant":"{tenant}"}}', script)
    with tempfile.TemporaryDirectory() as home:
        bin_dir = Path(home) / "bin"
        bin_dir.mkdir()
        (Path(home) / ".curlrc").write_text("fail-with-body\n")  # Else curl and awscurl succeed if refused.
        wrap(bin_dir, "awscurl", "--fail-with-body")
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
    for word, value in (("API_ID", api), ("REGION", region), ("ACCOUNT", ACCOUNT), ("TENANT", tenant)):
        text = text.replace(word, value)
    document = json.loads(text)

    def arn(service: str, resource: str) -> str:
        return f"arn:aws:{service}:{region}:{ACCOUNT}:{resource}"

    more = [
        ("execute-api:Invoke", arn("execute-api", f"{api}/$default/POST/v1/events")),
        ("execute-api:Invoke", arn("execute-api", f"{api}/$default/GET/token-requests/*")),
        ("sqs:SendMessage", arn("sqs", os.environ["EVENTS_QUEUE_URL"].rpartition("/")[2])),
        ("lambda:InvokeFunction", arn("lambda", f"function:{os.environ['SWEEP_FUNCTION']}")),
        ("lambda:InvokeFunction", arn("lambda", f"function:{os.environ['ROTATE_KEYS_FUNCTION']}")),
        ("dynamodb:Query", arn("dynamodb", f"table/{os.environ['KEYS_TABLE']}")),
        ("cloudformation:DescribeStacks", arn("cloudformation", "stack/signpost/*")),
    ]
    document["Statement"] += [{"Effect": "Allow", "Action": action, "Resource": on} for action, on in more]
    return document


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
