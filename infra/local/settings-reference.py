"""Writes the reference of endpoint settings into docs/endpoints.md, from the schema `Settings` of infra/openapi.yaml.

    settings-reference.py           writes the reference
    settings-reference.py --check   writes nothing; ends with 1 if the reference is stale

The reference stands between two comments of docs/endpoints.md. The rest of that document is written by hand.
"""

import json
import re
import sys
from pathlib import Path

from template import read

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/endpoints.md"
BEGIN = "<!-- begin: infra/local/settings-reference.py writes this part from infra/openapi.yaml -->"
END = "<!-- end -->"


def main(arguments: list[str]) -> int:
    page = PAGE.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        print(f"found no part to write in {PAGE}; put `{BEGIN}` and `{END}` around it", file=sys.stderr)
        return 1
    written = f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"
    if arguments != ["--check"]:
        PAGE.write_text(written)
    elif written != page:
        print("docs/endpoints.md is stale: run `python infra/local/settings-reference.py`", file=sys.stderr)
        return 1
    return 0


def reference() -> str:
    schemas = read(ROOT / "infra/openapi.yaml")["components"]["schemas"]
    settings = schemas["Settings"]["properties"] | schemas["EndpointSettings"]["properties"]
    parts = [table("setting", members({**schemas["Settings"], "properties": settings}, schemas))]
    for heading, setting, name_of in (
        ("Authentication", "auth", kind_of_member),
        ("Retries", "retry", form_of_retry),
    ):
        parts.append(f"### {heading}\n")
        for kind in resolved(settings[setting], schemas)["oneOf"]:
            kind = resolved(kind, schemas)
            rest = {name: value for name, value in members(kind, schemas).items() if name != "kind"}
            text = f"`{setting}` with {name_of(kind)}: {sentence(kind)}".rstrip(": ")
            parts.append(f"{text}\n" if sentence(kind) or not rest else f"{text}:\n")
            parts += [table("member", rest)] if rest else []
            if "keyStore" in rest:
                parts.append("`keyStore` and `trustStore` have these members:\n")
                parts.append(table("member", members(schemas["Store"], schemas)))
    parts.append("### Destinations\n\n`destination` has these members:\n")
    parts.append(table("member", members(schemas["Destination"], schemas)))
    return "\n".join(parts)


def kind_of_member(kind: dict) -> str:
    return f"`\"kind\":\"{kind['properties']['kind']['const']}\"`"


def form_of_retry(kind: dict) -> str:
    if "schedule" in kind["properties"]:
        return "`schedule`"
    return f"`\"backoff\":\"{kind['properties']['backoff']['const']}\"`"


def members(schema: dict, schemas: dict) -> dict[str, tuple[dict, bool]]:
    """Each member's schema, and whether it is required. Leaves out members that only answers have."""
    required = schema.get("required", [])
    all_of_them = {name: resolved(member, schemas) for name, member in schema["properties"].items()}
    return {name: (member, name in required) for name, member in all_of_them.items() if not member.get("readOnly")}


def resolved(schema: dict, schemas: dict) -> dict:
    """The schema with the schema that it refers to; its own words come first."""
    if "$ref" in schema:
        target = schemas[schema["$ref"].rpartition("/")[2]]
        return {**resolved(target, schemas), **{name: value for name, value in schema.items() if name != "$ref"}}
    if "anyOf" in schema:  # A schema, or null.
        return {**resolved(schema["anyOf"][0], schemas), **schema}
    return schema


def table(what: str, rows: dict[str, tuple[dict, bool]]) -> str:
    lines = [f"| {what} | meaning | values | default |", "|---|---|---|---|"]
    for name, (schema, is_required) in rows.items():
        either = name in ("url", "destination")
        default = "required" if is_required else "one of `url`, `destination`" if either else literal(schema["default"]) if "default" in schema else ""
        lines.append(f"| `{name}` | {sentence(schema)} | {values(schema)} | {default} |")
    return "\n".join(lines) + "\n"


def sentence(schema: dict) -> str:
    """The description in one line, with an example if there is one."""
    text = re.sub(r"\s+", " ", schema.get("description", "")).strip()
    if text and text[-1] not in ".!?":
        text += "."
    examples = schema.get("examples", [])
    # A pipe ends a cell, even in code.
    return (text + (f" Example: {literal(examples[0])}." if examples else "")).replace("|", "\\|").strip()


def values(schema: dict) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "minimum" in schema:
        return f"{schema['minimum']:,} to {schema['maximum']:,}"
    if "oneOf" in schema:
        return "see below"
    kind = schema.get("type", "object")
    if kind == "array":
        choices = schema["items"].get("enum")
        items = "one or several of " + ", ".join(f"`{item}`" for item in choices) if choices else "list"
        return items + (f", at most {schema['maxItems']}" if "maxItems" in schema else "")
    if kind == "object":
        return "object" + (f", at most {schema['maxProperties']} members" if "maxProperties" in schema else "")
    return {"string": "text"}.get(kind, kind) + (f", at most {schema['maxLength']:,}" if "maxLength" in schema else "")


def literal(value: object) -> str:
    return f"`{json.dumps(value, separators=(',', ':'), ensure_ascii=False)}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
