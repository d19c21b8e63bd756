"""Makes the archive of a release, from which a stack deploys without Rust. `make release` runs this program.

    release.py [--architecture arm64|x86_64] [FOLDER]

Writes into FOLDER, by default target/release-archives:

- signpost-VERSION-ARCHITECTURE.zip: the functions as `sam build` makes them, the template and the templates of its alarms and
  dashboard. `sam deploy --template-file template.yaml` and `sam package` take it from there.
- signpost-VERSION-ARCHITECTURE.cdx.json: the crates in the functions, with their licences and checksums (CycloneDX 1.6).
- SHA256SUMS: the digests of both files, for `sha256sum --check`.

Two archives of the same build have the same bytes. Needs sam, cargo, cargo-lambda and zig in PATH, and no AWS account.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import deploy
from deploy import DeployError, Parameters, refuse_other_processors, sam, say

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = sorted(folder.name for folder in (ROOT / "functions").iterdir() if (folder / "Cargo.toml").is_file())
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}
# The first moment that a zip file can have (APPNOTE.TXT 6.3.10, section 4.4.6).
MOMENT = (1980, 1, 1, 0, 0, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=TARGETS, default="arm64", help="the processor; default: arm64")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "target/release-archives")
    arguments = parser.parse_args()
    try:
        make(arguments.architecture, arguments.folder)
    except DeployError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def make(architecture: str, folder: Path) -> None:
    say(f"Building for {architecture}")
    sam("build", *Parameters({"Architecture": architecture}).overrides())
    refuse_other_processors(architecture)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"signpost-{version()}-{architecture}"
    archive, materials = folder / f"{name}.zip", folder / f"{name}.cdx.json"
    pack(ROOT / deploy.BUILT, archive, architecture)
    materials.write_text(json.dumps(bill_of_materials(architecture), indent=1) + "\n")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted((archive, materials))]
    (folder / "SHA256SUMS").write_text("".join(sums))
    say(f"{archive} has {archive.stat().st_size / 1e6:.1f} MB; deploy it with `sam deploy --template-file template.yaml`")


def version() -> str:
    return re.search(r'(?m)^version = "(.+)"$', (ROOT / "Cargo.toml").read_text())[1]


def pack(built: Path, archive: Path, architecture: str) -> None:
    """Packs a folder that `sam build` wrote. In the archive, the template's default is the processor of the functions."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(built.rglob("*")):
            if not file.is_file():
                continue
            entry = zipfile.ZipInfo(file.relative_to(built).as_posix(), MOMENT)
            entry.external_attr = (0o100755 if file.name == "bootstrap" else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = file.read_bytes()
            if file == built / "template.yaml":
                content = with_default(content.decode(), architecture).encode()
            packed.writestr(entry, content)


def with_default(template: str, architecture: str) -> str:
    changed, count = re.subn(r"(?m)^(  Architecture:\n(?:    .*\n)*?    Default: ).+$", rf"\g<1>{architecture}", template)
    if count != 1:
        raise DeployError(f"the built template has {count} defaults of the parameter Architecture; expected one")
    return changed


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks an archive with the modes of its files, which Python's `extractall` leaves out."""
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            Path(packed.extract(entry, folder)).chmod(entry.external_attr >> 16 & 0o777)


def bill_of_materials(architecture: str) -> dict:
    """Returns the crates that the functions are built from, as CycloneDX 1.6 (ECMA-424)."""
    locked = re.findall(r'(?m)^name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"$', (ROOT / "Cargo.lock").read_text())
    checksums = {(name, number): checksum for name, number, checksum in locked}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "signpost", "version": version(), "bom-ref": "signpost"}},
        "components": [component(*crate, checksums) for crate in crates(architecture)],
    }


def crates(architecture: str) -> list[tuple[str, str, str]]:
    """Returns names, versions and licences. Crates that only tests need are not among them."""
    packages = [word for function in FUNCTIONS for word in ("--package", function)]
    command = ["cargo", "tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}\t{l}",
               "--target", TARGETS[architecture], *packages]
    printed = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    return sorted(set(re.findall(r"(?m)^(\S+) v(\S+)[^\t]*\t(.*?)(?: \(\*\))?$", printed)))


def component(name: str, number: str, licence: str, checksums: dict[tuple[str, str], str]) -> dict:
    found = {"type": "library", "name": name, "version": number, "bom-ref": f"{name}@{number}"}
    found["licenses"] = [{"expression": licence.replace("/", " OR ")}]  # Older crates write `MIT/Apache-2.0`.
    if (name, number) in checksums:
        found["purl"] = f"pkg:cargo/{name}@{number}"
        found["hashes"] = [{"alg": "SHA-256", "content": checksums[name, number]}]
    return found


if __name__ == "__main__":
    sys.exit(main())
