"""Tests check-links.py, check-guides.py and run_docs.py: wrong links and claims, and permissions that should be missing, are found."""

import importlib.util
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

HERE = Path(__file__).resolve().parent


def load(name: str):
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path[:0] = [str(HERE)]
import run_docs

links, guides = load("check-links"), load("check-guides")


class Links(unittest.TestCase):
    def faults(self, text: str, other: str = "# Other\n") -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            links.ROOT = Path(folder).resolve()
            (links.ROOT / "other.md").write_text(other)
            document = links.ROOT / "page.md"
            document.write_text(text)
            return list(links.faults(document))

    def test_a_link_to_a_missing_file_is_found_with_its_line(self):
        self.assertIn("page.md:3: found a link to `gone.md`", self.faults("# Page\n\n[x](gone.md)\n")[0])

    def test_a_link_to_a_missing_heading_is_found(self):
        self.assertIn("found the anchor `#gone`", self.faults("[x](other.md#gone)\n")[0])
        self.assertIn("found the anchor `#gone`", self.faults("# Page\n[x](#gone)\n")[0])

    def test_a_link_by_reference_is_checked(self):
        self.assertIn("gone.md", self.faults("[x][y]\n\n[y]: gone.md\n")[0])

    def test_anchors_are_those_of_github(self):
        headings = "# `AnAlarm`: it's *on*\n## The same\n## The same\n## [A link](x.md), and more?\n"
        for anchor in ("analarm-its-on", "the-same", "the-same-1", "a-link-and-more"):
            self.assertEqual(self.faults(f"[x](other.md#{anchor})\n", headings), [], anchor)

    def test_code_has_neither_links_nor_headings(self):
        self.assertEqual(self.faults("`[x](gone.md)`\n```\n[x](gone.md)\n```\n"), [])
        self.assertEqual(len(self.faults("[x](other.md#a-comment)\n", "```sh\n# A comment\n```\n")), 1)

    def test_other_sites_are_not_followed(self):
        self.assertEqual(self.faults("[x](https://nowhere.invalid/#x) [y](mailto:x@y.example)\n"), [])


class Times(unittest.TestCase):
    def test_each_retry_begins_after_the_waits_before_it(self):
        self.assertEqual(guides.times({"schedule": [5, 300, 43_200]}), ["12:00:05", "12:05:05", "00:05:05 +1"])
        self.assertEqual(guides.times({"maxRetries": 2, "intervalSeconds": 60}), ["12:01:00", "12:02:00"])
        self.assertEqual(guides.times({"maxRetries": 0}), [])

    def test_a_wrong_time_is_found(self):
        with unittest.mock.patch.object(guides, "text", lambda path: '| for | `{"maxRetries":1}` | 12:00:06 |\n' * 4):
            self.assertIn("found 12:00:06; expected 12:00:05", next(iter(guides.retries())))


class Refusals(unittest.TestCase):
    def run_refused(self, line: str) -> tuple[int, str]:
        script = "set -eo pipefail\n" + run_docs.refused(line)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=30)
        return done.returncode, done.stderr

    def test_a_command_that_iam_refuses_is_as_expected(self):
        self.assertEqual(self.run_refused("echo 'not allowed (403)' >&2; false"), (0, ""))

    def test_a_command_that_is_allowed_is_found(self):
        self.assertIn("is allowed: true", self.run_refused("true")[1])

    def test_a_command_that_fails_for_another_reason_is_found(self):
        code, said = self.run_refused("echo 'no such host' >&2; false")
        self.assertEqual(code, 1)
        self.assertIn("is not refused by IAM: no such host", said)


if __name__ == "__main__":
    unittest.main()
