"""Tests of infra/release.py: an archive has what a deploy needs, byte for byte the same each time. The list of crates has all
that cargo builds into the functions. It has no crate that only tests or the command line need."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "infra"))

import release

TEMPLATE = """Parameters:
  Stage:
    Default: dev
  Architecture:
    Type: String
    Default: arm64
    AllowedValues:
    - arm64
  Other:
    Default: arm64
"""


class Archives(unittest.TestCase):
    def setUp(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.folder = Path(home.name)
        self.built = self.folder / "build"
        for function in ("IngestFunction", "DeliverFunction"):
            (self.built / function).mkdir(parents=True)
            (self.built / function / "bootstrap").write_bytes(function.encode() * 1_000)
        (self.built / "AlarmsStack").mkdir()
        (self.built / "AlarmsStack/template.yaml").write_text("Resources: {}\n")
        (self.built / "template.yaml").write_text(TEMPLATE)

    def pack(self, name: str = "one.zip", architecture: str = "x86_64") -> Path:
        archive = self.folder / name
        release.pack(self.built, archive, architecture)
        return archive

    def test_the_same_build_makes_the_same_bytes(self):
        first = self.pack().read_bytes()
        for file in self.built.rglob("*"):
            file.touch()
            file.chmod(0o700)
        self.assertEqual(self.pack("two.zip").read_bytes(), first)

    def test_an_archive_has_all_files_and_its_functions_can_run(self):
        unpacked = self.folder / "unpacked"
        subprocess.run([sys.executable, "-m", "zipfile", "-t", self.pack()], check=True, stdout=subprocess.DEVNULL)
        release.unpack(self.folder / "one.zip", unpacked)
        files = {path.relative_to(self.built) for path in self.built.rglob("*") if path.is_file()}
        self.assertEqual({path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}, files)
        for file in files:
            self.assertEqual((unpacked / file).stat().st_mode & 0o777, 0o755 if file.name == "bootstrap" else 0o644, file)
            if file != Path("template.yaml"):
                self.assertEqual((unpacked / file).read_bytes(), (self.built / file).read_bytes())

    def test_the_default_processor_is_that_of_the_functions(self):
        release.unpack(self.pack(), self.folder / "unpacked")
        template = (self.folder / "unpacked/template.yaml").read_text()
        self.assertEqual(template, TEMPLATE.replace("    Type: String\n    Default: arm64", "    Type: String\n    Default: x86_64"))

    def test_a_template_without_the_parameter_is_refused(self):
        (self.built / "template.yaml").write_text("Resources: {}\n")
        with self.assertRaisesRegex(release.DeployError, "0 defaults of the parameter Architecture; expected one"):
            self.pack()


class Crates(unittest.TestCase):
    """Compares the list of crates with Cargo.lock, and with what `cargo metadata` resolves for the whole workspace."""

    def test_each_crate_of_the_functions_is_listed_with_its_checksum_and_licence(self):
        listed = {(one["name"], one["version"]): one for one in release.bill_of_materials("x86_64")["components"]}
        names = {name for name, _ in listed}
        self.assertGreaterEqual(names, {"aws-sdk-dynamodb", "aws-sdk-kms", "aws-sdk-sqs", "lambda_runtime", "reqwest", *release.FUNCTIONS})
        self.assertTrue(names.isdisjoint({"clap", "proptest", "signpost-cli", "signpost-testkit"}))
        for package in self.resolved():
            one = listed.pop((package["name"], package["version"]), None)
            if one is None:
                continue
            self.assertEqual(one["licenses"], [{"expression": package["license"].replace("/", " OR ")}])
            if package["source"]:
                [digest] = one["hashes"]
                entry = f'name = "{one["name"]}"\nversion = "{one["version"]}"\nsource = "{package["source"]}"\nchecksum = "{digest["content"]}"'
                self.assertIn(entry, (ROOT / "Cargo.lock").read_text())
                self.assertEqual(one["purl"], f"pkg:cargo/{one['name']}@{one['version']}")
        self.assertEqual(listed, {}, "crates that are in no lock file")

    def resolved(self) -> list[dict]:
        command = ["cargo", "metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", release.TARGETS["x86_64"]]
        return json.loads(subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout)["packages"]


if __name__ == "__main__":
    unittest.main()
