"""The local stack: MiniStack simulates AWS on loopback, with the real template and the real binaries deployed to it.

    stack.py up [--port N] [--auth]          starts it and leaves it running; writes .local/stack.env
    stack.py down                            stops what `up` started
    stack.py run [--auth] [--fast-keys] [--release] [--archive] -- COMMAND …
                                             starts another stack, runs COMMAND with its settings, stops it

Needs the venv that tools.sh makes, and functions that `cargo build` built. The stack listens on loopback only, and
sends nothing to other machines.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import boto3

import certificates

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "infra"))

import release as packer

LOCAL = ROOT / ".local"
STACK_NAME = "signpost"
REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
CUSTOMER = "111122223333"  # An account of a customer. To MiniStack, a key id that is an account is the account's root.
READY_WITHIN_SECONDS = 60
# Invocations of `deliver` at once, for each of its queues. Each one is a process here: 50 that start together make two
# cores too slow for everyone, which on AWS have a part of a core each.
DELIVER_CONCURRENCY = 10


class StackError(Exception):
    """An error that the user can correct. The message says how."""


class Stack:
    """A MiniStack process and its deployment. Its logs and settings are in `home`."""

    def __init__(self, home: Path, port: int):
        self.home = home
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"
        self.process = None
        self.tls = home / "tls"
        home.mkdir(parents=True, exist_ok=True)

    def start(self, auth: bool) -> None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise StackError(f"port {self.port} is in use; choose another, or leave out --port")
        say(f"Starting AWS, played by MiniStack, on {self.endpoint}" + (" with IAM enforced" if auth else ""))
        certificates.make(self.tls)
        env = {
            **os.environ,
            **self.aws_env(),
            "AUTH": "true" if auth else "false",
            "BIND_HOST": "127.0.0.1",  # Its default binds every interface.
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "SSL_CERT_FILE": str(self.tls / "trusted.pem"),  # The functions inherit it, and trust its authorities.
        }
        with open(self.home / "aws.log", "wb") as log:
            self.process = subprocess.Popen(
                [bin_dir() / "ministack"], env=env, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Its own group, so that it ends with the functions' processes.
            )
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5):
                    return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise StackError(f"AWS did not start; see {self.home / 'aws.log'}") from error
                time.sleep(0.1)

    def deploy(self, fast_keys: bool, release: bool = False, archive: bool = False) -> dict[str, str]:
        """Builds and deploys the template, and returns the settings with which tools and tests call the stack. With `archive`,
        it packs the build as a release does, and deploys what it unpacks."""
        architecture = "arm64" if os.uname().machine in ("arm64", "aarch64") else "x86_64"
        parameters = [
            f"Architecture={architecture}",
            "Alarms=false",  # MiniStack refuses alarms with metric math.
            "DangerouslyAllowHttp=true",
            "DangerouslyAllowPrivateTargets=true",
            f"DeliverConcurrency={DELIVER_CONCURRENCY}",
            "MetricsByTenant=true",     # A test counts those of its own tenant.
            f"SlowDeliverConcurrency={DELIVER_CONCURRENCY}",
            "PortalFrameAncestors=https://listed.example",
            f"DestinationRoleArns=arn:aws:iam::{CUSTOMER}:role/webhooks-*",
            "EventBusName=default",
            "EventBusSources=signpost.tests",
            f"ProducerTopicArns=arn:aws:sns:{REGION}:000000000000:signpost-tests",
            f"SlowInvocationsPerTenant={DELIVER_CONCURRENCY // 2}",
        ]
        if fast_keys:
            parameters += ["KeyLeadMinutes=1", "KeySigningMinutes=1", "KeyGraceMinutes=1"]
        say("Packing the functions (sam build)")
        built = self.home / "build"
        self.sam("build", "--build-dir", str(built), "--parameter-overrides", *parameters, release=release)
        if archive:
            say("Packing and unpacking the archive of a release")
            packer.pack(built, self.home / "release.zip", architecture)
            built = self.home / "unpacked"
            packer.unpack(self.home / "release.zip", built)
        adapt_policies(built / "template.yaml")
        say("Deploying tables, queues, functions and routes (sam deploy)")
        template = ["--template-file", str(built / "template.yaml")]
        self.sam("deploy", *template, "--no-confirm-changeset", "--no-progressbar", "--parameter-overrides", *parameters)
        outputs, resources = self.describe()
        say("Connecting the API and the queues")
        self.mend_event_sources()
        self.import_routes(outputs["ApiId"], resources)
        api_url = f"{self.endpoint}/_aws/execute-api/{outputs['ApiId']}"
        for function in ("ManageFunction", "PortalFunction"):
            self.set_public_url(resources[function], api_url)
        settings = {
            "API_ID": outputs["ApiId"],
            "API_URL": api_url,
            "EVENTS_QUEUE_ARN": outputs["EventsQueueArn"],
            "EVENTS_QUEUE_URL": outputs["EventsQueueUrl"],
            "DELIVERIES_QUEUE_URL": outputs["DeliveriesQueueUrl"],
            "SLOW_DELIVERIES_QUEUE_ARN": self.queue_arn(outputs["SlowDeliveriesQueueUrl"]),
            "SLOW_DELIVERIES_QUEUE_URL": outputs["SlowDeliveriesQueueUrl"],
            "DEAD_LETTER_QUEUE_URL": outputs["DeadLetterQueueUrl"],
            "REJECTED_QUEUE_URL": outputs["RejectedQueueUrl"],
            "AUDIT_TABLE": outputs["AuditTableName"],
            "ENDPOINTS_TABLE": outputs["EndpointsTableName"],
            "EVENTS_TABLE": outputs["EventsTableName"],
            "ENDPOINT_KEYS_TABLE": outputs["EndpointKeysTableName"],
            "KEYS_TABLE": outputs["KeysTableName"],
            "MAC_KEY": resources["MacKey"],
            "OWN_EVENTS_QUEUE_ARN": self.queue_arn(resources["OwnEventsQueue"]),
            "OWN_EVENTS_QUEUE_URL": resources["OwnEventsQueue"],
            "PARKING_TABLE": outputs["ParkingTableName"],
            "PORTAL_TABLE": outputs["PortalTableName"],
            "TOKEN_REQUESTS_TABLE": outputs["TokenRequestsTableName"],
            "WRAPPING_KEY": resources["WrappingKey"],
            "ROTATE_KEYS_FUNCTION": outputs["RotateKeysFunctionName"],
            "SWEEP_FUNCTION": outputs["SweepFunctionName"],
            **{f"{name[:-4].upper()}_ROLE": resources[name] for name in resources if name.endswith("Role")},
            **{f"{name.upper()}_GROUP": resources[name] for name in resources if name.endswith("Logs")},
            "RECEIVER_CERTIFICATE": str(self.tls / "receiver.pem"),
            "RECEIVER_KEY": str(self.tls / "receiver.key"),
            **self.aws_env(),
        }
        return settings

    def queue_arn(self, url: str) -> str:
        attributes = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return attributes["Attributes"]["QueueArn"]

    def aws_env(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION, **CREDENTIALS}

    def sam(self, *arguments: str, release: bool = False) -> None:
        env = {
            **os.environ,
            **self.aws_env(),
            "PATH": f"{bin_dir()}{os.pathsep}{os.environ['PATH']}",
            "CARGO_LAMBDA_COMPILER": "cargo",  # For this machine, not Amazon Linux, so no cross-compiler is needed.
            # The profile of the tests, so that everything is built once.
            # For a release, cargo-lambda adds flags of its own, and everything would be compiled again. An empty RUSTFLAGS
            # comes before them.
            **({"RUSTFLAGS": ""} if release else {"SAM_BUILD_MODE": "debug"}),
            "SAM_CLI_TELEMETRY": "0",
        }
        log = self.home / f"sam-{arguments[0]}.log"
        with open(log, "wb") as out:
            done = subprocess.run(
                [bin_dir() / "sam", *arguments, "--config-file", str(ROOT / "samconfig.toml")],
                check=False, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )
        if done.returncode != 0:
            sys.stderr.write(log.read_text(errors="replace")[-4000:])
            raise StackError(f"sam {arguments[0]} failed; see {log} and {self.home / 'aws.log'}")

    def client(self, service: str):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def describe(self) -> tuple[dict[str, str], dict[str, str]]:
        """Returns the stack's outputs, and the physical id of each resource."""
        formation = self.client("cloudformation")
        stack = formation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        resources = formation.describe_stack_resources(StackName=STACK_NAME)["StackResources"]
        return outputs, {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}

    def mend_event_sources(self) -> None:
        """Sets MaximumConcurrency as a number: MiniStack keeps a template parameter as text, and then cannot poll."""
        functions = self.client("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            if limit := mapping.get("ScalingConfig", {}).get("MaximumConcurrency"):
                scaling = {"MaximumConcurrency": int(limit)}
                functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=scaling)

    def set_public_url(self, function: str, api_url: str) -> None:
        """Sets the base of callback URLs to the API's real URL, which is known only after the deploy. This machine
        cannot resolve the API's domain."""
        functions = self.client("lambda")
        variables = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        environment = {"Variables": {**variables, "PUBLIC_URL": api_url}}
        functions.update_function_configuration(FunctionName=function, Environment=environment)

    def import_routes(self, api_id: str, resources: dict[str, str]) -> None:
        """Creates the routes of the HttpApi from its OpenAPI `Body`, because MiniStack ignores the `Body`. The routes whose
        condition is a parameter exist here, because no parameter of the local stack removes one."""
        template = self.client("cloudformation").get_template(StackName=STACK_NAME, TemplateStage="Processed")
        body = chosen(template["TemplateBody"]["Resources"]["Api"]["Properties"]["Body"])
        api, functions = self.client("apigatewayv2"), self.client("lambda")
        for path, methods in body["paths"].items():
            for method, operation in methods.items():
                integration = operation["x-amazon-apigateway-integration"]
                logical_id = re.search(r"\$\{(\w+)\.Arn\}", integration["uri"]["Fn::Sub"]).group(1)
                function = functions.get_function(FunctionName=resources[logical_id])["Configuration"]["FunctionArn"]
                made = api.create_integration(
                    ApiId=api_id, IntegrationType="AWS_PROXY", IntegrationUri=function, IntegrationMethod="POST",
                    PayloadFormatVersion=integration["payloadFormatVersion"],
                )
                signed = any("AWS_IAM" in scheme for scheme in operation["security"])
                api.create_route(
                    ApiId=api_id, RouteKey=f"{method.upper()} {path}", Target=f"integrations/{made['IntegrationId']}",
                    AuthorizationType="AWS_IAM" if signed else "NONE",
                )

    def save_function_logs(self) -> None:
        logs = self.client("logs")
        lines = []
        for group in logs.describe_log_groups()["logGroups"]:
            for event in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]:
                lines.append((event["timestamp"], group["logGroupName"], event["message"].rstrip()))
        text = "".join(f"{at} {name} {message}\n" for at, name, message in sorted(lines))
        (self.home / "functions.log").write_text(text)

    def stop(self) -> None:
        if self.process is not None:
            stop_group(self.process.pid, self.process.wait)
        remove_code(self.port)


