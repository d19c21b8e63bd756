"""Checks infra/alarms.yaml and infra/dashboard.yaml:

- template.yaml gives each parameter of both the resource of the same name.
- Each function, table and queue of template.yaml has its alarms.
- Each alarm has a name, sends a message when it fires and when it ends, and links its section of docs/operating.md. Each
  such section has its alarm, and says in this order: Meaning, First look, Fix.
- The dashboard's body has the form that CloudWatch documents, and shows each alarm and each graph that docs/operating.md names.
- docs/metrics.md lists each metric of the namespace Signpost with its function. AWS documents each other metric.

Prints each fault, and exits with 1 if there is one. `check-monitoring.py --cost` prints how many metrics the alarms watch.
"""

import json
import re
import sys
from pathlib import Path

import jsonschema

import metric_math
from alarms import Alarm, Metric
from template import ROOT, read_functions, resolve

RUNBOOK = "docs/operating.md"
SCHEMA = Path(__file__).with_name("dashboard.schema.json")
ACCOUNT = {
    "AWS::Region": "us-east-1", "AWS::Partition": "aws", "AWS::AccountId": "123456789012", "AlarmTopicArn": "arn:topic",
    "Alarms": "true", "Metrics": "true",
}
# The metrics that AWS documents, as far as they are used here, with their dimensions.
OF_AWS = {
    "AWS/ApiGateway": (("ApiId",), "4xx 5xx Count"),
    "AWS/DynamoDB": (
        ("TableName",), "ConsumedReadCapacityUnits ConsumedWriteCapacityUnits ReadThrottleEvents WriteThrottleEvents",
    ),
    "AWS/Lambda": (
        ("FunctionName",),
        "AsyncEventsDropped ConcurrentExecutions Duration Errors Invocations RecursiveInvocationsDropped Throttles",
    ),
    "AWS/Logs": (("LogGroupName",), "IncomingBytes"),
    "AWS/SQS": (
        ("QueueName",),
        """ApproximateAgeOfOldestMessage ApproximateNumberOfMessagesDelayed ApproximateNumberOfMessagesNotVisible
        ApproximateNumberOfMessagesVisible ApproximateNumberOfMessagesVisibleInQuietGroups NumberOfMessagesReceived
        NumberOfMessagesSent""",
    ),
}
KINDS = {"FunctionName": "AWS::Serverless::Function", "TableName": "AWS::DynamoDB::Table", "QueueName": "AWS::SQS::Queue"}
DOLLARS_PER_METRIC = 0.10
FREE_METRICS = 10


def main() -> int:
    template = read_functions()
    nested = {name: read_functions(ROOT / "infra" / f"{name}.yaml") for name in ("alarms", "dashboard")}
    # Each parameter has its own name as its value, so that a metric's dimension names the resource.
    resources = {name: resolve(one, {each: each for each in one["Parameters"]} | ACCOUNT) for name, one in nested.items()}
    alarms = {name: one["Properties"] for name, one in resources["alarms"].items()}
    watched = {name: Alarm.parse(name, one) for name, one in alarms.items()}
    count = sum(len(alarm.queries) for alarm in watched.values())
    if "--cost" in sys.argv[1:]:
        print(f"{count} metrics in {len(watched)} alarms: ${count * DOLLARS_PER_METRIC:.2f} a month, of which the first "
              f"{FREE_METRICS} metrics of an account are free")
        return 0
    body = body_of(nested["dashboard"])
    metrics = {query.metric for alarm in watched.values() for query in alarm.queries}
    found = [
        *wrong_parameters(template, nested),
        *unwatched(template["Resources"], watched),
        *wrong_alarms(alarms, nested["alarms"]["Resources"]),
        *wrong_sections(alarms | of_options(template["Resources"])),
        *wrong_body(body, alarms),
        *wrong_expressions(body),
        *wrong_graphs(body),
        *wrong_metrics(metrics, "infra/alarms.yaml"),
        *wrong_metrics(shown(body), "infra/dashboard.yaml"),
        *wrong_price(count),
    ]
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


def wrong_price(count: int):
    """Yields a text if docs/cost.md, which has its figures from prices.json, takes another number of metrics."""
    priced = json.loads((ROOT / "infra/bench/prices.json").read_text())["month"]["alarmMetrics"]
    if priced != count:
        yield f"infra/bench/prices.json: found alarmMetrics {priced}; expected {count}, which the alarms watch"


def wrong_parameters(template: dict, nested: dict[str, dict]):
    """Yields the parameters of nested stacks that get something else than what they are called after."""
    resources = template["Resources"]
    for name, inner in nested.items():
        stack = next(one for one in resources.values() if one["Properties"].get("TemplateURL") == f"infra/{name}.yaml")
        given = stack["Properties"]["Parameters"]
        required = {one for one, how in inner["Parameters"].items() if "Default" not in how}
        for one in sorted((required - given.keys()) | (given.keys() - inner["Parameters"].keys())):
            yield f"infra/{name}.yaml: template.yaml and it disagree about the parameter {one}"
        for one, value in given.items():
            if one in resources and value not in ({"Ref": one}, {"Fn::GetAtt": [one, "QueueName"]}):
                yield f"template.yaml: gives the parameter {one} of infra/{name}.yaml another value than {one}: {value}"
            if resources.get(one, {}).get("Type") == "AWS::SQS::Queue" and "Ref" in value:
                yield f"template.yaml: gives {one} its URL; expected its QueueName"
    yield from wrong_memory(template, nested["dashboard"])


