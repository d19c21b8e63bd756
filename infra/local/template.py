"""template.yaml and the templates of its nested stacks as data, for the programs that check them."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"


def read(path: Path = TEMPLATE) -> dict:
    """Returns a template in which each function of CloudFormation is replaced by its argument."""
    return yaml.load(path.read_text(), Loader=Loader)


def read_functions(path: Path = TEMPLATE) -> dict:
    """Returns a template in which each function of CloudFormation has its long form, such as `{"Ref": "Api"}`."""
    return yaml.load(path.read_text(), Loader=FunctionLoader)


def resolve(template: dict, parameters: dict[str, str]) -> dict:
    """Returns the resources of a template of `read_functions` that exist with these parameters, functions applied.

    Knows the functions of the nested templates only: Ref, Sub, If, Not, Equals. A pseudo parameter is a parameter, such
    as `AWS::Region`.
    """
    values = {name: str(one["Default"]) for name, one in template["Parameters"].items() if "Default" in one} | parameters
    unknown = template["Parameters"].keys() - values.keys()
    if unknown:
        raise ValueError(f"no value for the parameters {', '.join(sorted(unknown))}")

    def apply(value: object) -> object:
        match value:
            case {"Ref": name}:
                return values[name]
            case {"Fn::Sub": str(text)}:
                return substitute(text, {})
            case {"Fn::Sub": [text, variables]}:
                return substitute(text, {name: apply(one) for name, one in variables.items()})
            case {"Fn::If": [condition, then, otherwise]}:
                return apply(then) if apply(template["Conditions"][condition]) else apply(otherwise)
            case {"Fn::Equals": [left, right]}:
                return apply(left) == apply(right)
            case {"Fn::Not": [inner]}:
                return not apply(inner)
            case dict():
                return {name: apply(one) for name, one in value.items()}
            case list():
                return [apply(one) for one in value]
        return value

    def substitute(text: str, variables: dict) -> str:
        return re.sub(r"\$\{([\w:]+)\}", lambda found: str({**values, **variables}[found.group(1)]), text)

    return {
        name: apply(one)
        for name, one in template["Resources"].items()
        if "Condition" not in one or apply(template["Conditions"][one["Condition"]])
    }


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions, of which only the arguments are kept."""


class FunctionLoader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions, written out."""


def argument(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


def function(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict:
    value = argument(loader, name, node)
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


Loader.add_multi_constructor("!", argument)
FunctionLoader.add_multi_constructor("!", function)
