"""Builds Signpost for Lambda and deploys it. `make deploy` runs this program.

    deploy.py [--stack NAME] [--tags "KEY=VALUE …"] [--yes] [--no-smoke] [PARAMETER=VALUE …]

CloudFormation keeps the parameters of a stack's last deploy, but `sam build` knows only the template's defaults. So
this program reads the stack's parameters first. Build and deploy then get the same values: those of the command line,
else those of the stack, else the template's defaults. The same applies to tags, because `sam deploy` removes tags that
it does not get. The program does not deploy a build for another processor than the stack's.

All functions of an account share its concurrent executions. So this program asks Lambda how many there are, and bounds
`manage`, whose callers can keep it busy, if the account can reserve that many. Otherwise it says why not. It also says
if queues may invoke more functions than the account has room for, and if the account has no room for the roles.

`sam deploy` shows the change set, and asks before it makes the changes. If a first deploy fails, this program removes
the stack, in which CloudFormation leaves nothing else. After a first deploy, it protects the tables from deletion:
CloudFormation cannot remove protected tables when a first deploy fails. At the end it tries the stack out.

Needs sam, cargo-lambda and zig in PATH, and the credentials and the region of the AWS account in the environment.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import boto3
import botocore.exceptions
import gradual
import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILT = Path(".aws-sam/build")
PARAMETERS = Path(".aws-sam/parameters.yaml")  # sam reads YAML here, and JSON is valid YAML.
# Numbers of processors in ELF (`e_machine`), with their names in templates.
MACHINES = {62: "x86_64", 183: "arm64"}
# The local stack sets these variables. They make `sam build` build something else than Lambda runs.
LOCAL_ONLY = ("CARGO_LAMBDA_COMPILER", "SAM_BUILD_MODE")
# A failed first deploy leaves the stack in one of these states. Such a stack can only be deleted.
NEVER_CREATED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")

# The parameter that bounds the function whose callers can keep it busy.
BOUND_OF_MANAGE = "ManageReservedConcurrency"
# By default, manage gets a tenth of the account's concurrency, up to a limit.
SHARE_OF_MANAGE, MOST_OF_MANAGE = 10, 100
# The parameter that protects tables, which a first deploy leaves off.
PROTECTION = "DeletionProtection"
# Invocations of `fanout` by its two queues: MaximumConcurrency in template.yaml.
FANOUT_CONCURRENCY = 55
LIMITS = (
    "DeliverConcurrency",
    "SlowDeliverConcurrency",
    "SlowInvocationsPerTenant",
    "DeliverReservedConcurrency",
    "FanoutReservedConcurrency",
)
LAMBDA_KEEPS_UNRESERVED = 100  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html


class DeployError(Exception):
    """An error that the user can correct. The message says how."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", help="name of the CloudFormation stack; default: the name in samconfig.toml")
    parser.add_argument("--tags", default="", metavar='"KEY=VALUE …"', help="tags of the stack and of all that it has; quote values with spaces")
    parser.add_argument("--yes", action="store_true", help="show the changes and make them, without a question")
    parser.add_argument("--no-smoke", action="store_true", help="do not try the stack out at the end")
    parser.add_argument("parameters", nargs="*", metavar="PARAMETER=VALUE", help="parameters of template.yaml to change")
    arguments = parser.parse_args()
    try:
        deploy(arguments)
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def deploy(arguments: argparse.Namespace) -> None:
    if region := os.environ.get("AWS_REGION"):
        os.environ.setdefault("AWS_DEFAULT_REGION", region)  # boto3 and SAM read only this one.
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        say(f"Deploying to {endpoint}, because AWS_ENDPOINT_URL is set; unset it to deploy to AWS")
    template = yaml.load((ROOT / "template.yaml").read_text(), Loader=Loader)
    stack = arguments.stack or default_stack()
    changes, new_tags = parse(arguments.parameters, template["Parameters"]), parse_tags(arguments.tags)
    found = find(stack)
    is_first = found is None
    kept = {name: value for name, value in parameters_of(found).items() if name in template["Parameters"]}
    account = account_limits()
    if BOUND_OF_MANAGE not in kept and BOUND_OF_MANAGE not in changes:
        changes |= bound_of_manage(account)
    chosen = {**defaults(template["Parameters"]), **kept, **changes}
    check_concurrency(chosen)
    say_if_queues_exceed(account, chosen)
    if is_first:
        check_roles(template["Resources"])
    architecture = chosen["Architecture"]
    say(f"Building for {architecture}, to deploy the stack {stack}")
    parameters = Parameters({**kept, **changes})
    sam("build", *parameters.overrides())
    refuse_other_processors(architecture)
    if (kind := chosen["GradualDeployment"]) != "none":
        say(f"Moving traffic to the new code by CodeDeploy, {kind}; the old code comes back if the new code fails")
        gradual.rewrite_file(ROOT / BUILT / "template.yaml", kind, json.dumps(chosen, sort_keys=True))
    options = ["--stack-name", stack, *tag_options({**tags_of(found), **new_tags})]
    try:
        sam("deploy", *options, *(["--no-confirm-changeset"] if arguments.yes else []), *parameters.overrides())
    except DeployError:
        if is_first:
            remove_failed(stack)
        raise
    if is_first and PROTECTION not in changes:
        say(f"Protecting the tables from deletion ({PROTECTION}=true)")
        parameters.values[PROTECTION] = "true"
        sam("deploy", *options, "--no-confirm-changeset", *parameters.overrides())
    if not arguments.no_smoke:
        try_out(stack, chosen["SmokeTest"] == "true")