def remove_code(port: int) -> None:
    """Removes the functions' unpacked code, about 200 MB, which MiniStack leaves on disk."""
    shutil.rmtree(Path(tempfile.gettempdir()) / f"ministack-provided-code-{port}", ignore_errors=True)


def chosen(value: object) -> object:
    """Returns a part of the template in which the first branch stands for each `Fn::If`."""
    if isinstance(value, dict):
        return chosen(value["Fn::If"][1]) if value.keys() == {"Fn::If"} else {name: chosen(one) for name, one in value.items()}
    return [chosen(one) for one in value] if isinstance(value, list) else value


def adapt_policies(built: Path) -> None:
    """Adapts `built`, the built copy of the template, to the differences between MiniStack's IAM and AWS's:

    - MiniStack has no condition keys `kms:EncryptionContext:…`, so a condition on one would refuse every call. Here the
      condition holds if the key is missing. KMS itself still refuses another context.
    - MiniStack requires `sqs:SendMessageBatch`, which AWS does not have: there, `sqs:SendMessage` covers batches. The
      same applies to `sqs:DeleteMessage` and `sqs:ChangeMessageVisibility`.
    - MiniStack requires `dynamodb:BatchExecuteStatement` on all tables, where AWS requires `dynamodb:PartiQLInsert` or
      `dynamodb:PartiQLDelete` on the statement's table.
    """
    text = built.read_text()
    text = re.sub(r"StringEquals:(\s+kms:EncryptionContext:)", r"StringEqualsIfExists:\1", text)
    batched = "SendMessage|DeleteMessage|ChangeMessageVisibility"
    text = re.sub(rf"Action: sqs:({batched})\b", r"Action: [sqs:\1, sqs:\1Batch]", text)
    statements = r"Action: dynamodb:PartiQL(?:Insert|Delete)(\s+)Resource:(?:\s+Fn::GetAtt:\s+- \w+\s+- Arn)"
    text = re.sub(statements, r"Action: dynamodb:BatchExecuteStatement\1Resource: '*'", text)
    built.write_text(text)


