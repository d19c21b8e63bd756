"""Checks that docs/LOGGING.md lists the log lines of functions/ and lib/: each event's name, levels and fields, and nothing
that no program logs. A metric filter of template.yaml must look for a listed event.

    check-logging.py            prints each difference; ends with 1 if there is one
    check-logging.py --rows     prints the table's first three columns as the code has them, to be copied
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/LOGGING.md"
MACRO = re.compile(r"\btracing::(\$level|error|warn|info|debug|trace)!\(")
# How a macro of our own is called that takes the level as its first argument, such as `attempted!(warn, error = …)`.
LEVEL_ARGUMENT = re.compile(r"\b[a-z_]+!\((error|warn|info|debug|trace),\s*(.*?)\)[,;]", re.DOTALL)
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
FIELD = re.compile(r'^[%?]?"?([a-z_]+(?:\.[a-z_]+)*)"?(?:\s*=|$)')
ROW = re.compile(r"^\| `([^`]+)` \| ([a-z, ]+) \| ([^|]*) \|")


class Line(NamedTuple):
    levels: set[str]
    fields: set[str]
    places: list[str]


def main() -> int:
    logged = lines()
    if "--rows" in sys.argv[1:]:
        for name, line in sorted(logged.items()):
            print(row(name, line))
        return 0
    listed = {}
    for text in DOCUMENT.read_text().splitlines():
        if found := ROW.match(text):
            name, levels, fields = found.groups()
            listed[name] = Line(set(levels.split(", ")), set(re.findall(r"`([^`]+)`", fields)), [])
    differences = [f"{logged[name].places[0]}: {name} is not in docs/LOGGING.md" for name in logged.keys() - listed]
    differences += [f"docs/LOGGING.md: {name} is logged nowhere" for name in listed.keys() - logged]
    for name in logged.keys() & listed:
        if logged[name][:2] != listed[name][:2]:
            differences.append(f"docs/LOGGING.md: {name} differs from {', '.join(logged[name].places)}; expected "
                               f"{row(name, logged[name])}")
    for pattern in re.findall(r"""FilterPattern: '"(.+)"'""", (ROOT / "template.yaml").read_text()):
        if pattern not in listed:
            differences.append(f"template.yaml: a metric filter looks for {pattern}, which docs/LOGGING.md does not list")
    for difference in sorted(differences):
        print(difference, file=sys.stderr)
    return 1 if differences else 0


def lines() -> dict[str, Line]:
    """The log lines by their events' names; a line without such a name by all of its text."""
    logged = {}
    for folder in ("functions", "lib"):
        for source in sorted((ROOT / folder).glob("*/src/**/*.rs")):
            text = source.read_text().split("#[cfg(test)]")[0]
            for macro in MACRO.finditer(text):
                *arguments, message = split(text, macro.end())
                name = message[message.index('"'):].strip('"')
                if event := EVENT.match(name):
                    name = event.group()
                line = logged.setdefault(name, Line(set(), set(), []))
                line.places.append(f"{source.relative_to(ROOT)}:{text.count(chr(10), 0, macro.start()) + 1}")
                line.fields.update(fields(arguments))
                if macro.group(1) != "$level":
                    line.levels.add(macro.group(1))
                    continue
                for level, extra in LEVEL_ARGUMENT.findall(text):
                    line.levels.add(level)
                    line.fields.update(fields(extra.split(",")))
    return logged


def split(text: str, start: int) -> list[str]:
    """The arguments of a macro, whose first begins at `start`."""
    arguments, depth, argument, place = [], 1, "", start
    while True:
        sign = text[place]
        if sign == '"':
            end = re.compile(r'(?:\\.|[^"\\])*"', re.DOTALL).match(text, place + 1).end()
            argument += text[place:end]
            place = end
            continue
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0:
            return [one.strip() for one in [*arguments, argument] if one.strip()]
        if sign == "," and depth == 1:
            arguments.append(argument)
            argument = ""
        else:
            argument += sign
        place += 1


def fields(arguments: list[str]) -> set[str]:
    return {found.group(1) for argument in arguments if (found := FIELD.match(argument.strip()))}


def row(name: str, line: Line) -> str:
    fields = " ".join(f"`{field}`" for field in sorted(line.fields))
    return f"| `{name}` | {', '.join(sorted(line.levels))} | {fields} |"


if __name__ == "__main__":
    sys.exit(main())