def wrong_memory(template: dict, dashboard: dict):
    """Yields the functions whose memory the dashboard does not know. It multiplies their time by it."""
    stack = next(one for one in template["Resources"].values() if one["Properties"].get("TemplateURL") == "infra/dashboard.yaml")
    for name, function in template["Resources"].items():
        parameter = name.replace("Function", "Memory")
        if function["Type"] == "AWS::Serverless::Function" and parameter in dashboard["Parameters"]:
            memory = function["Properties"].get("MemorySize", template["Globals"]["Function"]["MemorySize"])
            known = stack["Properties"]["Parameters"].get(parameter, dashboard["Parameters"][parameter]["Default"])
            if known != memory:
                yield f"template.yaml: give the dashboard {parameter}: {memory}, as {name} has; it takes {known}"


def unwatched(resources: dict, alarms: dict[str, Alarm]):
    """Yields what of template.yaml has no alarm that it should have."""
    watched = {
        (query.metric.name, value) for alarm in alarms.values() for query in alarm.queries
        for name, value in query.metric.dimensions if name in KINDS
    }
    dead_letters = {
        one["Properties"]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        for one in resources.values() if "RedrivePolicy" in one["Properties"]
    }
    for name, one in resources.items():
        wanted = []
        if "Condition" in one:  # An option brings the alarms that it needs.
            continue
        match one["Type"]:
            case "AWS::Serverless::Function":
                wanted = ["Errors", "Throttles"]
                events = one["Properties"].get("Events", {}).values()
                wanted += ["AsyncEventsDropped"] * any(event["Type"].startswith("Schedule") for event in events)
            case "AWS::DynamoDB::Table":
                wanted = ["ReadThrottleEvents", "WriteThrottleEvents"]
            case "AWS::SQS::Queue" if name in dead_letters:
                wanted = ["NumberOfMessagesSent", "ApproximateNumberOfMessagesVisible"]
            case "AWS::SQS::Queue":
                wanted = ["ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesNotVisible"]
        for metric in wanted:
            if (metric, name) not in watched:
                yield f"infra/alarms.yaml: no alarm watches {metric} of {name}"


def of_options(resources: dict) -> dict[str, dict]:
    """Returns the alarms that template.yaml has itself, for resources that not every stack has."""
    return {name: one["Properties"] for name, one in resources.items() if one["Type"] == "AWS::CloudWatch::Alarm"}


def wrong_alarms(alarms: dict[str, dict], declared: dict[str, dict]):
    for name, alarm in alarms.items():
        if alarm["AlarmName"] != f"Stack-{name}":
            yield f"infra/alarms.yaml: {name} is called {alarm['AlarmName']}; expected ${{Stack}}-{name}"
        for actions in ("AlarmActions", "OKActions"):
            if alarm.get(actions) != ["arn:topic"]:
                yield f"infra/alarms.yaml: {name} has no {actions}"
        if len(alarm["AlarmDescription"]) > 1024:
            yield f"infra/alarms.yaml: the description of {name} is longer than 1,024 characters"
        is_own = any(query.metric.namespace == "Signpost" for query in Alarm.parse(name, alarm).queries)
        if is_own != (declared[name].get("Condition") == "HasMetrics"):
            yield f"infra/alarms.yaml: {name} needs the condition HasMetrics if, and only if, it watches the namespace Signpost"


def wrong_sections(alarms: dict[str, dict]):
    """Yields the alarms without a section in the runbook, and the reverse."""
    sections = {}
    for title, text in re.findall(r"^#+ (.+)\n((?:(?!#+ ).*\n)*)", (ROOT / RUNBOOK).read_text(), re.MULTILINE):
        for name in re.findall(r"`(\w+Alarm)`", title):
            if name in sections:
                yield f"{RUNBOOK}: two headings name {name}"
            sections[name] = title
            labels = re.findall(r"^\*\*(Meaning|First look|Fix)\.\*\*", text, re.MULTILINE)
            if labels != ["Meaning", "First look", "Fix"]:
                yield f"{RUNBOOK}: the section on {name} has the parts {labels}; expected Meaning, First look, Fix"
    for name, alarm in alarms.items():
        if name not in sections:
            yield f"{RUNBOOK}: no heading names `{name}`"
        elif not alarm["AlarmDescription"].endswith(expected := f"Runbook: {RUNBOOK}#{anchor(sections[name])}"):
            yield f"the description of {name} should end with `{expected}`"
    for name in sorted(sections.keys() - alarms.keys()):
        yield f"{RUNBOOK}: a heading names {name}, which is no alarm"


