"""Tests infra/smoke.py against a local stack that enforces IAM.

Needs the settings of the local stack in the environment.
"""

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
import unittest
import uuid
from pathlib import Path

import boto3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "infra")]

import smoke

import run_docs

PROGRAM = [sys.executable, str(ROOT / "infra/smoke.py")]


class Runs(unittest.TestCase):
    def setUp(self):
        self.api = smoke.Api(os.environ["API_URL"])

    def left(self) -> list[str]:
        """Returns the descriptions of the endpoints that are there."""
        endpoints = self.api.ask("GET", f"/v1/tenants/{smoke.TENANT}/endpoints")["endpoints"]
        return [one["description"] for one in endpoints]

    def create(self, description: str) -> None:
        settings = {"url": "https://hooks.example/", "types": [{"type": "none"}], "description": description}
        created = self.api.ask("POST", f"/v1/tenants/{smoke.TENANT}/endpoints", settings)
        self.addCleanup(self.api.ask, "DELETE", f"/v1/tenants/{smoke.TENANT}/endpoints/{created['id']}")

    def test_it_tries_everything_out_with_the_documented_permissions_and_removes_what_is_old(self):
        now = int(time.time())
        killed = f"smoke test 0123abcd, begun at {now - smoke.LEFT_AFTER_SECONDS - 1}"
        at_work, other = f"smoke test 4567abcd, begun at {now}", "an operator's own"
        for description in (killed, at_work, other):
            self.create(description)
        caller = run_docs.user(f"smoke-{uuid.uuid4()}", run_docs.policy(smoke.TENANT))

        done = subprocess.run(PROGRAM, env={**os.environ, **caller}, capture_output=True, text=True, check=False)

        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        lines = done.stdout.splitlines()
        for door in smoke.DOORS:
            self.assertEqual(1, sum(f"send an event by {door}" in line for line in lines), done.stdout)
            self.assertEqual(1, sum(f"check the records of the event by {door}" in line for line in lines), done.stdout)
            for form in smoke.FORMATS:
                self.assertEqual(1, sum(f"verify {form} of the event by {door}: " in line for line in lines), done.stdout)
        for line in lines[:-1]:
            self.assertRegex(line, r"^· +[0-9]+\.[0-9] s  \w", "each step has its time")
        self.assertEqual(sorted(self.left()), sorted([at_work, other]))

    def test_a_run_that_fails_names_the_step_and_the_fix_and_removes_what_it_made(self):
        lost = boto3.client("sqs").create_queue(QueueName=f"lost-{uuid.uuid4()}")["QueueUrl"]

        program = [*PROGRAM, "--wait", "5"]
        done = subprocess.run(program, env={**os.environ, "EVENTS_QUEUE_URL": lost}, capture_output=True, text=True, check=False)

        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("smoke test failed at `wait for the webhooks of the event by SQS`: jws is not there", done.stderr)
        self.assertIn("look at the log groups of FanoutFunction and DeliverFunction, and at RejectedQueue", done.stderr)
        self.assertEqual(self.left(), [])

    def test_ctrl_c_removes_what_the_run_made(self):
        with subprocess.Popen(PROGRAM, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            self.addCleanup(run.kill)
            for line in run.stdout:
                if "send an event by HTTP" in line:
                    break
            self.assertEqual(len(self.left()), len(smoke.FORMATS))
            run.send_signal(signal.SIGINT)
            told, errors = run.communicate(timeout=60)
        self.assertEqual((run.returncode, errors), (130, ""), told)
        self.assertEqual(self.left(), [])

    def test_its_receiver_proves_that_it_wants_webhooks(self):
        settings = {"url": f"{self.api.url}/smoke", "types": [{"type": "none"}], "verification": "challenge"}
        created = self.api.ask("POST", f"/v1/tenants/{smoke.TENANT}/endpoints", settings)
        path = f"/v1/tenants/{smoke.TENANT}/endpoints/{created['id']}"
        self.addCleanup(self.api.ask, "DELETE", path)
        self.assertEqual(created["state"], "unverified")
        deadline = time.monotonic() + 60
        while (state := self.api.ask("GET", path)["state"]) != "enabled":
            self.assertLess(time.monotonic(), deadline, state)
            time.sleep(0.5)

    def test_a_stack_that_cannot_be_tried_out_is_named_with_the_fix(self):
        cases = [
            (["--stack", "other"], {}, "AWS_ENDPOINT_URL names a local stack; unset it"),
            ([], {"API_URL": None}, "'API_URL' is not set, and AWS_ENDPOINT_URL is; load .local/stack.env"),
            ([], {"API_URL": "http://127.0.0.1:9"}, "got no answer in JSON"),
        ]
        for arguments, changes, expected in cases:
            with self.subTest(expected):
                env = {name: value for name, value in {**os.environ, **changes}.items() if value is not None}
                done = subprocess.run([*PROGRAM, *arguments], env=env, capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn(expected, done.stderr)


class Signatures(unittest.TestCase):
    """The verifiers, with keys of this test."""

    @classmethod
    def setUpClass(cls):
        cls.rsa, cls.ed25519 = generate_private_key(65537, 2048), Ed25519PrivateKey.generate()
        numbers = cls.rsa.public_key().public_numbers()
        cls.keys = [
            {"kid": "k1", "alg": "RS256", "n": encoded(numbers.n.to_bytes(256, "big")), "e": encoded(numbers.e.to_bytes(3, "big"))},
            {"kid": "k2", "x": encoded(cls.ed25519.public_key().public_bytes_raw()), "endpoint": "ep_1"},
        ]
        secret = b"0123456789abcdef01234567"
        cls.endpoint = {"id": "ep_1", "url": "https://api.example/smoke", "signingSecret": "whsec_" + plain(secret)}
        body, header = b'{"text":"a\\u0020b"}', encoded(b'{"alg":"RS256","kid":"k1","typ":"JWT"}')
        jws = cls.sign(f"{header}.{encoded(body)}".encode())
        signed = b"e:1.1769853600." + body
        parameters = (
            '("@method" "@target-uri" "content-digest" "webhook-id" "ce-type" "ce-source")'
            ';created=1769853600;keyid="k1";alg="rsa-v1_5-sha256";tag="signpost"'
        )
        headers = {
            "webhook-id": "e:1", "webhook-timestamp": "1769853600", "ce-type": "t", "ce-source": "/s",
            "content-digest": f"sha-256=:{plain(hashlib.sha256(body).digest())}:",
            "signature-input": f"sig={parameters}",
        }
        values = {**headers, "@method": "POST", "@target-uri": cls.endpoint["url"]}
        names = ("@method", "@target-uri", "content-digest", "webhook-id", "ce-type", "ce-source")
        base = "\n".join([*(f'"{name}": {values[name]}' for name in names), f'"@signature-params": {parameters}'])
        headers |= {
            "jws-signature": f"{header}..{encoded(jws)}",
            "webhook-signature": f"v1,{plain(hmac.digest(secret, signed, 'sha256'))} v1a,{plain(cls.ed25519.sign(signed))}",
            "signature": f"sig=:{plain(cls.sign(base.encode()))}:",
        }
        cls.webhook = smoke.Webhook(headers, body)

    @classmethod
    def sign(cls, signed: bytes) -> bytes:
        return cls.rsa.sign(signed, PKCS1v15(), SHA256())

    def test_authentic_webhooks_verify(self):
        for form, verify in smoke.VERIFIERS.items():
            with self.subTest(form):
                self.assertRegex(verify(self.webhook, self.keys, self.endpoint), "k[12]")

    def test_changed_webhooks_do_not(self):
        everything = tuple(smoke.VERIFIERS)
        standard, http = ("standard-webhooks",), ("http-message-signatures",)
        cases = [
            ({}, b'{"text":"a b"}', everything, "another body"),
            ({"webhook-id": "e:2"}, None, (*standard, *http), "another id"),
            ({"webhook-timestamp": "1769853601"}, None, standard, "another moment"),
            ({"ce-type": "u"}, None, http, "another type"),
            ({"signature-input": self.webhook.headers["signature-input"].replace(' "ce-source"', "")}, None, http, "covers less"),
        ]
        for headers, body, forms, why in cases:
            webhook = smoke.Webhook({**self.webhook.headers, **headers}, body or self.webhook.body)
            for form in forms:
                with self.subTest(why, form=form), self.assertRaises((InvalidSignature, ValueError)):
                    smoke.VERIFIERS[form](webhook, self.keys, self.endpoint)
        with self.assertRaises(InvalidSignature):
            smoke.verify_http_message_signature(self.webhook, self.keys, {**self.endpoint, "url": "https://api.example/other"})

    def test_a_key_that_is_not_published_is_named(self):
        cases = [("jws", "kid k1"), ("http-message-signatures", "kid k1"), ("standard-webhooks", "endpoint ep_1")]
        for form, expected in cases:
            with self.subTest(form), self.assertRaisesRegex(smoke.MissingKey, expected):
                smoke.VERIFIERS[form](self.webhook, [], self.endpoint)

    def test_it_judges_the_test_vectors_as_the_command_line_does(self):
        document = json.loads((ROOT / "docs/vectors.json").read_text())
        passing = json.loads((ROOT / "infra/local/smoke-vectors.json").read_text())
        for form in smoke.FORMATS:
            found = [one["name"] for one in document["vectors"] if passes(one, form, document["keySets"])]
            self.assertEqual(found, passing[form], form)

    def test_a_record_must_have_what_was_sent(self):
        body, data = '{"text":"a b"}', {"text": "a b"}
        answer = json.dumps({"headers": {"webhook-id": "e:1"}, "body": body})
        sent = {"bodySha256": hashlib.sha256(body.encode()).hexdigest()}
        first = {"status": 425, "response": answer, "sent": sent}
        last = {"status": 204, "response": None, "sent": sent}
        other = {"bodySha256": "0" * 64}
        webhook = smoke.echoed({"attempts": [first, last]}, "jws", data)
        self.assertEqual(webhook, smoke.Webhook({"webhook-id": "e:1"}, body.encode()))
        cases = [
            ({}, data, "no attempt"),
            ({"attempts": [last]}, data, "was acknowledged at once"),
            ({"attempts": [first]}, data, "was not acknowledged"),
            ({"attempts": [{**first, "response": "<html>"}, last]}, data, "a proxy answered"),
            ({"attempts": [{**first, "response": None}, last]}, data, "there was no answer"),
            ({"attempts": [{**first, "sent": other}, last]}, data, "another body was sent"),
            ({"attempts": [first, last]}, {"text": "b"}, "is the data of another event"),
        ]
        for delivery, expected, why in cases:
            with self.subTest(why), self.assertRaises(smoke.SmokeError):
                smoke.echoed(delivery, "jws", expected)

    def test_only_endpoints_of_old_runs_are_left_over(self):
        cases = [
            ("smoke test 0123abcd, begun at 1000", 1_000 + smoke.LEFT_AFTER_SECONDS + 1, True, "old"),
            ("smoke test 0123abcd, begun at 1000", 1_000 + smoke.LEFT_AFTER_SECONDS, False, "may still run"),
            ("about a smoke test 0123abcd, begun at 1000", 10_000, False, "an operator's words"),
            ("", 10_000, False, "no description"),
        ]
        for description, now, expected, why in cases:
            self.assertEqual(smoke.is_left(description, now), expected, why)


def passes(vector: dict, form: str, key_sets: dict) -> bool:
    """Returns whether a vector passes as a webhook of the smoke test, which are all `POST`."""
    request, receiver = vector["request"], vector["receiver"]
    if request["method"] != "POST":
        return False
    headers = {name.lower(): value for name, value in request["headers"]}
    webhook = smoke.Webhook(headers, base64.b64decode(request["body"]))
    keys = key_sets[receiver["keySet"]]["keys"] if "keySet" in receiver else []
    secret = receiver.get("secrets", [""])[0]
    endpoint = {"id": receiver.get("endpoint"), "url": receiver.get("url"), "signingSecret": secret}
    try:
        smoke.VERIFIERS[form](webhook, keys, endpoint)
    except (smoke.MissingKey, InvalidSignature, KeyError, ValueError):
        return False
    return True


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def plain(content: bytes) -> str:
    return base64.b64encode(content).decode()


if __name__ == "__main__":
    unittest.main()
