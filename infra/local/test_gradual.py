"""Tests infra/gradual.py: when does Lambda publish a new version, and what stops a bad one."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra"))

import gradual

TEMPLATE = {
    "Globals": {"Function": {"MemorySize": 256}},
    "Resources": {
        "IngestRole": {"Type": "AWS::IAM::Role", "Properties": {"PermissionsBoundary": "bounds", "Path": "/signpost/"}},
        "IngestFunction": {
            "Type": "AWS::Serverless::Function",
            "Properties": {"CodeUri": "IngestFunction", "Environment": {"Variables": {"DAYS": {"Ref": "Days"}}}},
        },
        "EchoFunction": {
            "Type": "AWS::Serverless::Function",
            "Condition": "HasSmokeTest",
            "Properties": {"CodeUri": "EchoFunction"},
        },
    },
}


class Gradual(unittest.TestCase):
    def rewritten(self, template: dict = TEMPLATE, code: bytes = b"code", salt: str = "") -> dict:
        """Rewrites a built template on disk, and returns its resources."""
        with tempfile.TemporaryDirectory() as folder:
            for name in ("IngestFunction", "EchoFunction"):
                (Path(folder) / name).mkdir()
                (Path(folder) / name / "bootstrap").write_bytes(code)
            path = Path(folder) / "template.yaml"
            path.write_text(json.dumps(template))
            gradual.rewrite_file(path, "Canary10Percent5Minutes", salt)
            return json.loads(path.read_text())["Resources"]

    def version(self, **changes) -> str:
        return self.rewritten(**changes)["IngestFunction"]["Properties"]["AutoPublishCodeSha256"]

    def test_a_version_is_new_if_code_settings_or_parameters_are(self):
        other = json.loads(json.dumps(TEMPLATE))
        other["Resources"]["IngestFunction"]["Properties"]["Environment"]["Variables"]["DAYS"] = "9"
        more_memory = {**TEMPLATE, "Globals": {"Function": {"MemorySize": 512}}}
        self.assertEqual(self.version(), self.version())
        changes = ({"code": b"new"}, {"salt": '{"Days": "9"}'}, {"template": other}, {"template": more_memory})
        versions = [self.version(), *(self.version(**change) for change in changes)]
        self.assertEqual(len(set(versions)), len(versions), versions)

    def test_errors_of_the_new_version_alone_bring_the_old_one_back(self):
        resources = self.rewritten()
        alarms = resources["IngestFunction"]["Properties"]["DeploymentPreference"]["Alarms"]
        self.assertEqual(alarms, [{"Ref": "IngestFunctionCanaryAlarm"}])
        alarm = resources["IngestFunctionCanaryAlarm"]["Properties"]
        dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
        self.assertEqual(dimensions["ExecutedVersion"], {"Fn::GetAtt": ["IngestFunction.Version", "Version"]})
        self.assertEqual((alarm["MetricName"], alarm["TreatMissingData"]), ("Errors", "notBreaching"))

    def test_a_function_that_may_not_exist_has_an_alarm_that_may_not_exist(self):
        resources = self.rewritten()
        self.assertEqual(resources["EchoFunctionCanaryAlarm"]["Condition"], "HasSmokeTest")
        self.assertNotIn("Condition", resources["IngestFunctionCanaryAlarm"])

    def test_the_role_of_codedeploy_is_bounded_as_the_others_are(self):
        role = self.rewritten()[gradual.ROLE]["Properties"]
        self.assertEqual((role["PermissionsBoundary"], role["Path"]), ("bounds", "/signpost/"))


if __name__ == "__main__":
    unittest.main()