def anchor(title: str) -> str:
    """Returns the link to a heading, as GitHub makes it."""
    return re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-")


def body_of(dashboard: dict) -> dict:
    """Returns the body with all alarms, after it has read the other variants too."""
    names = {name: name for name in dashboard["Parameters"]} | ACCOUNT
    for variant in ({"Alarms": "false"}, {"Metrics": "false"}, {}):
        body = resolve(dashboard, names | variant)["Dashboard"]["Properties"]["DashboardBody"]
        read = json.loads(body)
    return read


def wrong_graphs(body: dict):
    """Yields the graphs that the runbook names, such as the graph "Keys", and that the dashboard does not have."""
    titles = [widget["properties"].get("title", "") for widget in body["widgets"]]
    text = " ".join((ROOT / RUNBOOK).read_text().split())
    for named in re.findall(r'graphs? ("[^"]+"(?:(?:,| and) "[^"]+")*)', text):
        for title in re.findall(r'"([^"]+)"', named):
            if not any(one.startswith(title) for one in titles):
                yield f"{RUNBOOK}: names the graph {title}, which infra/dashboard.yaml does not have"


def wrong_expressions(body: dict):
    for widget in body["widgets"]:
        lines = widget["properties"].get("metrics", [])
        ids = {line[-1]["id"]: [1.0] for line in lines if isinstance(line[-1], dict) and "id" in line[-1]}
        for line in lines:
            # Each parameter has its name as its value. Here it needs a number.
            expression = re.sub(r"\b[A-Z]\w+Memory\b", "256", line[0]["expression"]) if isinstance(line[0], dict) else "SEARCH"
            if "SEARCH" in expression:
                continue
            try:
                metric_math.compute(expression, ids, 1)
            except metric_math.ExpressionError as error:
                yield f"infra/dashboard.yaml: {error}"


def wrong_body(body: dict, alarms: dict[str, dict]):
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for error in validator.iter_errors(body):
        yield f"infra/dashboard.yaml: {error.json_path}: {error.message}"
    listed = [one.rpartition(":")[2] for widget in body["widgets"] for one in widget["properties"].get("alarms", [])]
    for name in sorted({alarm["AlarmName"] for alarm in alarms.values()} ^ set(listed)):
        yield f"infra/dashboard.yaml: {name} is an alarm, or on the dashboard, but not both"
    column = 0
    for widget in body["widgets"]:  # A widget without a place follows the one before, in rows of 24 columns.
        if column + widget["width"] > 24:
            yield f"infra/dashboard.yaml: the row before the widget {widget['properties'].get('title', 'of text')} is not full"
            column = 0
        column = (column + widget["width"]) % 24


def shown(body: dict) -> set[Metric]:
    """Returns the metrics of all graphs; a search for all functions as a metric of the function `all`."""
    metrics = set()
    for widget in body["widgets"]:
        for line in widget["properties"].get("metrics", []):
            if isinstance(line[0], dict):
                for name, stack in re.findall(r'\{Signpost,Stack,Function\} MetricName="(\w+)" Stack="(\w+)"', line[0]["expression"]):
                    metrics.add(Metric("Signpost", name, (("Function", "all"), ("Stack", stack))))
                if "SEARCH" in line[0]["expression"] and "{Signpost,Stack,Function}" not in line[0]["expression"]:
                    metrics.add(Metric("unknown", line[0]["expression"], ()))
                continue
            namespace, name, *dimensions = [one for one in line if isinstance(one, str)]
            metrics.add(Metric(namespace, name, tuple(sorted(zip(dimensions[::2], dimensions[1::2], strict=True)))))
    return metrics


def wrong_metrics(metrics: set[Metric], place: str):
    functions = functions_of_metrics()
    for metric in sorted(metrics):
        if metric.namespace == "Signpost":
            dimensions = dict(metric.dimensions)
            if dimensions.keys() != {"Stack", "Function"} or dimensions["Stack"] != "Stack":
                yield f"{place}: {metric.name} has the dimensions {dimensions}; expected Stack and Function"
            elif metric.name not in functions:
                yield f"{place}: docs/metrics.md does not list {metric.name}"
            elif dimensions["Function"] != "all" and not {dimensions["Function"], "all"} & functions[metric.name]:
                yield f"{place}: docs/metrics.md does not say that {dimensions['Function']} writes {metric.name}"
            continue
        names, known = OF_AWS.get(metric.namespace, ((), ""))
        if metric.name not in known.split() or tuple(name for name, _ in metric.dimensions) != names:
            yield f"{place}: {metric} is not known to be a metric of AWS; correct it, or add it to check-monitoring.py"


def functions_of_metrics() -> dict[str, set[str]]:
    """Returns the metrics that docs/metrics.md lists, with the functions that write them."""
    rows = re.findall(r"^\| `(\w+)`[ *]*\|[^|]*\|([^|]*)\|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    return {name: {one.strip(" `") for one in functions.split(",")} for name, functions in rows}


if __name__ == "__main__":
    sys.exit(main())
