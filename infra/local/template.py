"""template.yaml as data, for the programs that check it."""

from pathlib import Path

import yaml

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


def read(path: Path = TEMPLATE) -> dict:
    return yaml.load(path.read_text(), Loader=Loader)


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions, of which only the arguments are kept."""


def argument(loader: Loader, _: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


Loader.add_multi_constructor("!", argument)
