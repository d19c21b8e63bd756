"""Checks that Signpost has one version: `version` of [workspace.package] in Cargo.toml.

Every crate inherits it. The contract repeats it in `info.version`, and the template in the output `Version`, which `signpost
whoami` shows. The `user-agent` is made from it, and the documents show that one. No other file names one of its own. The compiler is one as well: the channel of rust-toolchain.toml is `rust-version`. Prints each difference;
ends with 1 if there is one.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    workspace = (ROOT / "Cargo.toml").read_text()
    version = only(r'^version = "(.+)"$', workspace, "Cargo.toml")
    rust = only(r'^rust-version = "(.+)"$', workspace, "Cargo.toml")
    differences = [*uninherited(workspace)]
    contract = only(r'^  version: "?([^"\n]+)"?$', (ROOT / "infra/openapi.yaml").read_text(), "infra/openapi.yaml")
    if contract != version:
        differences.append(f"infra/openapi.yaml: info.version is {contract}; Cargo.toml says {version}")
    template = only(r"^  Version:\n    Description: .+\n    Value: (\S+)", (ROOT / "template.yaml").read_text(), "template.yaml")
    if template != version:
        differences.append(f"template.yaml: the output Version is {template}; Cargo.toml says {version}")
    differences += stale_examples(version)
    pages = set(re.findall(r"signpost-(\d+\.\d+\.\d+)-", (ROOT / "docs/deploying.md").read_text()))
    if pages != {version}:
        differences.append(f"docs/deploying.md: the archives have the versions {sorted(pages)}; Cargo.toml says {version}")
    for package in ("python/pyproject.toml", "javascript/package.json", "rust/Cargo.toml", "java/pom.xml"):
        path = f"lib/receivers/{package}"
        found = only(r'^(?:  "version": "|version = "|  <version>)(.+?)(?:",?|</version>)$', (ROOT / path).read_text(), path)
        if found != version:
            differences.append(f"{path}: version is {found}; Cargo.toml says {version}")
    repeated = r'signpost-receiver-[a-z]+/([0-9][0-9.]*)|VERSION = "(.+)"'
    for source in sorted((ROOT / "lib/receivers").glob("*/s*/**/*.*")):
        for found in re.findall(repeated, source.read_text(errors="replace")):
            if version not in found:
                differences.append(f"{source.relative_to(ROOT)}: version is {''.join(found)}; Cargo.toml says {version}")
    package = (ROOT / "lib/receivers/rust/Cargo.toml").read_text()
    if (found := only(r'^rust-version = "(.+)"$', package, "lib/receivers/rust/Cargo.toml")) != rust:
        differences.append(f"lib/receivers/rust/Cargo.toml: rust-version is {found}; Cargo.toml says {rust}")
    channel = only(r'^channel = "(.+)"$', (ROOT / "rust-toolchain.toml").read_text(), "rust-toolchain.toml")
    if channel.split(".")[:2] != rust.split(".")[:2]:
        differences.append(f"rust-toolchain.toml: channel is {channel}; rust-version of Cargo.toml is {rust}")
    agents = [source for source in rust_sources() if re.search(r'"Signpost/', source.read_text())]
    differences += [
        f'{source.relative_to(ROOT)}: name the version by concat!("Signpost/", env!("CARGO_PKG_VERSION"))'
        for source in agents
        if re.search(r'"Signpost/\d', source.read_text())
    ]
    if not any("USER_AGENT: &str = concat!" in source.read_text() for source in agents):
        differences.append("lib/core: no USER_AGENT is made from CARGO_PKG_VERSION")
    for difference in differences:
        print(difference, file=sys.stderr)
    return 1 if differences else 0


def uninherited(workspace: str):
    """Members that a crate spells out although the workspace has them for all."""
    members = re.search(r"^members = \[(.+)\]$", workspace, re.MULTILINE).group(1)
    for pattern in re.findall(r'"(.+?)"', members):
        for manifest in sorted(ROOT.glob(f"{pattern}/Cargo.toml")):
            for key in ("version", "edition", "license", "rust-version", "publish"):
                if not re.search(rf"^{key}\.workspace = true$", manifest.read_text(), re.MULTILINE):
                    yield f"{manifest.relative_to(ROOT)}: write {key}.workspace = true"


def stale_examples(version: str):
    """Examples of the documents that show another version than the one that a stack sends or has."""
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "docs/vectors.json"]:
        for shown in sorted(set(re.findall(r"\b[Ss]ignpost/(\d+\.\d+\.\d+)", document.read_text()))):
            if shown != version:
                yield f"{document.relative_to(ROOT)}: an example shows {shown}; Cargo.toml says {version}"


def rust_sources():
    return [source for folder in ("lib", "functions") for source in sorted((ROOT / folder).glob("*/src/**/*.rs"))]


def only(pattern: str, text: str, name: str) -> str:
    found = re.findall(pattern, text, re.MULTILINE)
    if len(found) != 1:
        sys.exit(f"{name}: {len(found)} lines match {pattern}; expected 1")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
