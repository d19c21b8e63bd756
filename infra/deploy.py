"""Builds Signpost for Lambda and deploys it: what `make deploy` runs.

    deploy.py [--stack NAME] [PARAMETER=VALUE …]

A stack keeps the parameters of its last deploy, while `sam build` knows the template's defaults only. So the stack is asked
for its parameters first. Build and deploy then get the same values: those of the command line, else those of the stack,
else the template's defaults. A build for another processor than the stack's is not deployed.

Needs sam, cargo-lambda and zig in PATH, and the credentials and the region of the AWS account in the environment.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import boto3
import botocore.exceptions
import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILT = Path(".aws-sam/build")
PARAMETERS = Path(".aws-sam/parameters.yaml")  # sam reads no JSON here, but JSON is YAML.
# ELF's numbers of processors (`e_machine`), by their names in templates.
MACHINES = {62: "x86_64", 183: "arm64"}
# They make `sam build` build something else than what Lambda runs; the local stack sets them.
LOCAL_ONLY = ("CARGO_LAMBDA_COMPILER", "SAM_BUILD_MODE")
# A first deploy that failed leaves a stack in one of these states, which can only be deleted.
NEVER_CREATED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")


class DeployError(Exception):
    """Something that the user can mend; the message says how."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", help="name of the CloudFormation stack; that of samconfig.toml if not given")
    parser.add_argument("parameters", nargs="*", metavar="PARAMETER=VALUE", help="parameters of template.yaml to change")
    arguments = parser.parse_args()
    try:
        deploy(arguments.stack or default_stack(), arguments.parameters)
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def deploy(stack: str, given: list[str]) -> None:
    template = yaml.load((ROOT / "template.yaml").read_text(), Loader=Loader)["Parameters"]
    changes = parse(given, template)
    kept = {name: value for name, value in parameters_of(stack).items() if name in template}
    architecture = {**defaults(template), **kept, **changes}["Architecture"]
    say(f"Building for {architecture}, to deploy the stack {stack}")
    parameters = ROOT / PARAMETERS
    parameters.parent.mkdir(exist_ok=True)
    parameters.write_text(json.dumps({**kept, **changes}))
    overrides = ["--parameter-overrides", f"file://{parameters}"] if kept or changes else []
    sam("build", *overrides)
    refuse_other_processors(architecture)
    sam("deploy", "--stack-name", stack, *overrides)


def default_stack() -> str:
    return re.search(r'^stack_name = "(.+)"$', (ROOT / "samconfig.toml").read_text(), re.MULTILINE).group(1)


def parse(given: list[str], template: dict) -> dict[str, str]:
    parameters = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or name not in template:
            raise DeployError(f"`{one}` is no parameter; give NAME=VALUE with a name of {', '.join(sorted(template))}")
        parameters[name] = value
    return parameters


def defaults(template: dict) -> dict[str, str]:
    return {name: str(parameter["Default"]) for name, parameter in template.items()}


def parameters_of(stack: str) -> dict[str, str]:
    """The parameters of the stack as it is; none if there is no such stack yet."""
    try:
        [found] = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError" and "does not exist" in str(error):
            return {}
        raise DeployError(f"cannot ask the stack {stack} for its parameters: {error}") from error
    except botocore.exceptions.BotoCoreError as error:
        raise DeployError(f"cannot ask AWS: {error}; set credentials and region, such as with AWS_PROFILE") from error
    if found["StackStatus"] in NEVER_CREATED:
        remove = f"aws cloudformation delete-stack --stack-name {stack}"
        raise DeployError(f"the stack {stack} is {found['StackStatus']}; remove it with `{remove}`, then deploy again")
    return {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", [])}


def sam(command: str, *arguments: str) -> None:
    env = {name: value for name, value in os.environ.items() if name not in LOCAL_ONLY}
    done = subprocess.run(["sam", command, *arguments], check=False, cwd=ROOT, env=env | {"SAM_CLI_TELEMETRY": "0"})
    if done.returncode != 0:
        raise DeployError(f"sam {command} failed; what it printed says why")


def refuse_other_processors(architecture: str) -> None:
    """Looks at the built functions themselves, whatever has told the compiler what to build for."""
    functions = sorted((ROOT / BUILT).glob("*/bootstrap"))
    if not functions:
        raise DeployError(f"sam build left no functions in {BUILT}")
    for function in functions:
        with open(function, "rb") as binary:
            header = binary.read(20)
        machine = MACHINES.get(int.from_bytes(header[18:20], "little")) if header.startswith(b"\x7fELF") else None
        if machine != architecture:
            raise DeployError(
                f"{function.parent.name} was built for {machine or 'no processor of Lambda'}, and the stack runs "
                f"{architecture}; look for settings of cargo and cargo-lambda that choose a target"
            )


def say(text: str) -> None:
    print(f"· {text}", flush=True)


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions, which nothing here looks at."""


Loader.add_multi_constructor("!", lambda *_: None)

if __name__ == "__main__":
    sys.exit(main())
