"""Checks template.yaml as it is deployed, for each of the option sets below, and infra/network.yaml.

For each set it translates the template as CloudFormation does (AWS's SAM translator), decides every condition, and then:

- cfn-lint reads what is left, so that nothing refers to a resource that is not there;
- parliament reads each policy of each role, queue and key, for actions, resources and conditions that do not exist;
- the rules of the template must hold, and each option must have the effects that `expectations` lists.

Prints each fault, and ends with 1 if there is one.
"""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from copy import deepcopy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra"))
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # The translator asks for the region.

import cloudformation
import gradual
import parliament
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

logging.getLogger("samtranslator").setLevel(logging.ERROR)  # It warns that nobody collects its metrics.

ACCOUNT, REGION = "123456789012", "us-east-1"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/signpost/1",
    "AWS::StackName": "signpost",
    "AWS::URLSuffix": "amazonaws.com",
}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0e4c4a0e-0b2a-4b6e-9c55-6e2f6a2b7c11"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
DOMAIN = {
    "DomainName": "webhooks.bank.example",
    "CertificateArn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0e4c4a0e-0b2a-4b6e-9c55-6e2f6a2b7c11",
}
NETWORK = {
    "SubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "SecurityGroupIds": "sg-0123456789abcdef0",
    "EgressAddresses": "203.0.113.7/32,203.0.113.8",
    "UpcomingEgressAddresses": "203.0.113.9/32",
}
BUS = {"EventBusName": "default", "EventBusSources": "com.bank.core,com.bank.cards"}
EVERYTHING = {
    **DOMAIN,
    **NETWORK,
    **BUS,
    "HostedZoneId": "Z0123456789ABC",
    "DisableExecuteApiEndpoint": "true",
    "EventBusTenant": "acme",
    "ProducerAccounts": "111111111111,222222222222",
    "ProducerTopicArns": ",".join(f"arn:aws:sns:{REGION}:{account}:orders" for account in (ACCOUNT, "111111111111")),
    "DestinationRoleArns": "arn:aws:iam::*:role/signpost-webhooks-*,arn:aws:iam::111111111111:role/path/hooks",
    "DataKeyArn": KEY,
    "PermissionsBoundary": BOUNDARY,
    "RolePath": "/signpost/",
    "Algorithms": "RS256,ES256",
    "KeysCdn": "true",
    "AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms",
    "BatchingWindowSeconds": "1",
    "WarmReadsPerSecond": "15000",
    "WarmWritesPerSecond": "8000",
    "MaxReadsPerSecond": "20000",
    "MaxWritesPerSecond": "10000",
    **{
        f"{function}ReservedConcurrency": "20"
        for function in ("Ingest", "Manage", "Portal", "PublicKeys", "Relay", "Sweep", "RotateKeys")
    },
    "DeliverReservedConcurrency": "150",
    "FanoutReservedConcurrency": "55",
}
# Sets of options that are deployed together. The first is what a newcomer deploys.
SETS = {
    "nothing": {},
    "everything": EVERYTHING,
    "everything, gradually": {**EVERYTHING, "GradualDeployment": "Canary10Percent5Minutes"},
    "gradually": {"GradualDeployment": "Linear10PercentEvery1Minute"},
    "a domain without a zone": DOMAIN,
    "a network": NETWORK,
    "a bus whose events name their tenants": BUS,
    "other accounts": {"ProducerAccounts": "111111111111"},
    "a topic": {"ProducerTopicArns": f"arn:aws:sns:{REGION}:{ACCOUNT}:orders"},
    "roles of customers": {"DestinationRoleArns": "arn:aws:iam::*:role/signpost-webhooks-*"},
    "an own key and a bus": {**BUS, "DataKeyArn": KEY},
    "a maximum of writes": {"MaxWritesPerSecond": "10000"},
}
# Sets that a rule of the template must refuse, with a word of the text that says why.
REFUSED = {
    "a domain without a certificate": ({"DomainName": "webhooks.bank.example"}, "CertificateArn"),
    "a certificate without a domain": ({"CertificateArn": DOMAIN["CertificateArn"]}, "DomainName"),
    "a zone without a domain": ({"HostedZoneId": "Z0123456789ABC"}, "DomainName"),
    "no way to the API": ({"DisableExecuteApiEndpoint": "true"}, "nobody could reach"),
    "subnets without groups": ({"SubnetIds": NETWORK["SubnetIds"]}, "SecurityGroupIds"),
    "addresses without a network": ({"EgressAddresses": "203.0.113.7/32"}, "SubnetIds"),
    "a bus without sources": ({"EventBusName": "default"}, "EventBusSources"),
    "a tenant without a bus": ({"EventBusTenant": "acme"}, "EventBusName"),
    "warm for reads only": ({"WarmReadsPerSecond": "15000"}, "WarmWritesPerSecond"),
    "warm for writes only": ({"WarmWritesPerSecond": "8000"}, "WarmReadsPerSecond"),
}
# What parliament says of policies that are as they have to be.
EXCUSED = {
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html wants all resources, and denies the code the same.
    ("NetworkPolicy", "RESOURCE_STAR"),
    # A key that Lambda adds to each call that a function's code makes, to any service.
    ("NetworkPolicy", "UNKNOWN_CONDITION_FOR_ACTION"),
    # In a key policy, `*` is the key itself.
    ("MacKey", "RESOURCE_STAR"),
    ("WrappingKey", "RESOURCE_STAR"),
    ("a key", "RESOURCE_STAR"),
}
# Values that CloudFormation must refuse before it changes anything.
BAD = {
    "CertificateArn": ["arn:aws:iam::123456789012:server-certificate/x", "certificate"],
    "DataKeyArn": ["alias/data", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/data"],
    "DestinationRoleArns": ["*", "role/a", "arn:aws:iam::111111111111:user/a", "arn:aws:iam::1:role/a", "arn:aws:iam::*:role/a,"],
    "DomainName": ["https://webhooks.bank.example", "bank", "webhooks.bank.example.", "Webhooks.bank.example", "-a.example"],
    "EgressAddresses": ["203.0.113", "203.0.113.256", "203.0.113.7/33", "2001:db8::1", "203.0.113.7,", "203.0.113.7, 203.0.113.8"],
    "EventBusSources": ["com.bank core", ","],
    "EventBusTenant": ["Acme", "a_b"],
    "GradualDeployment": ["AllAtOnce"],
    "Algorithms": ["", "ES256", "RS256,HS256", "RS256,"],
    "ProducerAccounts": ["11111111111", "111111111111,", "*"],
    "ProducerTopicArns": ["orders", "*", f"arn:aws:sqs:{REGION}:{ACCOUNT}:orders", f"arn:aws:sns:{REGION}:{ACCOUNT}:*"],
    "RolePath": ["", "signpost/", "/signpost"],
    "SecurityGroupIds": ["subnet-0123456789abcdef0"],
    "SubnetIds": ["sg-0123456789abcdef0", "subnet-1, subnet-2"],
    "WarmReadsPerSecond": ["1", "11999", "-12000"],
    "WarmWritesPerSecond": ["1", "3999"],
    "BatchingWindowSeconds": ["6"],
}
NOTHING = object()  # AWS::NoValue


def main() -> int:
    template = cloudformation.load(ROOT / "template.yaml")
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        for name, given in SETS.items():
            parameters = {**defaults(template), **given}
            deployed = decided(translated(template, parameters), parameters)
            found = [*refused(template, parameters), *broken_rules(template, parameters), *policy_faults(deployed), *expectations(deployed, given)]
            faults += [f"with {name}: {fault}" for fault in found]
            (Path(folder) / f"{name}.json").write_text(json.dumps(deployed))
        faults += lint(folder)
    faults += [f"docs/data-key-policy.json: {fault}" for fault in findings(data_key_policy())]
    for name, (given, word) in REFUSED.items():
        told = broken_rules(template, {**defaults(template), **given})
        if not any(word in text for text in told):
            faults.append(f"with {name}: no rule says so with `{word}`; found {told}")
    faults += unknown_options(template)
    bad = [{name: value} for name, values in BAD.items() for value in values]
    faults += [f"{given} should be refused" for given in bad if not refused(template, given)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def unknown_options(template: dict) -> list[str]:
    """Parameters of the sets that the template does not have: a misspelt one would test nothing."""
    given = {name for options in [*SETS.values(), *(options for options, _ in REFUSED.values())] for name in options}
    return [f"{name} is no parameter of template.yaml" for name in sorted(given - template["Parameters"].keys())]


def refused(template: dict, given: dict[str, str]) -> list[str]:
    """Returns the values that CloudFormation refuses, by what the template says of the parameter."""
    texts = []
    for name, value in given.items():
        parameter = template["Parameters"][name]
        fits = re.fullmatch(parameter.get("AllowedPattern", ".*"), value)
        fits = fits and value in map(str, parameter.get("AllowedValues", [value]))
        if parameter["Type"] == "Number":
            fits = fits and float(parameter.get("MinValue", "-inf")) <= float(value) <= float(parameter.get("MaxValue", "inf"))
        if not fits:
            texts.append(f"{name} refuses {value!r}")
    return texts


def defaults(template: dict) -> dict[str, str]:
    return {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items()}


def translated(template: dict, parameters: dict[str, str]) -> dict:
    template = deepcopy(template)
    if (kind := parameters["GradualDeployment"]) != "none":
        template = gradual.rewrite(template, kind, "", lambda _: b"code")
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/code"  # As `sam deploy` does.
    return json.loads(json.dumps(Translator({}, Parser()).translate(template, parameters)))  # Of plain types.


# --- Conditions -------------------------------------------------------------------------------------------------------


def decided(template: dict, parameters: dict[str, str]) -> dict:
    """Returns the template without its conditions and parameters, as CloudFormation makes its resources."""
    values = {**parameters, **PSEUDO}
    conditions = template.pop("Conditions", {})

    def holds(name: str) -> bool:
        return truth(conditions[name])

    def truth(value) -> bool:
        [(function, argument)] = value.items()
        match function:
            case "Condition":
                return holds(argument)
            case "Fn::Equals":
                left, right = (str(plain(side)) for side in argument)
                return left == right
            case "Fn::Not":
                return not truth(argument[0])
            case "Fn::And":
                return all(truth(one) for one in argument)
            case "Fn::Or":
                return any(truth(one) for one in argument)
        raise ValueError(f"{function} is no condition")

    def plain(value):
        if isinstance(value, list):
            return [one for one in map(plain, value) if one is not NOTHING]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Ref"}:
            return NOTHING if value["Ref"] == "AWS::NoValue" else values.get(value["Ref"], value)
        if value.keys() == {"Fn::If"}:
            name, then, otherwise = value["Fn::If"]
            return plain(then if holds(name) else otherwise)
        if value.keys() == {"Fn::Split"}:
            separator, text = (plain(one) for one in value["Fn::Split"])
            return text.split(separator)
        if value.keys() == {"Fn::Sub"} and isinstance(text := value["Fn::Sub"], str):
            for name, known in values.items():
                text = text.replace(f"${{{name}}}", known)
            return {"Fn::Sub": text} if "${" in text else text
        changed = {name: plain(one) for name, one in value.items()}
        return {name: one for name, one in changed.items() if one is not NOTHING}

    kept = {}
    for section in ("Resources", "Outputs"):
        of_set = {}
        for name, one in template[section].items():
            if "Condition" not in one or holds(one["Condition"]):
                of_set[name] = plain({key: part for key, part in one.items() if key not in ("Condition", "Metadata")})
        kept[section] = of_set
    return {"AWSTemplateFormatVersion": "2010-09-09", **kept}


def broken_rules(template: dict, parameters: dict[str, str]) -> list[str]:
    """Returns the texts of the template's rules that these parameters break."""
    texts = []
    for rule in template.get("Rules", {}).values():
        checks = {"Rule": rule.get("RuleCondition", {"Fn::Equals": ["", ""]})}
        checks |= {str(at): one["Assert"] for at, one in enumerate(rule["Assertions"])}
        outcome = outcomes(checks, parameters)
        if outcome.pop("Rule"):
            texts += [rule["Assertions"][int(at)]["AssertDescription"] for at, holds in outcome.items() if not holds]
    return texts


def outcomes(conditions: dict[str, dict], parameters: dict[str, str]) -> dict[str, bool]:
    """Decides conditions by resources that exist if they hold."""
    resources = {name: {"Type": "X", "Condition": name} for name in conditions}
    template = {"Conditions": conditions, "Resources": resources, "Outputs": {}}
    kept = decided(template, parameters)["Resources"]
    return {name: name in kept for name in conditions}


# --- Checks -----------------------------------------------------------------------------------------------------------


def lint(folder: str) -> list[str]:
    """Runs cfn-lint over all templates of `folder` and infra/network.yaml."""
    files = [*map(str, sorted(Path(folder).glob("*.json"))), str(ROOT / "infra/network.yaml")]
    # W3002: `sam deploy` uploads the templates that this one names.
    command = [Path(sys.executable).parent / "cfn-lint", "--ignore-checks", "W3002", "--format", "parseable", "--", *files]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.splitlines() or ([done.stderr] if done.returncode else [])


def policy_faults(deployed: dict) -> list[str]:
    return [
        f"{name}: {fault}"
        for name, policy in policies(deployed)
        for fault in findings(with_arns(policy, deployed["Resources"]), name)
    ]


def findings(policy: dict, name: str = "a key") -> list[str]:
    """Returns what parliament finds in a policy."""
    found = parliament.analyze_policy_string(json.dumps(policy), ignore_private_auditors=True).findings
    return [f"{one.issue} {one.detail}" for one in found if (name, one.issue) not in EXCUSED]


def data_key_policy() -> dict:
    """Returns the policy that owners copy, with an account and a region."""
    text = (ROOT / "docs/data-key-policy.json").read_text().replace("PRODUCER_ACCOUNT", "111111111111")
    return json.loads(text.replace("ACCOUNT", ACCOUNT).replace("REGION", REGION).replace("STACK", "signpost"))


def policies(deployed: dict):
    """Yields the policies of roles, queues and keys, with the resource that has each."""
    for name, resource in deployed["Resources"].items():
        properties = resource.get("Properties", {})
        for policy in properties.get("Policies", []) if resource["Type"] == "AWS::IAM::Role" else []:
            yield name, policy["PolicyDocument"]
        if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::SQS::QueuePolicy"):
            yield name, properties["PolicyDocument"]
        if resource["Type"] == "AWS::KMS::Key":
            yield name, properties["KeyPolicy"]


ARNS = {
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{name}",
    "AWS::Events::Rule": "events:{region}:{account}:rule/{name}",
    "AWS::KMS::Key": "kms:{region}:{account}:key/0e4c4a0e-0b2a-4b6e-9c55-6e2f6a2b7c11",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
}


def with_arns(value, resources: dict):
    """Replaces each !GetAtt of an ARN by an ARN of that kind."""
    if isinstance(value, list):
        return [with_arns(one, resources) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Fn::GetAtt"}:
        name, attribute = value["Fn::GetAtt"]
        assert attribute == "Arn", f"{name}.{attribute} in a policy"
        return "arn:aws:" + ARNS[resources[name]["Type"]].format(region=REGION, account=ACCOUNT, name=name)
    return {key: with_arns(one, resources) for key, one in value.items()}


def expectations(deployed: dict, given: dict[str, str]) -> list[str]:
    """Returns the effects of options that are missing, and effects that nobody asked for."""
    resources = deployed["Resources"]
    faults = []

    def expect(kind: str, names: list[str] | None, part, wanted, why: str) -> None:
        for name, one in resources.items():
            if one["Type"] == kind and (names is None or name in names):
                found = part(one.get("Properties", {}))
                if found != wanted:
                    faults.append(f"{name}: {why}: {found} instead of {wanted}")

    key = given.get("DataKeyArn")
    expect("AWS::DynamoDB::Table", None, lambda of: of.get("SSESpecification", {}).get("KMSMasterKeyId"), key, "DataKeyArn")
    expect("AWS::SQS::Queue", None, lambda of: of.get("KmsMasterKeyId"), key, "DataKeyArn")
    expect("AWS::SQS::Queue", None, lambda of: of.get("SqsManagedSseEnabled"), key is None, "without DataKeyArn, SQS's key")
    expect("AWS::Logs::LogGroup", None, lambda of: of.get("KmsKeyId"), key, "DataKeyArn")
    expect("AWS::IAM::Role", None, lambda of: of.get("PermissionsBoundary"), given.get("PermissionsBoundary"), "PermissionsBoundary")
    expect("AWS::IAM::Role", None, lambda of: of.get("Path"), given.get("RolePath", "/"), "RolePath")
    callers = ["DeliverFunction"]
    others = [name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Function" and name not in callers]
    subnets = given["SubnetIds"].split(",") if "SubnetIds" in given else None
    expect("AWS::Lambda::Function", callers, lambda of: of.get("VpcConfig", {}).get("SubnetIds"), subnets, "SubnetIds")
    expect("AWS::Lambda::Function", others, lambda of: of.get("VpcConfig"), None, "calls no endpoint, so it needs no subnet")
    expect(
        "AWS::Lambda::EventSourceMapping", None, lambda of: of.get("MaximumBatchingWindowInSeconds"),
        given.get("BatchingWindowSeconds"), "BatchingWindowSeconds",
    )
    found = resources["Api"]["Properties"]["Body"]["servers"][0]["x-amazon-apigateway-endpoint-configuration"]
    wanted = {"disableExecuteApiEndpoint": given.get("DisableExecuteApiEndpoint") == "true"}
    if found != wanted:
        faults.append(f"Api: {found} instead of {wanted}")
    public = "https://" + given["DomainName"] if "DomainName" in given else ""
    for name in ("DeliverFunction", "ManageFunction"):
        variables = resources[name]["Properties"]["Environment"]["Variables"]
        if variables["PUBLIC_URL"] != public:
            faults.append(f"{name}: PUBLIC_URL is {variables['PUBLIC_URL']!r} instead of {public!r}")
    faults += alias_faults(resources, "GradualDeployment" in given)
    return faults


def alias_faults(resources: dict, gradual_one: bool) -> list[str]:
    """Returns who calls a function past its alias, or an alias that should not be there.

    The custom resource FirstSigningKey is no caller: it needs the code that the deploy brings.
    """
    aliases = {name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Alias"}
    if not gradual_one:
        return [f"{name}: nobody asked for an alias" for name in sorted(aliases)]
    functions = {name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Function"}
    faults = [f"{name}: has no alias" for name in sorted(functions) if f"{name}Alias{gradual.ALIAS}" not in aliases]
    for name in sorted(aliases):
        if "CodeDeployLambdaAliasUpdate" not in resources[name].get("UpdatePolicy", {}):
            faults.append(f"{name}: CodeDeploy does not move its traffic")
    for name, one in resources.items():
        properties = one.get("Properties", {})
        calls = {
            "AWS::Lambda::EventSourceMapping": lambda of: [of["FunctionName"]],
            "AWS::Lambda::Permission": lambda of: [of["FunctionName"]],
            "AWS::Lambda::EventInvokeConfig": lambda of: [{"Ref": f"{of['FunctionName']['Ref']}Alias{of['Qualifier']}"}],
            "AWS::Events::Rule": lambda of: [target["Arn"] for target in of["Targets"] if target["Id"] != "events-queue"],
            "AWS::ApiGatewayV2::Api": integrations,
            "AWS::CodeDeploy::DeploymentGroup": lambda of: [],
        }.get(one["Type"], lambda of: [])(properties)
        for called in calls:
            if not any(called == {"Ref": alias} or called == {"Fn::Sub": uri_of(alias)} for alias in aliases):
                faults.append(f"{name}: calls {called} instead of an alias")
        if one["Type"] == "AWS::CodeDeploy::DeploymentGroup":
            watched = [alarm["Name"] for alarm in properties.get("AlarmConfiguration", {}).get("Alarms", [])]
            if not watched:
                faults.append(f"{name}: has no alarm that would stop a bad deploy")
    return faults


def integrations(api: dict) -> list:
    return [
        operation["x-amazon-apigateway-integration"]["uri"]
        for path in api["Body"]["paths"].values()
        for operation in path.values()
    ]


def uri_of(alias: str) -> str:
    return f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/${{{alias}}}/invocations"


if __name__ == "__main__":
    sys.exit(main())
