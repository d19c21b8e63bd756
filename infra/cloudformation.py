"""CloudFormation templates as data, with each function in its long form, such as {"Fn::If": [...]}."""

from pathlib import Path

import yaml


def load(path: Path) -> dict:
    return yaml.load(path.read_text(), Loader=Loader)


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions, such as !If."""


def function(loader: Loader, name: str, node: yaml.Node) -> dict:
    if isinstance(node, yaml.MappingNode):
        argument = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        argument = loader.construct_sequence(node, deep=True)
    else:
        argument = loader.construct_scalar(node)
    if name in ("Ref", "Condition"):
        return {name: argument}
    if name == "GetAtt" and isinstance(argument, str):
        argument = argument.split(".", 1)
    return {f"Fn::{name}": argument}


Loader.add_multi_constructor("!", function)
