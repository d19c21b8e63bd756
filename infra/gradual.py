"""Rewrites a template so that a deploy moves traffic to new code step by step, and back if it fails.

    gradual.py TEMPLATE TYPE [SALT]   rewrites the built template; TYPE is a CodeDeploy type, such as Canary10Percent5Minutes

`infra/deploy.py` does this if the parameter GradualDeployment is not `none`. It is no part of template.yaml, because SAM
cannot make an alias conditional: an `AutoPublishAlias` that stands in the template makes versions in every stack.

Each function gets an alias, `live`, which its queues, routes and schedules call. CodeDeploy gives the alias's traffic to a
new version in steps. An alarm counts the errors of the new version alone: an alarm of the function as a whole may be on
when you deploy, and would stop the deploy of the fix. Lambda publishes a version if code, settings or the salt differ.
"""

import hashlib
import json
import sys
from pathlib import Path

import cloudformation

ALIAS = "live"
ROLE = "GradualDeploymentRole"


def main(arguments: list[str]) -> int:
    template, kind, *salt = arguments
    rewrite_file(Path(template), kind, "".join(salt))
    return 0


def rewrite_file(template: Path, kind: str, salt: str) -> None:
    """Rewrites a built template. With other parameters, `salt` must differ, because Lambda keeps a version's settings."""
    rewritten = rewrite(cloudformation.load(template), kind, salt, lambda uri: contents(template.parent / uri))
    template.write_text(json.dumps(rewritten, indent=1))  # JSON is valid YAML.


def rewrite(template: dict, kind: str, salt: str, code_of) -> dict:
    """Returns the template with an alias for each function. `code_of` returns the bytes at a function's CodeUri."""
    resources = dict(template["Resources"])
    shared = template.get("Globals", {}).get("Function", {})
    for name, function in template["Resources"].items():
        if function["Type"] != "AWS::Serverless::Function":
            continue
        alarm = f"{name}CanaryAlarm"
        properties = dict(function["Properties"])
        code = code_of(properties.get("CodeUri", shared.get("CodeUri")))
        properties |= {
            "AutoPublishAlias": ALIAS,
            "AutoPublishCodeSha256": digest(code, json.dumps([shared, properties, salt], sort_keys=True).encode()),
            "VersionDeletionPolicy": "Delete",  # Otherwise each deploy would leave a version of each function.
            "DeploymentPreference": {
                "Type": kind,
                "Role": {"Fn::GetAtt": [ROLE, "Arn"]},
                "Alarms": [{"Ref": alarm}],
                "PassthroughCondition": True,
            },
        }
        resources[name] = {**function, "Properties": properties}
        condition = {"Condition": function["Condition"]} if "Condition" in function else {}
        resources[alarm] = {**canary_alarm(name), **condition}
    resources[ROLE] = role(template)
    return {**template, "Resources": resources}


def canary_alarm(function: str) -> dict:
    dimensions = {
        "FunctionName": {"Ref": function},
        "Resource": {"Fn::Sub": f"${{{function}}}:{ALIAS}"},
        "ExecutedVersion": {"Fn::GetAtt": [f"{function}.Version", "Version"]},
    }
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": f"The newest version of {function} fails. While it is deployed, CodeDeploy goes back to the last one.",
            "Namespace": "AWS/Lambda",
            "MetricName": "Errors",
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        },
    }


def role(template: dict) -> dict:
    """Returns CodeDeploy's role, bounded as those of the functions are."""
    of_functions = next(one for one in template["Resources"].values() if one["Type"] == "AWS::IAM::Role")["Properties"]
    policy = "service-role/AWSCodeDeployRoleForLambdaLimited"
    trust = {"Sid": "CodeDeployAssumesRole", "Effect": "Allow", "Action": "sts:AssumeRole"}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            **{name: of_functions[name] for name in ("PermissionsBoundary", "Path")},
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [{**trust, "Principal": {"Service": "codedeploy.amazonaws.com"}}],
            },
            "ManagedPolicyArns": [{"Fn::Sub": f"arn:${{AWS::Partition}}:iam::aws:policy/{policy}"}],
        },
    }


def contents(folder: Path) -> bytes:
    """Returns a function's built code: its name and bytes, file by file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return b"".join(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() for path in files)


def digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
