"""Keeps account of what outlives a stack, and makes a stack of it again.

    retained.py save STACK FILE       writes the tables, queues and keys of the stack, with their names, to FILE
    retained.py import STACK FILE     creates the stack STACK with those that FILE names, and nothing else

CloudFormation keeps these resources when somebody deletes the stack. A new deploy would make others beside them. So save
first, delete, import, and then deploy over the imported stack. Needs credentials and a region in the environment.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import boto3
import botocore.exceptions

# How CloudFormation names a resource that it imports (`ResourceIdentifier`), by type.
IDENTIFIERS = {"AWS::DynamoDB::Table": "TableName", "AWS::KMS::Key": "KeyId", "AWS::SQS::Queue": "QueueUrl"}
RETAINED = ("Retain", "RetainExceptOnCreate")
CHANGE_SET = "import-retained"
WITHIN_SECONDS = 900


class RetainedError(Exception):
    """An error that the user can correct. The message says how."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("stack")
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    try:
        COMMANDS[arguments.command](boto3.client("cloudformation"), arguments.stack, arguments.file)
    except (RetainedError, botocore.exceptions.ClientError, botocore.exceptions.WaiterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def save(formation, stack: str, file: Path) -> None:
    template = formation.get_template(StackName=stack, TemplateStage="Processed")["TemplateBody"]
    [described] = formation.describe_stacks(StackName=stack)["Stacks"]
    names = {
        one["LogicalResourceId"]: one["PhysicalResourceId"]
        for one in formation.describe_stack_resources(StackName=stack)["StackResources"]
    }
    # A resource whose condition is false is in the template, and not in the stack.
    kept = {
        name: one for name, one in template["Resources"].items()
        if one.get("DeletionPolicy") in RETAINED and name in names
    }
    if unknown := sorted({one["Type"] for one in kept.values()} - IDENTIFIERS.keys()):
        raise RetainedError(f"cannot import {', '.join(unknown)}; add how CloudFormation names it to IDENTIFIERS")
    saved = {
        "parameters": [{"ParameterKey": one["ParameterKey"], "ParameterValue": one["ParameterValue"]} for one in described["Parameters"]],
        "names": {name: names[name] for name in kept},
        "template": {
            "AWSTemplateFormatVersion": "2010-09-09",
            "Parameters": template["Parameters"],
            "Conditions": template.get("Conditions", {}),  # Of the resources and their properties.
            "Resources": kept,
        },
    }
    file.write_text(json.dumps(saved, indent=1))
    print(f"· Wrote {len(kept)} tables, queues and keys to {file}; keep it with your backups")


def import_saved(formation, stack: str, file: Path) -> None:
    saved = json.loads(file.read_text())
    resources = saved["template"]["Resources"]
    imported = [
        {
            "ResourceType": one["Type"],
            "LogicalResourceId": name,
            "ResourceIdentifier": {IDENTIFIERS[one["Type"]]: saved["names"][name]},
        }
        for name, one in resources.items()
    ]
    formation.create_change_set(
        StackName=stack, ChangeSetName=CHANGE_SET, ChangeSetType="IMPORT", ResourcesToImport=imported,
        TemplateBody=json.dumps(saved["template"]), Parameters=saved["parameters"],
    )
    formation.get_waiter("change_set_create_complete").wait(
        StackName=stack, ChangeSetName=CHANGE_SET, WaiterConfig={"Delay": 2, "MaxAttempts": 60}
    )
    formation.execute_change_set(StackName=stack, ChangeSetName=CHANGE_SET)
    deadline = time.monotonic() + WITHIN_SECONDS
    while (status := formation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]) != "IMPORT_COMPLETE":
        if not status.endswith("_IN_PROGRESS") or time.monotonic() > deadline:
            raise RetainedError(f"the import ended as {status}; the events of the stack {stack} say why")
        time.sleep(2)
    print(f"· The stack {stack} has {len(imported)} tables, queues and keys again; deploy over it now")


COMMANDS = {"save": save, "import": import_saved}

if __name__ == "__main__":
    sys.exit(main())