class Parameters:
    """The parameters of a build and of a deploy, in a file: sam reads JSON in it as YAML."""

    def __init__(self, values: dict[str, str]):
        self.values = values

    def overrides(self) -> list[str]:
        file = ROOT / PARAMETERS
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(self.values))
        return ["--parameter-overrides", f"file://{file}"] if self.values else []


def default_stack() -> str:
    return re.search(r'^stack_name = "(.+)"$', (ROOT / "samconfig.toml").read_text(), re.MULTILINE).group(1)


def parse(given: list[str], template: dict) -> dict[str, str]:
    parameters = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or name not in template:
            raise DeployError(f"`{one}` is not a parameter; give NAME=VALUE with one of {', '.join(sorted(template))}")
        parameters[name] = value
    return parameters


def defaults(template: dict) -> dict[str, str]:
    return {name: str(parameter["Default"]) for name, parameter in template.items()}


def parse_tags(text: str) -> dict[str, str]:
    tags = {}
    for one in shlex.split(text):
        key, equals, value = one.partition("=")
        if not equals or not key or '"' in one:
            raise DeployError(f"`{one}` is not a tag; give KEY=VALUE, without quotation marks in it")
        tags[key] = value
    return tags


def tag_options(tags: dict[str, str]) -> list[str]:
    """Returns the option of sam for these tags. It reads a key or a value with a space in quotation marks."""
    return ["--tags", *(f'"{key}"="{value}"' for key, value in tags.items())] if tags else []


def find(stack: str) -> dict | None:
    """Returns the deployed stack; none if it does not exist yet."""
    try:
        [found] = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError" and "does not exist" in str(error):
            return None
        raise DeployError(f"cannot read the parameters of the stack {stack}: {error}") from error
    except botocore.exceptions.BotoCoreError as error:
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        fix = "unset AWS_ENDPOINT_URL, which names a local stack" if endpoint else "set credentials and region, such as with AWS_PROFILE"
        raise DeployError(f"cannot call AWS: {error}; {fix}") from error
    if found["StackStatus"] in NEVER_CREATED:
        remove = f"aws cloudformation delete-stack --stack-name {stack}"
        raise DeployError(f"the stack {stack} is {found['StackStatus']}; remove it with `{remove}`, then deploy again")
    return None if found["StackStatus"] == "REVIEW_IN_PROGRESS" else found  # Somebody declined its first change set.


