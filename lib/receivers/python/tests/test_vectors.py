"""Runs all of docs/vectors.json."""

import base64
import json
import unittest
from pathlib import Path

from signpost_receiver import Receiver, VerificationError
from signpost_receiver.keys import FixedKeys

FILE = json.loads((Path(__file__).parents[4] / "docs/vectors.json").read_text())


ATTACKED = ("JWS EdDSA", "JWS, structured", "Standard Webhooks", "HTTP message signature EdDSA", "all formats")


def hostile_values(value: str) -> list[str]:
    return ["", ",", "=", '"', "((", ":", ".", "..", "\udcff", "\x00é", "٣", "9" * 15, "9" * 400, "e30..", "bnVsbA..", "W10..",
            "eyJhbGciOltdfQ..A", 'sig=();tag="signpost"', 'sig=("@method";x);tag="signpost"', value[: len(value) // 2],
            f"{value}, {value}", value[::-1], "A" * 5_000]


def receiver_of(vector: dict, **more) -> Receiver:
    settings = vector["receiver"]
    keys = FixedKeys(json.dumps(FILE["keySets"][settings["keySet"]])) if "keySet" in settings else None
    return Receiver(
        secrets=settings.get("secrets", ()), endpoint=settings.get("endpoint"), url=settings.get("url"),
        algorithm=settings.get("algorithm"), tolerance=FILE["toleranceSeconds"], clock=lambda: vector["now"], keys=keys,
        **more,
    )


def verify(vector: dict, **more):
    request = vector["request"]
    body = base64.b64decode(request["body"])
    return receiver_of(vector, **more).verify(request["headers"], body, request["url"], request["method"])


class Vectors(unittest.TestCase):
    def test_each_vector_is_accepted_or_refused_at_its_step(self):
        self.assertGreater(len(FILE["vectors"]), 100)
        for vector in FILE["vectors"]:
            with self.subTest(vector["name"]):
                expected = vector["expected"]
                if expected["accepted"]:
                    event = verify(vector)
                    found = {name: getattr(event, name) for name in ("id", "source", "type", "attempt", "replay")}
                    self.assertEqual(found, {name: expected["event"][name] for name in found})
                    self.assertEqual(sorted(event.signed), expected["event"]["signed"])
                else:
                    with self.assertRaises(VerificationError) as refused:
                        verify(vector)
                    self.assertIn(refused.exception.step, expected["steps"], str(refused.exception))

    def test_a_parsed_body_is_refused_with_the_reason(self):
        vector = next(one for one in FILE["vectors"] if one["name"] == "JWS RS256")
        parsed = json.loads(base64.b64decode(vector["request"]["body"]))
        with self.assertRaises(VerificationError) as refused:
            receiver_of(vector).verify(vector["request"]["headers"], parsed)
        self.assertEqual(refused.exception.step, "body-reencoded")

    def test_each_changed_byte_of_a_body_is_refused(self):
        for vector in (one for one in FILE["vectors"] if one["expected"]["accepted"] and one["request"]["method"] != "GET"):
            body, receiver = base64.b64decode(vector["request"]["body"]), receiver_of(vector)
            for at in range(0, len(body), 7):
                changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
                with self.subTest(vector["name"], at=at), self.assertRaises(VerificationError):
                    receiver.verify(vector["request"]["headers"], changed, vector["request"]["url"], vector["request"]["method"])

    def test_hostile_requests_are_accepted_or_refused_and_raise_nothing_else(self):
        count = 0
        for vector in (one for one in FILE["vectors"] if one["name"] in ATTACKED):
            request, receiver = vector["request"], receiver_of(vector)
            body, url = base64.b64decode(request["body"]), request["url"]
            for at, (name, value) in enumerate(request["headers"]):
                for hostile in hostile_values(value):
                    headers = [*request["headers"][:at], (name, hostile), *request["headers"][at + 1 :]]
                    for arguments in ((body, url, request["method"]), (b"[" * 100_000, url), (b"", f"{url}?{hostile}", "GET")):
                        count += 1
                        try:
                            receiver.verify(headers, *arguments)
                        except VerificationError:
                            pass
                        except Exception as error:  # noqa: BLE001
                            self.fail(f"{vector['name']}, {name}: {hostile[:40]!r}: {error!r}")
        self.assertGreater(count, 1_000)

    def test_the_hook_marks_repetitions(self):
        vector = next(one for one in FILE["vectors"] if one["name"] == "Standard Webhooks v1")
        identifier = vector["expected"]["event"]["id"]
        self.assertTrue(verify(vector, seen=lambda one: one == identifier).repeated)
        self.assertFalse(verify(vector, seen=lambda _: False).repeated)

    def test_only_accepted_formats_count(self):
        vector = next(one for one in FILE["vectors"] if one["name"] == "JWS RS256")
        with self.assertRaises(VerificationError) as refused:
            verify(vector, formats=["http-message-signatures"])
        self.assertEqual(refused.exception.step, "no-signature")

    def test_settings_that_verify_nothing_are_refused(self):
        cases = [({}, "neither"), ({"secrets": "whsec_x"}, "whsec_"), ({"keys_url": "http://a.example/k"}, "https")]
        for settings, words in cases:
            with self.subTest(settings), self.assertRaisesRegex(ValueError, words):
                Receiver(**settings)


if __name__ == "__main__":
    unittest.main()