def stop_group(pid: int, wait) -> None:
    """Ends a process group with SIGTERM, then with SIGKILL."""
    try:
        os.killpg(pid, signal.SIGTERM)
        wait(timeout=10)
        os.killpg(pid, signal.SIGKILL)  # Ends functions that still run.
    except subprocess.TimeoutExpired:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def bin_dir() -> Path:
    return Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def say(text: str) -> None:
    print(f"· {text}", flush=True)


def up(port: int | None, auth: bool) -> None:
    state = LOCAL / "stack.json"
    if is_running(state):
        raise StackError("the local stack is running already; see .local/stack.env, or stop it with `make down`")
    stack = Stack(LOCAL, port or free_port())
    try:
        stack.start(auth)
        running = {"pid": stack.process.pid, "started": started(stack.process.pid), "port": stack.port}
        state.write_text(json.dumps(running))
        settings = stack.deploy(fast_keys=False)
    except BaseException:
        stack.stop()
        state.unlink(missing_ok=True)
        raise
    (LOCAL / "stack.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    say("The local stack is running. Its settings are in .local/stack.env; `make down` stops it.")


def down() -> None:
    state = LOCAL / "stack.json"
    if not is_running(state):
        state.unlink(missing_ok=True)
        say("The local stack is not running.")
        return
    saved = json.loads(state.read_text())
    pid = saved["pid"]

    def wait(timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while started(pid) is not None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("ministack", timeout)
            time.sleep(0.1)

    stop_group(pid, wait)
    remove_code(saved["port"])
    state.unlink(missing_ok=True)
    (LOCAL / "stack.env").unlink(missing_ok=True)
    say("Stopped.")


def is_running(state: Path) -> bool:
    """Returns whether the process that `up` started still runs under its pid."""
    if not state.exists():
        return False
    saved = json.loads(state.read_text())
    return started(saved["pid"]) == saved["started"]


def started(pid: int) -> str | None:
    """Returns the start time of the process `pid` as ps prints it, or None if it does not exist."""
    ps = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    told = subprocess.run(ps, capture_output=True, check=False, text=True).stdout.split()
    return None if not told or told[0].startswith("Z") else " ".join(told[1:])


def run(arguments: argparse.Namespace) -> int:
    stack = Stack(LOCAL / f"run-{os.getpid()}", free_port())
    child = None
    keep_logs = True
    try:
        stack.start(arguments.auth)
        settings = stack.deploy(arguments.fast_keys, arguments.release, arguments.archive)
        env = {**os.environ, **settings, "PATH": f"{bin_dir()}{os.pathsep}{os.environ['PATH']}"}
        say(f"Running {Path(arguments.argv[0]).name} {' '.join(arguments.argv[1:])}")
        child = subprocess.Popen(arguments.argv, env=env, cwd=ROOT, start_new_session=True)  # To stop all of it.
        status = child.wait()
        if status == 0:
            keep_logs = False
        else:
            stack.save_function_logs()
            say(f"The stack's logs are in {stack.home.relative_to(ROOT)}")
        return status
    except KeyboardInterrupt:
        keep_logs = False
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # A second Ctrl-C must not leave anything running.
        if child is not None and child.poll() is None:
            stop_group(child.pid, child.wait)
        stack.stop()
        if not keep_logs:
            shutil.rmtree(stack.home)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("up", help="start a stack and leave it running")
    one.add_argument("--port", type=int, help="port of AWS on loopback; default: a free port")
    one.add_argument("--auth", action="store_true", help="enforce IAM policies")
    commands.add_parser("down", help="stop the stack that `up` started")
    one = commands.add_parser("run", help="start a stack, run a command with its settings, stop the stack")
    one.add_argument("--auth", action="store_true", help="enforce IAM policies")
    one.add_argument("--fast-keys", action="store_true", help="make keys sign for a minute instead of a day")
    one.add_argument("--release", action="store_true", help="deploy release builds, as on AWS")
    one.add_argument("--archive", action="store_true", help="deploy what the archive of a release has")
    one.add_argument("argv", nargs="+", metavar="COMMAND")
    arguments = parser.parse_args()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))  # Runs the `finally` blocks.
    try:
        if arguments.command == "up":
            up(arguments.port, arguments.auth)
        elif arguments.command == "down":
            down()
        else:
            return run(arguments)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
