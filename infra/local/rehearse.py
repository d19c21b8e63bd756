"""Rehearses what docs/operating.md tells operators to do on a bad day: runs its blocks that are marked `sh rehearsed`,
word for word and in their order, on a local stack of its own. `stack.py run` starts it:

    stack.py run -- python infra/local/rehearse.py

The commands run in the shell of an operator: the outputs of the stack are variables, as docs/deploying.md says. Only `make
deploy` is played: it deploys the template that the local stack has deployed before, because a real one compiles for AWS.
Before and after, an endpoint is read and the smoke test runs, so that a rehearsal shows that nothing was lost.

Needs a local stack that nobody else uses, and its settings in the environment. Exits with 1 if a command fails.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "infra")]

import smoke

import stack as local

DOCUMENT = ROOT / "docs/operating.md"
TENANT = "rehearsal"
WITHIN_SECONDS = 120
SECTION_SECONDS = 600


def main() -> int:
    if sys.argv[1:2] == ["deploy"]:
        deploy(Path(os.environ["REHEARSED_TEMPLATE"]))
        return 0
    formation = boto3.client("cloudformation")
    settings = {"url": "https://hooks.example/in", "auth": {"kind": "basic", "secret": "signpost:correct horse"}}
    made = smoke.Api(os.environ["API_URL"]).ask("POST", f"/v1/tenants/{TENANT}/endpoints", settings)
    smoke_test()
    with tempfile.TemporaryDirectory() as home:
        template = Path(home) / "deployed.json"
        template.write_text(json.dumps(deployed(formation)))
        for heading, blocks in rehearsed(DOCUMENT.read_text()).items():
            print(f"· Rehearsing: {heading}", flush=True)
            script = "set -eo pipefail\ntrap 'echo \"FAILED: $BASH_COMMAND\" >&2' ERR\nset -E\n" + "".join(blocks)
            if subprocess.run(["bash", "-c", script], cwd=home, env=operator(home, template), check=False,
                              timeout=SECTION_SECONDS).returncode != 0:
                return 1
            api_url = reconnect()
            found = smoke.Api(api_url).ask("GET", f"/v1/tenants/{TENANT}/endpoints/{made['id']}")
            if found.get("id") != made["id"]:
                print(f"after `{heading}`, the endpoint {made['id']} is gone: {found}", file=sys.stderr)
                return 1
            smoke_test()
    return 0


def rehearsed(text: str) -> dict[str, list[str]]:
    """Returns the blocks to rehearse, by the heading above them."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        if blocks := re.findall(r"^```sh rehearsed\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL):
            found[heading] = blocks
    if not found:
        raise ValueError(f"{DOCUMENT.name} has no block `sh rehearsed`")
    return found


def operator(home: str, template: Path) -> dict[str, str]:
    """Returns an operator's environment, in which `make` and `python` are those of the rehearsal."""
    programs = Path(home) / "bin"
    programs.mkdir(exist_ok=True)
    rehearsal = f"exec {sys.executable} {Path(__file__).resolve()}"
    for name, does in (("make", f'[ "$1" = deploy ] && {rehearsal} deploy'), ("python3", f'exec {sys.executable} "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    infra = Path(home) / "infra"
    if not infra.exists():
        infra.symlink_to(ROOT / "infra")  # Operators run the commands in their clone.
    return {**os.environ, "REHEARSED_TEMPLATE": str(template), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def deployed(formation) -> dict:
    [described] = formation.describe_stacks(StackName=local.STACK_NAME)["Stacks"]
    template = formation.get_template(StackName=local.STACK_NAME, TemplateStage="Processed")["TemplateBody"]
    return {"template": template, "parameters": described["Parameters"]}


def deploy(file: Path) -> None:
    """Deploys the template again, over the stack as it is now, as `sam deploy` does."""
    formation, saved = boto3.client("cloudformation"), json.loads(file.read_text())
    storage, bucket = boto3.client("s3"), f"rehearsal-{time.time_ns()}"
    storage.create_bucket(Bucket=bucket)
    storage.put_object(Bucket=bucket, Key="template.json", Body=json.dumps(saved["template"]).encode())
    formation.create_change_set(
        StackName=local.STACK_NAME, ChangeSetName="deploy", ChangeSetType="UPDATE", Capabilities=["CAPABILITY_IAM"],
        TemplateURL=f"{os.environ['AWS_ENDPOINT_URL']}/{bucket}/template.json", Parameters=saved["parameters"],
    )
    formation.get_waiter("change_set_create_complete").wait(
        StackName=local.STACK_NAME, ChangeSetName="deploy", WaiterConfig={"Delay": 1}
    )
    formation.execute_change_set(StackName=local.STACK_NAME, ChangeSetName="deploy")
    formation.get_waiter("stack_update_complete").wait(StackName=local.STACK_NAME, WaiterConfig={"Delay": 1})


def reconnect() -> str:
    """Does what the local stack does after each deploy, if the API is a new one. Returns the API's URL."""
    stack = local.Stack(Path(tempfile.mkdtemp()), int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    outputs, resources = stack.describe()
    api_url = f"{stack.endpoint}/_aws/execute-api/{outputs['ApiId']}"
    if api_url != os.environ["API_URL"]:
        stack.mend_event_sources()
        stack.import_routes(outputs["ApiId"], resources)
        stack.set_public_url(resources["ManageFunction"], api_url)
    os.environ |= {"API_ID": outputs["ApiId"], "API_URL": api_url, "EVENTS_QUEUE_URL": outputs["EventsQueueUrl"]}
    return api_url


def smoke_test() -> None:
    subprocess.run([sys.executable, ROOT / "infra/smoke.py", "--wait", str(WITHIN_SECONDS)], check=True)


if __name__ == "__main__":
    sys.exit(main())
