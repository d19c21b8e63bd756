"""Tests infra/deploy.py against a CloudFormation on loopback, with a `sam` that only records its calls.

Needs the settings of the local stack (`AWS_ENDPOINT_URL` and credentials) in the environment.
"""

import http.server
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import unittest
import uuid
from pathlib import Path

import boto3
import botocore.exceptions

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra"))

import cloudformation

MACHINES = {"x86_64": 62, "arm64": 183}
# Builds functions for the processor that `sam build` would choose, or for the processor in SAM_WRITES.
SAM = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
arguments = sys.argv[2:]
parameters = {{}}
if "--parameter-overrides" in arguments:
    at = arguments.index("--parameter-overrides")
    parameters = json.loads(Path(arguments[at + 1].removeprefix("file://")).read_text())
    del arguments[at : at + 2]
asked = {{"command": sys.argv[1], "arguments": arguments, "parameters": parameters, "environment": dict(os.environ)}}
with open(os.environ["SAM_ASKED"], "a") as out:
    out.write(json.dumps(asked) + "\\n")
if sys.argv[1] == "build":
    built = Path(".aws-sam/build/IngestFunction")
    built.mkdir(parents=True, exist_ok=True)
    machine = {MACHINES}[os.environ.get("SAM_WRITES") or parameters.get("Architecture", "arm64")]
    template = Path("template.yaml").read_text().replace("CodeUri: .", "CodeUri: IngestFunction")
    (built.parent / "template.yaml").write_text(template)
    (built / "bootstrap").write_bytes(b"\\x7fELF" + bytes(14) + machine.to_bytes(2, "little"))
if sys.argv[1] == "deploy" and os.environ.get("SAM_FAILS"):
    import boto3, botocore.exceptions
    formation, stack = boto3.client("cloudformation"), arguments[arguments.index("--stack-name") + 1]
    formation.create_stack(StackName=stack, TemplateBody=os.environ["SAM_FAILS"])
    try:
        formation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={{"Delay": 1}})
    except botocore.exceptions.WaiterError:
        sys.exit(1)
"""
# A smoke test that only records its call.
SMOKE = """
import json, os, sys
with open(os.environ["SAM_ASKED"], "a") as out:
    out.write(json.dumps({"command": "smoke", "arguments": sys.argv[1:]}) + "\\n")
