"""Checks that docs/metrics.md, the code and the functions' logs name the same metrics.

    check-metrics.py            compares the document with the code: each metric is counted somewhere
    check-metrics.py FILE       also checks the metric lines in FILE, one JSON object a line: by CloudWatch's specification of
                                the embedded metric format, and by the document: name, unit, function and dimensions

Prints each difference, and ends with 1 if there is one. Lines of FILE without `_aws` are ignored.
"""

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/metrics.md"
SCHEMA = Path(__file__).with_name("emf-schema.json")
ROW = re.compile(r"^\| `(\w+)`( \*)? \| (\w+) \| ([^|]+) \| ([^|]+) \|")
NAMESPACE = "Signpost"
DIMENSIONS = ["Stack", "Function"]
MAX_VALUES = 100


class Metric(NamedTuple):
    is_by_tenant: bool
    unit: str
    functions: set[str]


def main(arguments: list[str]) -> int:
    metrics = listed()
    faults = [f"{name} is in docs/metrics.md and counted nowhere" for name in metrics.keys() - counted()]
    for file in arguments:
        faults += faults_of(Path(file).read_text().splitlines(), metrics)
    for fault in sorted(set(faults)):
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def listed() -> dict[str, Metric]:
    rows = (ROW.match(line) for line in DOCUMENT.read_text().splitlines())
    found = (row.groups() for row in rows if row)
    return {name: Metric(bool(star), unit, set(re.findall(r"`([^`]+)`", functions))) for name, star, unit, functions, _ in found}


def counted() -> set[str]:
    """The metrics that the code counts: those that it names anywhere but in their declaration."""
    sources = [path for folder in ("functions", "lib") for path in (ROOT / folder).glob("*/src/**/*.rs")]
    texts = (path.read_text().split("#[cfg(test)]")[0] for path in sources)
    return {name for text in texts for name in re.findall(r"(?:Metric|Self)::(\w+)", text)}


def faults_of(lines: list[str], metrics: dict[str, Metric]) -> list[str]:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    documents = (json.loads(line) for line in lines if '"_aws"' in line)
    return [f"{fault}, in {document}" for document in documents for fault in faults_in(document, validator, metrics)]


def faults_in(document: dict, validator: Draft202012Validator, metrics: dict[str, Metric]) -> list[str]:
    faults = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    if faults:
        return faults
    for directive in document["_aws"]["CloudWatchMetrics"]:
        (dimensions,) = directive["Dimensions"]
        is_of_tenant = dimensions == [*DIMENSIONS, "Tenant"]
        if directive["Namespace"] != NAMESPACE or not (is_of_tenant or dimensions == DIMENSIONS):
            faults.append(f"namespace {directive['Namespace']} and dimensions {dimensions}; expected {NAMESPACE}, {DIMENSIONS}")
        faults += [f"dimension {name} has no text" for name in dimensions if not isinstance(document.get(name), str)]
        for definition in directive["Metrics"]:
            name, metric = definition["Name"], metrics.get(definition["Name"])
            if metric is None:
                faults.append(f"{name} is not in docs/metrics.md")
                continue
            if definition.get("Unit") != metric.unit:
                faults.append(f"{name} has the unit {definition.get('Unit')}; docs/metrics.md has {metric.unit}")
            if document["Function"] not in metric.functions:
                faults.append(f"{document['Function']} wrote {name}; docs/metrics.md has {sorted(metric.functions)}")
            if is_of_tenant and not metric.is_by_tenant:
                faults.append(f"{name} is written by tenant; docs/metrics.md has no star")
            values = document.get(name)
            values = values if isinstance(values, list) else [values]
            if not 1 <= len(values) <= MAX_VALUES or not all(type(value) in (int, float) for value in values):
                faults.append(f"{name} is {document.get(name)}; expected a number, or 1 to {MAX_VALUES} numbers")
    return faults


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