def parameters_of(stack: dict | None) -> dict[str, str]:
    return {one["ParameterKey"]: one["ParameterValue"] for one in (stack or {}).get("Parameters", [])}


def tags_of(stack: dict | None) -> dict[str, str]:
    tags = {one["Key"]: one["Value"] for one in (stack or {}).get("Tags", [])}
    return {key: value for key, value in tags.items() if not key.startswith("aws:")}  # Those are not the user's.


def account_limits() -> dict[str, int] | None:
    """Returns how many executions the account may have at once, and how many are not reserved; none if Lambda does not
    tell."""
    try:
        limits = boto3.client("lambda").get_account_settings()["AccountLimit"]
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, KeyError) as error:
        say(f"Cannot read the account's concurrency ({error}); the permission is lambda:GetAccountSettings")
        return None
    return {"all": limits["ConcurrentExecutions"], "unreserved": limits["UnreservedConcurrentExecutions"]}


def bound_of_manage(account: dict[str, int] | None) -> dict[str, str]:
    """Returns the parameter that bounds `manage` to a share of the account's concurrency; nothing if that does not fit."""
    unbounded = f"so {BOUND_OF_MANAGE} stays 0: operators and pollers can use up the concurrency of all functions"
    if account is None:
        say(f"Set no bound for the manage function, {unbounded}")
        return {}
    bound = min(account["all"] // SHARE_OF_MANAGE, MOST_OF_MANAGE)
    if account["unreserved"] - bound < LAMBDA_KEEPS_UNRESERVED:
        say(
            f"Set no bound for the manage function: the account has {account['unreserved']} unreserved concurrent "
            f"executions of {account['all']}, and Lambda keeps {LAMBDA_KEEPS_UNRESERVED} unreserved, {unbounded}. Ask "
            f"for more at Service Quotas, then deploy with {BOUND_OF_MANAGE}={bound}"
        )
        return {}
    say(f"Bounding the manage function: {BOUND_OF_MANAGE}={bound}, of the account's {account['all']}")
    return {BOUND_OF_MANAGE: str(bound)}


def check_concurrency(parameters: dict[str, str]) -> None:
    """Refuses limits that do not fit together, which a rule of CloudFormation cannot compare; names each of them."""
    number = {name: int(value) for name, value in parameters.items() if name in LIMITS}
    for_deliver = number["DeliverConcurrency"] + number["SlowDeliverConcurrency"]
    throttled = "or 0: Lambda would throttle the function, and each message that it throttles is late by minutes"
    faults = []
    if 0 < number["DeliverReservedConcurrency"] < for_deliver:
        faults.append(
            f"DeliverReservedConcurrency is {number['DeliverReservedConcurrency']}; give at least DeliverConcurrency and "
            f"SlowDeliverConcurrency together, which are {for_deliver}, {throttled}"
        )
    if 0 < number["FanoutReservedConcurrency"] < FANOUT_CONCURRENCY:
        faults.append(
            f"FanoutReservedConcurrency is {number['FanoutReservedConcurrency']}; give at least {FANOUT_CONCURRENCY}, which its "
            f"queues invoke at once, {throttled}"
        )
    if number["SlowInvocationsPerTenant"] >= number["SlowDeliverConcurrency"]:
        faults.append(
            f"SlowInvocationsPerTenant is {number['SlowInvocationsPerTenant']} of {number['SlowDeliverConcurrency']} invocations "
            "(SlowDeliverConcurrency), so one tenant with a slow endpoint could take them all; give less than half"
        )
    if faults:
        raise DeployError("\n".join(faults))


def say_if_queues_exceed(account: dict[str, int] | None, parameters: dict[str, str]) -> None:
    """Says if the queues may invoke more functions at once than the account can run. Lambda then throttles all of its
    functions, and each message that it throttles is late."""
    by_queues = sum(int(parameters[name]) for name in ("DeliverConcurrency", "SlowDeliverConcurrency")) + FANOUT_CONCURRENCY
    if account is not None and by_queues > account["unreserved"]:
        say(
            f"Queues may invoke {by_queues} functions at once, but the account has {account['unreserved']} unreserved "
            "concurrent executions, so Lambda will throttle under load. Ask for more at Service Quotas, or deploy with a "
            "lower DeliverConcurrency and SlowDeliverConcurrency"
        )


def check_roles(resources: dict) -> None:
    """Refuses to begin a first deploy for which the account has no room, because it would be undone after minutes."""
    wanted = sum(resource["Type"] == "AWS::IAM::Role" for resource in resources.values())
    try:
        summary = boto3.client("iam").get_account_summary()["SummaryMap"]
        used, quota = summary["Roles"], summary["RolesQuota"]
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, KeyError) as error:
        say(f"Cannot read the account's quota of roles ({error}); the permission is iam:GetAccountSummary")
        return
    if used + wanted > quota:
        raise DeployError(
            f"the account has {used} of {quota} IAM roles, and the stack needs up to {wanted}; remove roles, or ask for more at "
            "Service Quotas (IAM, Roles per account)"
        )


