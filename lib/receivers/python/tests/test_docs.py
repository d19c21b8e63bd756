"""Compares the programs of docs/receivers.md with the examples, which the other tests run."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).parents[4]


class Docs(unittest.TestCase):
    def test_the_page_shows_each_example_as_it_is(self):
        page = (ROOT / "docs/receivers.md").read_text()
        blocks = set(re.findall(r"^```(?:python|js|rust|java|go|php|ruby|csharp)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL))
        examples = {path.read_text() for path in (ROOT / "lib/receivers").glob("*/examples/*.*")
                    if not path.name.endswith("_test.go")}
        self.assertGreaterEqual(len(examples), 12)
        self.assertEqual(blocks, examples)


if __name__ == "__main__":
    unittest.main()
