"""Tests infra/restore.py against DynamoDB of the local stack, in tables of this test.

Needs the settings of the local stack in the environment.
"""

import subprocess
import sys
import unittest
import uuid
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parents[2]
FIRST, SECOND = (f"ep_{number:032x}" for number in (1, 2))


def item(sort: str, **attributes: str | int) -> dict:
    values = {name: {"S": one} if isinstance(one, str) else {"N": str(one)} for name, one in attributes.items()}
    return {"tenant": {"S": "acme"}, "endpoint": {"S": sort}, **values}


class Restores(unittest.TestCase):
    def setUp(self):
        self.dynamodb = boto3.client("dynamodb")
        self.restored, self.table = (self.create(f"restore-{uuid.uuid4()}") for _ in range(2))

    def create(self, name: str) -> str:
        self.dynamodb.create_table(
            TableName=name, BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in ("tenant", "endpoint")],
            KeySchema=[{"AttributeName": "tenant", "KeyType": "HASH"}, {"AttributeName": "endpoint", "KeyType": "RANGE"}],
        )
        self.addCleanup(self.dynamodb.delete_table, TableName=name)
        return name

    def put(self, table: str, *items: dict) -> None:
        for one in items:
            self.dynamodb.put_item(TableName=table, Item=one)

    def get(self, sort: str) -> dict | None:
        key = {"tenant": {"S": "acme"}, "endpoint": {"S": sort}}
        return self.dynamodb.get_item(TableName=self.table, Key=key).get("Item")

    def restore(self, *options: str) -> str:
        program = [sys.executable, ROOT / "infra/restore.py", *options, self.restored, self.table]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_deleted_endpoints_come_back_and_are_counted_and_others_stay_as_they_are(self):
        both = [item(FIRST, version=1), item(f"s#{FIRST}", settingsBytes=10), item(SECOND, version=1), item(f"s#{SECOND}", settingsBytes=30)]
        self.put(self.restored, *both, item("head", version=2, endpoints=2, settingsBytes=40))
        changed = item(FIRST, version=5)
        self.put(self.table, changed, item(f"s#{FIRST}", settingsBytes=20), item("head", version=9, endpoints=1, settingsBytes=20))
        self.assertIn("Copied 2 items", self.restore())
        self.assertEqual((self.get(FIRST), self.get(SECOND)), (changed, both[2]))
        self.assertEqual(self.get("head"), item("head", version=10, endpoints=2, settingsBytes=50))
        self.assertIn("Copied 0 items", self.restore())

    def test_damaged_items_are_replaced_if_the_operator_asks_for_it(self):
        self.put(self.restored, item(FIRST, settings="{}"))
        self.put(self.table, item(FIRST, settings="damaged"))
        self.assertIn("1 were there already", self.restore())
        self.assertEqual(self.get(FIRST)["settings"], {"S": "damaged"})
        self.restore("--overwrite")
        self.assertEqual(self.get(FIRST)["settings"], {"S": "{}"})


if __name__ == "__main__":
    unittest.main()