def remove_failed(stack: str) -> None:
    """Removes the stack of a first deploy that failed, and says why it failed. CloudFormation has removed everything in it
    by then, and the stack itself could only be deleted."""
    formation = boto3.client("cloudformation")
    try:
        [found] = formation.describe_stacks(StackName=stack)["Stacks"]
        if found["StackStatus"] != "ROLLBACK_COMPLETE":
            return
        pages = formation.get_paginator("describe_stack_events").paginate(StackName=stack)
        for event in reversed(pages.build_full_result()["StackEvents"]):
            if event["ResourceStatus"] == "CREATE_FAILED":
                say(f"{event['LogicalResourceId']} failed: {event.get('ResourceStatusReason', 'no reason given')}")
        formation.delete_stack(StackName=found["StackId"])
        formation.get_waiter("stack_delete_complete").wait(StackName=found["StackId"], WaiterConfig={"Delay": 2})
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        say(f"Cannot remove the failed stack {stack}: {error}")
        return
    say(f"Removed the failed stack {stack}; nothing of it is left")


def try_out(stack: str, has_receiver: bool) -> None:
    if not has_receiver:
        say("Not trying the stack out, because SmokeTest is false")
        return
    if os.environ.get("AWS_ENDPOINT_URL"):
        say("Not trying the stack out, because its API has no address on a local stack; `make smoke` does after `make up`")
        return
    say("Trying the stack out (smoke test)")
    if subprocess.run([sys.executable, ROOT / "infra/smoke.py", "--stack", stack], check=False).returncode != 0:
        raise DeployError("the stack is deployed, but the smoke test failed; see its output above, and repeat it with `make smoke`")


def sam(command: str, *arguments: str) -> None:
    env = {name: value for name, value in os.environ.items() if name not in LOCAL_ONLY}
    done = subprocess.run(["sam", command, *arguments], check=False, cwd=ROOT, env=env | {"SAM_CLI_TELEMETRY": "0"})
    if done.returncode != 0:
        raise DeployError(f"sam {command} failed; see its output above")


def refuse_other_processors(architecture: str) -> None:
    """Reads the processor from the built functions, because other settings can change the compiler's target."""
    functions = sorted((ROOT / BUILT).glob("*/bootstrap"))
    if not functions:
        raise DeployError(f"sam build wrote no functions to {BUILT}")
    for function in functions:
        with open(function, "rb") as binary:
            header = binary.read(20)
        machine = MACHINES.get(int.from_bytes(header[18:20], "little")) if header.startswith(b"\x7fELF") else None
        if machine != architecture:
            raise DeployError(
                f"{function.parent.name} was built for {machine or 'another processor'}, but the stack runs "
                f"{architecture}; check the settings of cargo and cargo-lambda that choose a target"
            )


def say(text: str) -> None:
    print(f"· {text}", flush=True)


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions, whose arguments are ignored."""


Loader.add_multi_constructor("!", lambda *_: None)

if __name__ == "__main__":
    sys.exit(main())