sys.exit(int(os.environ.get("SMOKE_ENDS", "0")))
"""


class Lambda(http.server.ThreadingHTTPServer):
    """The account settings of Lambda, on loopback."""

    def __init__(self, concurrency: int, unreserved: int):
        limits = {"ConcurrentExecutions": concurrency, "UnreservedConcurrentExecutions": unreserved}
        body = json.dumps({"AccountLimit": limits, "AccountUsage": {}}).encode()

        class Settings(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                is_asked = self.path == "/2016-08-19/account-settings"
                self.send_response(200 if is_asked else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Settings)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Iam(http.server.ThreadingHTTPServer):
    """The account summary of IAM, on loopback."""

    def __init__(self, roles: int, quota: int):
        entries = "".join(f"<entry><key>{key}</key><value>{value}</value></entry>" for key, value in (("Roles", roles), ("RolesQuota", quota)))
        summary = f"<GetAccountSummaryResult><SummaryMap>{entries}</SummaryMap></GetAccountSummaryResult>"
        body = f'<GetAccountSummaryResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">{summary}</GetAccountSummaryResponse>'.encode()

        class Summary(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Summary)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Deploys(unittest.TestCase):
    def roles(self, used: int, quota: int) -> dict[str, str]:
        """Starts an IAM with these numbers of roles, and returns the setting that leads to it."""
        iam = Iam(used, quota)
        self.addCleanup(iam.server_close)
        self.addCleanup(iam.shutdown)
        return {"AWS_ENDPOINT_URL_IAM": f"http://127.0.0.1:{iam.server_port}"}

    def account(self, concurrency: int, unreserved: int) -> dict[str, str]:
        """Starts a Lambda with these limits, and returns the setting that leads to it."""
        account = Lambda(concurrency, unreserved)
        self.addCleanup(account.server_close)
        self.addCleanup(account.shutdown)
        return {"AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{account.server_port}"}

    def setUp(self):
        self.formation = boto3.client("cloudformation")
        self.stack = f"deploys-{uuid.uuid4()}"
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.root = Path(home.name) / "copy"
        (self.root / "infra").mkdir(parents=True)
        for name in ("infra/cloudformation.py", "infra/deploy.py", "infra/gradual.py", "samconfig.toml", "template.yaml"):
            shutil.copy(ROOT / name, self.root / name)
        self.asked = Path(home.name) / "asked"
        (self.root / "infra/smoke.py").write_text(SMOKE)
        sam = Path(home.name) / "bin/sam"
        sam.parent.mkdir()
        sam.write_text(SAM)
        sam.chmod(sam.stat().st_mode | stat.S_IXUSR)
        self.env = {
            **os.environ, "PATH": f"{sam.parent}{os.pathsep}{os.environ['PATH']}", "SAM_ASKED": str(self.asked),
            **self.account(10, 10),  # As new accounts have: nothing can be reserved.
            **self.roles(50, 1_000),
        }

    def create_stack(self, tags: dict[str, str] | None = None, **parameters: str):
        """Creates a stack with these parameters and tags, as `sam deploy` does, but with other resources."""
        body = {
            "Parameters": {name: {"Type": "String"} for name in parameters},
            "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        }
        given = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
        tags = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
        self.formation.create_stack(StackName=self.stack, TemplateBody=json.dumps(body), Parameters=given, Tags=tags)
        self.formation.get_waiter("stack_create_complete").wait(StackName=self.stack, WaiterConfig={"Delay": 1})
        self.addCleanup(self.formation.delete_stack, StackName=self.stack)

    def deploy(self, *arguments: str, **env: str | None):
        """Runs deploy.py, and returns the first call of each command of sam, and the finished process."""
        program = [sys.executable, self.root / "infra/deploy.py", *arguments]
        env = {name: value for name, value in {**self.env, **env}.items() if value is not None}
        done = subprocess.run(program, env=env, capture_output=True, text=True, check=False)
        return {one["command"]: one for one in reversed(self.calls())}, done

    def calls(self) -> list[dict]:
        return [json.loads(line) for line in self.asked.read_text().splitlines()] if self.asked.exists() else []

    def real(self) -> dict[str, str | None]:
        """Returns settings with which deploy.py takes the CloudFormation of the local stack for AWS's."""
        return {"AWS_ENDPOINT_URL": None, "AWS_ENDPOINT_URL_CLOUDFORMATION": os.environ["AWS_ENDPOINT_URL"]}

    def test_a_second_plain_deploy_builds_for_the_processor_of_the_stack(self):
        for architecture in ("x86_64", "arm64"):
            with self.subTest(architecture):
                self.setUp()
                self.create_stack(Architecture=architecture)
                asked, done = self.deploy("--stack", self.stack)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(asked["build"]["parameters"], {"Architecture": architecture})
                self.assertEqual(asked["deploy"]["parameters"], {"Architecture": architecture})

    def test_build_and_deploy_get_all_the_same_values(self):
        self.create_stack(Architecture="x86_64", RetentionDays="90", PublicUrl="", MoreTargetPorts="8443,9443")
        asked, done = self.deploy("--stack", self.stack, "RetentionDays=7", "KeyLeadMinutes=30")
        self.assertEqual(done.returncode, 0, done.stderr)
        wanted = {
            "Architecture": "x86_64", "RetentionDays": "7", "PublicUrl": "", "MoreTargetPorts": "8443,9443",
            "KeyLeadMinutes": "30",
        }
        self.assertEqual(asked["build"]["parameters"], wanted)
        self.assertEqual(asked["deploy"]["parameters"], wanted)
        self.assertEqual(asked["deploy"]["arguments"], ["--stack-name", self.stack])

    def test_a_parameter_that_is_given_changes_build_and_stack(self):
        self.create_stack(Architecture="x86_64")
        asked, done = self.deploy("--stack", self.stack, "Architecture=arm64")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(asked["build"]["parameters"], {"Architecture": "arm64"})
        self.assertEqual(asked["deploy"]["parameters"], {"Architecture": "arm64"})

    def test_a_gradual_deploy_has_an_alias_for_each_function_and_others_have_none(self):
        for kind, alias in (("none", None), ("Canary10Percent5Minutes", "live")):
            with self.subTest(kind):
                self.setUp()
                self.create_stack(GradualDeployment=kind)
                _, done = self.deploy("--stack", self.stack)
                self.assertEqual(done.returncode, 0, done.stderr)
                built = cloudformation.load(self.root / ".aws-sam/build/template.yaml")
                functions = [one for one in built["Resources"].values() if one["Type"] == "AWS::Serverless::Function"]
                self.assertEqual({one["Properties"].get("AutoPublishAlias") for one in functions}, {alias})

    def test_a_first_deploy_takes_the_defaults_of_the_template(self):
        asked, done = self.deploy("--stack", self.stack)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(asked["build"]["parameters"], {})
        self.assertEqual(asked["deploy"]["parameters"], {})

    def test_the_stack_is_that_of_samconfig_unless_another_is_named(self):
        config = self.root / "samconfig.toml"
        config.write_text(config.read_text().replace('"signpost"', f'"{self.stack}"'))
        self.create_stack(Architecture="x86_64")
        asked, done = self.deploy()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(asked["build"]["parameters"], {"Architecture": "x86_64"})
        self.assertEqual(asked["deploy"]["arguments"], ["--stack-name", self.stack])

    def test_parameters_that_the_template_no_longer_has_are_left_out(self):
        self.create_stack(Architecture="x86_64", Bygone="yes")
        asked, done = self.deploy("--stack", self.stack)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(asked["deploy"]["parameters"], {"Architecture": "x86_64"})

    def test_a_first_deploy_bounds_manage_by_a_share_of_the_account(self):
        for concurrency, unreserved, bound in ((1_000, 900, "100"), (5_000, 4_000, "100"), (400, 400, "40"), (115, 112, "11")):
            with self.subTest(concurrency):
                self.setUp()
                asked, done = self.deploy("--stack", self.stack, **self.account(concurrency, unreserved))
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(asked["build"]["parameters"], {"ManageReservedConcurrency": bound})
                self.assertEqual(asked["deploy"]["parameters"], {"ManageReservedConcurrency": bound})
                self.assertIn(f"ManageReservedConcurrency={bound}, of the account's {concurrency}", done.stdout)

    def test_a_bound_that_does_not_fit_is_not_set_and_the_reason_is_said(self):
        for concurrency, unreserved in ((10, 10), (110, 110), (1_000, 199)):
            with self.subTest(concurrency):
                self.setUp()
                asked, done = self.deploy("--stack", self.stack, **self.account(concurrency, unreserved))
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(asked["deploy"]["parameters"], {})
                self.assertIn(f"the account has {unreserved} unreserved concurrent executions of {concurrency}", done.stdout)
        self.setUp()
        asked, done = self.deploy("--stack", self.stack, AWS_ENDPOINT_URL_LAMBDA="http://127.0.0.1:9")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Cannot read the account's concurrency", done.stdout)

    def test_a_bound_that_the_stack_has_or_the_user_gives_stays(self):
        roomy = self.account(1_000, 1_000)
        asked, done = self.deploy("--stack", self.stack, "ManageReservedConcurrency=7", **roomy)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(asked["deploy"]["parameters"], {"ManageReservedConcurrency": "7"})
        self.setUp()
        self.create_stack(ManageReservedConcurrency="0")
        asked, done = self.deploy("--stack", self.stack, **roomy)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(asked["deploy"]["parameters"], {"ManageReservedConcurrency": "0"})

    def test_limits_that_do_not_fit_together_are_all_refused_before_anything_is_built(self):
        asked, done = self.deploy("--stack", self.stack, "DeliverReservedConcurrency=20", "FanoutReservedConcurrency=54",
                                  "SlowInvocationsPerTenant=100")
        self.assertEqual((asked, done.returncode), ({}, 1))
        self.assertIn("DeliverConcurrency and SlowDeliverConcurrency together, which are 150", done.stderr)
        self.assertIn("FanoutReservedConcurrency is 54; give at least 55", done.stderr)
        self.assertIn("SlowInvocationsPerTenant is 100 of 100 invocations", done.stderr)
        asked, done = self.deploy("--stack", self.stack, "DeliverReservedConcurrency=20", "DeliverConcurrency=10",
                                  "SlowDeliverConcurrency=10", "SlowInvocationsPerTenant=4", "FanoutReservedConcurrency=55")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_tags_of_the_stack_stay_and_new_ones_join_them(self):
        cases = [
            ({}, "", []),
            ({}, "team=payments", ['"team"="payments"']),
            ({"team": "core", "stage": "test"}, "", ['"team"="core"', '"stage"="test"']),
            ({"team": "core"}, "'cost center=12 34' team=payments", ['"team"="payments"', '"cost center"="12 34"']),
        ]
        for before, given, expected in cases:
            with self.subTest(given, before=before):
                self.setUp()
                self.create_stack(before)
                asked, done = self.deploy("--stack", self.stack, "--tags", given)
                self.assertEqual(done.returncode, 0, done.stderr)
                wanted = ["--stack-name", self.stack, *(["--tags", *expected] if expected else [])]
                self.assertEqual(asked["deploy"]["arguments"], wanted)
        asked, done = self.deploy("--stack", self.stack, "--tags", "team")
        self.assertIn("`team` is not a tag; give KEY=VALUE", done.stderr)

    def test_sam_asks_before_it_changes_anything_unless_it_is_told_not_to(self):
        self.create_stack()
        asked, _ = self.deploy("--stack", self.stack)
        self.assertNotIn("--no-confirm-changeset", asked["deploy"]["arguments"])
        self.assertIn("confirm_changeset = true", (ROOT / "samconfig.toml").read_text())
        self.asked.unlink()
        asked, _ = self.deploy("--stack", self.stack, "--yes")
        self.assertIn("--no-confirm-changeset", asked["deploy"]["arguments"])

    def test_tables_are_protected_after_the_first_deploy_and_not_before(self):
        protected = {"DeletionProtection": "true"}
        _, done = self.deploy("--stack", self.stack)
        self.assertEqual(done.returncode, 0, done.stderr)
        build, first, second = self.calls()
        self.assertEqual((build["command"], first["parameters"], second["parameters"]), ("build", {}, protected))
        self.assertIn("--no-confirm-changeset", second["arguments"])
        for parameters in ([], ["DeletionProtection=false"]):
            with self.subTest("an operator lifted it", parameters=parameters):
                self.setUp()
                self.create_stack(DeletionProtection="false")
                self.deploy("--stack", self.stack, *parameters)
                self.assertEqual([one["parameters"] for one in self.calls()], [{"DeletionProtection": "false"}] * 2)

    def test_a_first_deploy_that_fails_says_why_and_removes_the_stack(self):
        failing = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}, "Call": {
            "Type": "AWS::CloudFormation::CustomResource", "DependsOn": "Queue",
            "Properties": {"ServiceToken": "arn:aws:lambda:us-east-1:000000000000:function:none"},
        }}}
        _, done = self.deploy("--stack", self.stack, SAM_FAILS=json.dumps(failing))
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("Call failed: ", done.stdout)
        self.assertIn(f"Removed the failed stack {self.stack}; nothing of it is left", done.stdout)
        with self.assertRaisesRegex(botocore.exceptions.ClientError, "does not exist"):
            self.formation.describe_stacks(StackName=self.stack)
        self.assertEqual([one["command"] for one in self.calls()], ["build", "deploy"])

    def test_a_deploy_ends_with_the_smoke_test_of_the_stack(self):
        cases = [
            ([], {}, True, 0, "Trying the stack out"),
            ([], {"SMOKE_ENDS": "1"}, True, 1, "Trying the stack out"),
            (["--no-smoke"], {}, False, 0, "Building for"),
            (["SmokeTest=false"], {}, False, 0, "Not trying the stack out, because SmokeTest is false"),
            ([], {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"]}, False, 0, "its API has no address on a local stack"),
        ]
        for arguments, env, tried, status, told in cases:
            with self.subTest(arguments, env=env):
                self.setUp()
                asked, done = self.deploy("--stack", self.stack, *arguments, **{**self.real(), **env})
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(told, done.stdout)
                self.assertEqual(asked.get("smoke", {}).get("arguments"), ["--stack", self.stack] if tried else None)
                if status:
                    self.assertIn("the stack is deployed, but the smoke test failed", done.stderr)

    def test_quotas_that_the_stack_exceeds_are_named_before_anything_is_built(self):
        _, done = self.deploy("--stack", self.stack)
        self.assertIn("Queues may invoke 205 functions at once, but the account has 10 unreserved", done.stdout)
        self.setUp()
        _, done = self.deploy("--stack", self.stack, **self.account(1_000, 205))
        self.assertNotIn("Queues may invoke", done.stdout)
        self.setUp()
        asked, done = self.deploy("--stack", self.stack, **self.roles(995, 1_000))
        self.assertEqual((asked, done.returncode), ({}, 1))
        self.assertRegex(done.stderr, "the account has 995 of 1000 IAM roles, and the stack needs up to 12; remove roles")
        self.create_stack()
        _, done = self.deploy("--stack", self.stack, **self.roles(1_000, 1_000))
        self.assertEqual(done.returncode, 0, "a stack that exists has its roles")

    def test_functions_for_another_processor_are_not_deployed(self):
        self.create_stack(Architecture="x86_64")
        asked, done = self.deploy("--stack", self.stack, SAM_WRITES="arm64")
        self.assertEqual(done.returncode, 1)
        self.assertIn("IngestFunction was built for arm64, but the stack runs x86_64", done.stderr)
        self.assertEqual(asked.keys(), {"build"})

    def test_settings_of_the_local_stack_do_not_decide_what_is_built(self):
        asked, done = self.deploy("--stack", self.stack, CARGO_LAMBDA_COMPILER="cargo", SAM_BUILD_MODE="debug")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("CARGO_LAMBDA_COMPILER", "SAM_BUILD_MODE"):
            self.assertNotIn(name, asked["build"]["environment"])

    def test_nothing_is_built_before_a_mistake_is_reported(self):
        for parameter in ("Architektur=x86_64", "x86_64"):
            with self.subTest(parameter):
                asked, done = self.deploy("--stack", self.stack, parameter)
                self.assertEqual((asked, done.returncode), ({}, 1))
                self.assertIn(f"`{parameter}` is not a parameter; give NAME=VALUE", done.stderr)
        asked, done = self.deploy("--stack", self.stack, AWS_ENDPOINT_URL="http://127.0.0.1:9")
        self.assertEqual((asked, done.returncode), ({}, 1))
        self.assertIn("cannot call AWS", done.stderr)


class FirstDeploys(unittest.TestCase):
    def test_one_that_fails_says_why_at_once_and_leaves_nothing_behind(self):
        formation, stack = boto3.client("cloudformation"), f"first-{uuid.uuid4()}"
        deployed = formation.describe_stacks(StackName="signpost")["Stacks"][0]["Parameters"]
        bad = {"KeyLeadMinutes": "2", "KeySigningMinutes": "1"}
        parameters = {one["ParameterKey"]: one["ParameterValue"] for one in deployed} | bad
        template = formation.get_template(StackName="signpost", TemplateStage="Processed")["TemplateBody"]
        formation.create_stack(
            StackName=stack, TemplateURL=self.upload(json.dumps(template)), Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )
        self.addCleanup(formation.delete_stack, StackName=stack)
        with self.assertRaises(botocore.exceptions.WaiterError) as end:
            formation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
        [rolled_back] = end.exception.last_response["Stacks"]
        self.assertEqual(rolled_back["StackStatus"], "ROLLBACK_COMPLETE")

        pages = formation.get_paginator("describe_stack_events").paginate(StackName=stack)
        events = pages.build_full_result()["StackEvents"]
        [failed] = [one for one in events if one["ResourceStatus"] == "CREATE_FAILED"]
        self.assertEqual(failed["LogicalResourceId"], "FirstSigningKey")
        self.assertIn("`KEY_LEAD_MINUTES` is `2`; expected at most KEY_SIGNING_MINUTES", failed["ResourceStatusReason"])
        self.assertEqual([name for name in self.names() if name.startswith(stack)], [])
        left = formation.describe_stack_resources(StackName=stack)["StackResources"]
        self.assertEqual([one for one in left if one["ResourceStatus"] != "DELETE_COMPLETE"], [])

    def upload(self, text: str) -> str:
        """Uploads a template to Amazon S3, from where CloudFormation takes long templates."""
        storage, bucket = boto3.client("s3"), f"templates-{uuid.uuid4()}"
        storage.create_bucket(Bucket=bucket)
        storage.put_object(Bucket=bucket, Key="template.json", Body=text.encode())
        return f"{os.environ['AWS_ENDPOINT_URL']}/{bucket}/template.json"

    def names(self) -> list[str]:
        """Returns the names of all tables and queues."""
        tables = boto3.client("dynamodb").get_paginator("list_tables").paginate().build_full_result()["TableNames"]
        queues = boto3.client("sqs").get_paginator("list_queues").paginate().build_full_result().get("QueueUrls", [])
        return tables + [url.rpartition("/")[2] for url in queues]


if __name__ == "__main__":
    unittest.main()
