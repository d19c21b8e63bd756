"""Tries a deployed stack out, as a producer, an operator and a receiver. `make smoke` and `make deploy` run this program.

    smoke.py [--stack NAME] [--wait SECONDS]

It creates an endpoint for each signature format, all of which lead to the stack's own function `echo`. It sends an
event by HTTP and one by SQS. For each delivery, it checks the record and verifies the signature with the keys that the
stack publishes. It prints each step with its time. At the end it removes the endpoints, also after a failure or
Ctrl-C. The next run removes those that a killed run left. The events stay for RetentionDays; nobody else gets them.

`echo` refuses the first attempt of a webhook, and its answer is what arrived. Signpost keeps the beginning of such an
answer, so this program finds it in the record. Therefore a retry is tried out too.

`signpost smoke` takes the same steps. Both judge the same: infra/local/smoke-vectors.json lists the test vectors that
pass, and each has a test of it.

Without --stack, it tries out the local stack if `make up` left one running, else the stack of samconfig.toml. On AWS
it needs credentials and a region in the environment, and the permissions that docs/deploying.md lists.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import boto3
import botocore.exceptions
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

ROOT = Path(__file__).resolve().parents[1]
LOCAL_SETTINGS = ROOT / ".local/stack.env"

TENANT = "signpost-smoke"
SOURCE = "/smoke"
# One endpoint each. `echo` can return the signatures of one format only, because a record keeps 1 KiB of an answer.
FORMATS = ("jws", "standard-webhooks", "http-message-signatures")
DOORS = ("HTTP", "SQS")
TOO_EARLY = 425  # The answer of `echo` to a first attempt.
# A second, so that the retry comes at once. Two more than are needed.
RETRY = {"maxRetries": 3, "intervalSeconds": 1, "backoff": "fixed"}
# The endpoints of an older run were left by it. Longer than any run takes.
LEFT_AFTER_SECONDS = 900
MARK = re.compile(r"smoke test [0-9a-f]{8}, begun at ([0-9]+)")
# After a failure, deliveries that are under way may end by themselves for so long.
SETTLES_WITHIN_SECONDS = 15
LOOK_EVERY_SECONDS = 0.5
CALL_SECONDS = 30


class SmokeError(Exception):
    """A step that failed. The message says what was found, what was expected, and what to do."""


class Stack(NamedTuple):
    """The addresses of a deployed stack."""

    name: str
    api_url: str
    events_queue_url: str


class Webhook(NamedTuple):
    """A request that arrived at an endpoint."""

    headers: dict[str, str]
    body: bytes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", help="name of the CloudFormation stack; default: the local stack, or samconfig.toml")
    parser.add_argument("--wait", type=float, default=60, metavar="SECONDS", help="how long to wait for a delivery; default: 60")
    arguments = parser.parse_args()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))  # Runs the `finally` blocks.
    signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell may start programs in the background without it.
    steps = Steps()
    try:
        with steps.step("find the stack") as done:
            stack = find(arguments.stack)
            done(f"{stack.name} at {stack.api_url}")
        Run(stack, arguments.wait, steps).run()
    except SmokeError as error:
        print(f"error: smoke test failed at `{steps.name}`: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"All steps succeeded in {steps.total():.1f} s")
    return 0


# --- Steps ------------------------------------------------------------------------------------------------------------


class Steps:
    """Prints a line for each step, and keeps the name of the step that failed."""

    def __init__(self):
        self.began = time.monotonic()
        self.name = "begin"

    def step(self, name: str) -> "Step":
        return Step(self, name)

    def total(self) -> float:
        return time.monotonic() - self.began


class Step:
    def __init__(self, steps: Steps, name: str):
        self.steps, self.name, self.result = steps, name, ""

    def __enter__(self):
        self.steps.name, self.began = self.name, time.monotonic()
        return self.done

    def done(self, result: str) -> None:
        self.result = result

    def __exit__(self, kind, error, _) -> None:
        if kind is not None:
            return
        result = f": {self.result}" if self.result else ""
        say(f"{time.monotonic() - self.began:5.1f} s  {self.name}{result}")


def say(text: str) -> None:
    print(f"· {text}", flush=True)


# --- The stack --------------------------------------------------------------------------------------------------------


def find(name: str | None) -> Stack:
    """Returns the stack to try out. Reads the settings of the local stack into the environment if that is the one."""
    if name is None and "AWS_ENDPOINT_URL" not in os.environ and LOCAL_SETTINGS.exists():
        os.environ.update(line.split("=", 1) for line in LOCAL_SETTINGS.read_text().splitlines())
    if region := os.environ.get("AWS_REGION"):
        os.environ.setdefault("AWS_DEFAULT_REGION", region)  # boto3 reads only this one.
    if "AWS_ENDPOINT_URL" in os.environ:
        return local_stack(name)
    name = name or default_stack()
    try:
        [found] = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except botocore.exceptions.ClientError as error:
        raise SmokeError(f"cannot read the outputs of the stack {name}: {error}; deploy it, or name another by STACK=") from error
    except botocore.exceptions.BotoCoreError as error:
        raise SmokeError(f"cannot call AWS: {error}; set credentials and region, such as with AWS_PROFILE") from error
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", [])}
    outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
    if parameters.get("SmokeTest") != "true":
        raise SmokeError(f"the stack {name} has no route /smoke; deploy it with SmokeTest=true")
    return Stack(name, outputs["ApiUrl"], outputs["EventsQueueUrl"])


def local_stack(name: str | None) -> Stack:
    """Returns the local stack, whose API has an address that only its settings name."""
    if name is not None:
        raise SmokeError("AWS_ENDPOINT_URL names a local stack; unset it, or leave out STACK=")
    try:
        return Stack("the local stack", os.environ["API_URL"], os.environ["EVENTS_QUEUE_URL"])
    except KeyError as missing:
        raise SmokeError(f"{missing} is not set, and AWS_ENDPOINT_URL is; load .local/stack.env, or unset it") from missing


def default_stack() -> str:
    return re.search(r'^stack_name = "(.+)"$', (ROOT / "samconfig.toml").read_text(), re.MULTILINE).group(1)


class Api:
    """The HTTP API of the stack. It signs requests with the caller's credentials."""

    def __init__(self, url: str):
        self.url = url
        session = boto3.Session()
        credentials = session.get_credentials()
        if credentials is None:
            raise SmokeError("found no credentials; set them, such as with AWS_PROFILE")
        self.credentials, self.region = credentials, session.region_name

    def ask(self, method: str, path: str, body: dict | None = None, media_type: str = "application/json") -> dict:
        """Returns the body of an answer 2xx; nothing if there is no such thing (404)."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"content-type": media_type}
        request = AWSRequest(method, f"{self.url}{path}", headers=headers, data=data)
        SigV4Auth(self.credentials.get_frozen_credentials(), "execute-api", self.region).add_auth(request)
        sent = urllib.request.Request(request.url, data, dict(request.headers.items()), method=method)
        return fetch(sent, f"{method} {path}")


def fetch(request: urllib.request.Request, what: str) -> dict:
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
            return json.loads(answer.read() or "{}")
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        if error.code == 404:
            return {}
        fix = "the caller's policy must allow execute-api:Invoke on it" if error.code == 403 else "see the function's log group"
        raise SmokeError(f"{what} was answered {error.code}, expected 2xx: {text}; {fix}") from error
    except (OSError, ValueError) as error:
        raise SmokeError(f"{what} got no answer in JSON: {error}; look at the API in the AWS console, and at DNS") from error


# --- The run ----------------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, stack: Stack, wait_seconds: float, steps: Steps):
        self.stack, self.wait_seconds, self.steps = stack, wait_seconds, steps
        self.api = Api(stack.api_url)
        self.id = secrets.token_hex(4)
        self.kind = f"smoke-{self.id}"
        self.url = f"{stack.api_url}/smoke"
        self.endpoints: dict[str, dict] = {}  # By signature format.
        self.sent: list[str] = []  # The ids of the events.

    def run(self) -> None:
        try:
            self.try_out()
        except BaseException:
            self.clean_up()
            raise

    def try_out(self) -> None:
        step = self.steps.step
        with step("remove what an earlier run left") as done:
            done(f"{self.remove_left()} endpoints")
        with step("create an endpoint for each signature format"):
            for form in FORMATS:
                self.endpoints[form] = self.create(form)
        with step("wait until the endpoints are enabled"):
            self.wait_for(self.unproven, "prove themselves", "look at the log group of EchoFunction")
        with step("send an event by HTTP"):
            self.sent.append(f"{self.id}-HTTP")
            self.api.ask("POST", "/v1/events", self.event("HTTP"), "application/cloudevents+json")
        with step("send an event by SQS"):
            self.sent.append(f"{self.id}-SQS")
            self.send_by_queue()
        for door in DOORS:
            with step(f"wait for the webhooks of the event by {door}") as done:
                done(self.wait_for_deliveries(door))
        for door in DOORS:
            with step(f"check the records of the event by {door}"):
                webhooks = {form: self.check_record(door, form) for form in FORMATS}
            for form in FORMATS:
                with step(f"verify {form} of the event by {door}") as done:
                    done(self.verify(form, webhooks[form]))
        with step("remove the endpoints"):
            self.remove()

    def clean_up(self) -> None:
        """Removes the endpoints after a failure or Ctrl-C. A second Ctrl-C ends the wait for deliveries under way."""
        try:
            self.settle()
        except KeyboardInterrupt:
            pass
        finally:
            for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(ending, signal.SIG_IGN)
            say("Removing the endpoints")
            try:
                self.remove()
            except SmokeError as error:
                say(f"Cannot remove the endpoints: {error}; the next run removes them")

    # - Endpoints -

    def create(self, form: str) -> dict:
        settings = {
            "url": self.url, "types": [{"type": self.kind}], "signatures": [form], "retry": RETRY,
            "description": f"smoke test {self.id}, begun at {int(time.time())}",
        }
        return self.api.ask("POST", f"/v1/tenants/{TENANT}/endpoints", settings)

    def remove_left(self) -> int:
        """Removes the endpoints that a killed run left, and no endpoint of a run that may still go on."""
        left = [one for one in self.all_endpoints() if is_left(one["description"], time.time())]
        for endpoint in left:
            self.delete(endpoint["id"])
        return len(left)

    def all_endpoints(self) -> list[dict]:
        found, cursor = [], ""
        while True:
            page = self.api.ask("GET", f"/v1/tenants/{TENANT}/endpoints{cursor}")
            found += page.get("endpoints", [])
            if "cursor" not in page:
                return found
            cursor = f"?cursor={page['cursor']}"

    def unproven(self) -> list[str]:
        paths = [f"/v1/tenants/{TENANT}/endpoints/{one['id']}" for one in self.endpoints.values()]
        return [f"{path} is {state}" for path in paths if (state := self.api.ask("GET", path).get("state")) != "enabled"]

    def remove(self) -> None:
        """Removes all endpoints of this run; also one whose creation got no answer."""
        ids = {one["id"] for one in self.endpoints.values()}
        if len(ids) < len(FORMATS):
            ids |= {one["id"] for one in self.all_endpoints() if f"smoke test {self.id}," in one["description"]}
        for endpoint in ids:
            self.delete(endpoint)

    def delete(self, endpoint: str) -> None:
        self.api.ask("DELETE", f"/v1/tenants/{TENANT}/endpoints/{endpoint}")

    # - Events -

    def event(self, door: str) -> dict:
        return {
            "specversion": "1.0", "id": f"{self.id}-{door}", "source": SOURCE, "type": self.kind, "tenant": TENANT,
            "data": {"run": self.id, "door": door, "text": "a b"},  # With a space, which bodies spell as an escape.
        }

    def send_by_queue(self) -> None:
        try:
            message = json.dumps(self.event("SQS"))
            boto3.client("sqs").send_message(QueueUrl=self.stack.events_queue_url, MessageBody=message)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise SmokeError(f"SQS refused the event: {error}; the caller's policy must allow sqs:SendMessage on EventsQueue") from error

    def deliveries(self, event: str) -> dict[str, dict]:
        """Returns the deliveries of an event, by endpoint."""
        history = self.api.ask("GET", f"/v1/tenants/{TENANT}/events/{event}?source=%2Fsmoke")
        return {one["endpoint"]: one for one in history.get("deliveries", [])}

    def wait_for_deliveries(self, door: str) -> str:
        event = f"{self.id}-{door}"

        def missing() -> list[str]:
            found = self.deliveries(event)
            states = {form: found.get(one["id"], {}).get("status", "not there") for form, one in self.endpoints.items()}
            if given_up := [form for form, state in states.items() if state == "exhausted"]:
                raise SmokeError(f"Signpost gave up {', '.join(given_up)}: {last_errors(found)}; see docs/operating.md, Causes")
            return [f"{form} is {state} {last_errors(found)}".strip() for form, state in states.items() if state != "delivered"]

        door_fix = "RejectedQueue, which has invalid events" if door == "SQS" else "the log group of IngestFunction"
        fix = f"look at the log groups of FanoutFunction and DeliverFunction, and at {door_fix}"
        self.wait_for(missing, f"arrive within {self.wait_seconds:.0f} s", fix)
        slowest = max(len(one["attempts"]) for one in self.deliveries(event).values())
        return f"{len(self.endpoints)} webhooks, {slowest} attempts each"

    def wait_for(self, missing, expected: str, fix: str) -> None:
        """Waits until `missing` returns nothing."""
        deadline = time.monotonic() + self.wait_seconds
        while left := missing():
            if time.monotonic() > deadline:
                raise SmokeError(f"{'; '.join(left)}; expected all to {expected}; {fix}")
            time.sleep(LOOK_EVERY_SECONDS)

    def settle(self) -> None:
        """Waits until no delivery is under way, because one whose endpoint is gone ends in DeadLetterQueue."""
        if not self.sent:
            return
        say("Waiting for deliveries that are under way")
        ids = {one["id"] for one in self.endpoints.values()}

        def is_under_way(event: str) -> bool:
            found = self.deliveries(event)
            return any(found.get(one, {}).get("status", "pending") == "pending" for one in ids)

        deadline = time.monotonic() + SETTLES_WITHIN_SECONDS
        try:
            while under_way := [event for event in self.sent if is_under_way(event)]:
                if time.monotonic() > deadline:
                    say(f"{', '.join(under_way)} did not end; a later attempt puts it into DeadLetterQueue as `endpoint-gone`")
                    return
                time.sleep(LOOK_EVERY_SECONDS)
        except SmokeError as error:
            say(f"Cannot see whether deliveries are under way: {error}")

    # - Records and signatures -

    def check_record(self, door: str, form: str) -> Webhook:
        """Checks the record of a delivery, and returns what its endpoint got."""
        delivery = self.deliveries(f"{self.id}-{door}").get(self.endpoints[form]["id"], {})
        return echoed(delivery, form, self.event(door)["data"])

    def verify(self, form: str, webhook: Webhook) -> str:
        """Verifies a signature as docs/verifying.md says. Fetches the key set again if it lacks the key: caches of the key
        set may be as old as the endpoint."""
        endpoint = self.endpoints[form]
        deadline = time.monotonic() + self.wait_seconds
        while True:
            keys = fetch(urllib.request.Request(endpoint["jwksUrl"]), f"GET {endpoint['jwksUrl']}").get("keys", [])
            try:
                return VERIFIERS[form](webhook, keys, endpoint)
            except MissingKey as missing:
                if time.monotonic() > deadline:
                    raise SmokeError(f"{endpoint['jwksUrl']} has no {missing}; look at the log group of PublicKeysFunction") from missing
            except (InvalidSignature, KeyError, ValueError) as error:
                fix = "look for a proxy that changes requests, and compare KeysUrl with this stack"
                raise SmokeError(f"the signature does not verify ({type(error).__name__} {error}); {fix}") from error
            time.sleep(2)


def echoed(delivery: dict, form: str, data: dict) -> Webhook:
    """Reads the request that arrived from the record of its delivery: the answer of `echo` to the first attempt."""
    attempts = delivery.get("attempts", [])
    answered = [one["status"] for one in attempts]
    if len(answered) < 2 or answered[0] != TOO_EARLY or answered[-1] != 204:
        raise SmokeError(f"the record of {form} has the answers {answered}, expected [{TOO_EARLY}, 204]; look at EchoFunction")
    first = attempts[0]
    try:
        answer = json.loads(first["response"])
        webhook = Webhook(answer["headers"], answer["body"].encode())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        fix = "look for a proxy that answers instead of EchoFunction"
        raise SmokeError(f"the first answer of {form} is {first['response']!r}, expected what arrived; {fix}") from error
    digest = hashlib.sha256(webhook.body).hexdigest()
    if first["sent"]["bodySha256"] != digest:
        raise SmokeError(f"the record of {form} says that another body was sent than arrived; look for a proxy that changes it")
    if parsed(webhook.body) != data:
        raise SmokeError(f"{form} arrived with {webhook.body!r}, expected the data of the event; look for a proxy that changes it")
    return webhook


def parsed(body: bytes):
    try:
        return json.loads(body)
    except ValueError:
        return None


def is_left(description: str, now: float) -> bool:
    mark = MARK.fullmatch(description)
    return mark is not None and int(mark.group(1)) + LEFT_AFTER_SECONDS < now


def last_errors(deliveries: dict[str, dict]) -> str:
    errors = {one["attempts"][-1]["error"] for one in deliveries.values() if one["attempts"]}
    return ", ".join(sorted(f"({error})" for error in errors if error))


# --- Signatures -------------------------------------------------------------------------------------------------------


class MissingKey(Exception):
    """A key that the key set lacks. The message names it."""


def verify_jws(webhook: Webhook, keys: list[dict], _: dict) -> str:
    parts = webhook.headers["jws-signature"].split(".")
    if len(parts) != 3 or parts[1]:
        raise ValueError("the signature is not detached")
    header, _, signature = parts
    fields = json.loads(unpadded(header))
    demand(fields["alg"], "RS256")
    key = key_of(keys, fields["kid"], "RS256")
    payload = base64.urlsafe_b64encode(webhook.body).rstrip(b"=")
    rsa(key).verify(unpadded(signature), header.encode() + b"." + payload, PKCS1v15(), SHA256())
    return f"RS256, kid {fields['kid']}"


def verify_standard_webhooks(webhook: Webhook, keys: list[dict], endpoint: dict) -> str:
    """`v1` and `v1a` must be there, and valid: one entry of each is enough while a secret is replaced."""
    stamp = webhook.headers["webhook-timestamp"]
    if not stamp.isdecimal():
        raise ValueError(f"webhook-timestamp is {stamp!r}, expected seconds")
    signed = f"{webhook.headers['webhook-id']}.{stamp}.".encode() + webhook.body
    entries = [entry.partition(",")[::2] for entry in webhook.headers["webhook-signature"].split(" ")]
    signatures = {version: [] for version, _ in entries}
    for version, signature in entries:
        signatures[version].append(base64.b64decode(signature, validate=True))
    secret = base64.b64decode(endpoint["signingSecret"].removeprefix("whsec_"))
    expected = hmac.digest(secret, signed, "sha256")
    if not secret or not any(hmac.compare_digest(expected, one) for one in signatures["v1"]):
        raise InvalidSignature("of v1")
    own = [key for key in keys if key.get("endpoint") == endpoint["id"]]
    if not own:
        raise MissingKey(f"key of the endpoint {endpoint['id']}")
    for key in own:
        public = Ed25519PublicKey.from_public_bytes(unpadded(key["x"]))
        if any(is_valid(public, one, signed) for one in signatures["v1a"]):
            return f"v1 by the secret, v1a by kid {key['kid']}"
    raise InvalidSignature("of v1a")


def is_valid(public: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        public.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def verify_http_message_signature(webhook: Webhook, keys: list[dict], endpoint: dict) -> str:
    """RFC 9421, section 3.2, and RFC 9530 for the digest."""
    digest = base64.b64encode(hashlib.sha256(webhook.body).digest()).decode()
    if webhook.headers["content-digest"] != f"sha-256=:{digest}:":
        raise ValueError("the digest is that of another body")
    members = dict(re.findall(r'([a-z*][a-z0-9_.*-]*)=(\([^)]*\)[^,]*)', webhook.headers["signature-input"]))
    label, signed = next(((name, text) for name, text in members.items() if ';tag="signpost"' in text), (None, None))
    if label is None:
        raise ValueError(f"no signature has the tag signpost, of {sorted(members)}")
    components = re.findall(r'"([^"]+)"', signed.partition(")")[0])
    required = {"@method", "@target-uri", "content-digest", "webhook-id", "ce-type", "ce-source"}
    if not required <= set(components):
        raise ValueError(f"the signature covers {components}, expected {sorted(required)}")
    parameters = dict(re.findall(r';([a-z]+)="?([^";]*)"?', signed.partition(")")[2]))
    demand(parameters["alg"], "rsa-v1_5-sha256")
    int(parameters["created"])
    values = {**webhook.headers, "@method": "POST", "@target-uri": endpoint["url"]}
    base = "".join(f'"{name}": {values[name]}\n' for name in components) + f'"@signature-params": {signed}'
    key = key_of(keys, parameters["keyid"], "RS256")
    texts = dict(re.findall(r"([a-z*][a-z0-9_.*-]*)=:([^:]*):", webhook.headers["signature"]))
    rsa(key).verify(base64.b64decode(texts[label], validate=True), base.encode(), PKCS1v15(), SHA256())
    return f"rsa-v1_5-sha256, keyid {parameters['keyid']}"


def demand(algorithm: str, expected: str) -> None:
    """An endpoint that names no `jwsAlgorithm` has RS256. A signature by another one is not the one that was asked for."""
    if algorithm != expected:
        raise ValueError(f"algorithm {algorithm}, expected {expected}")


VERIFIERS = {
    "jws": verify_jws,
    "standard-webhooks": verify_standard_webhooks,
    "http-message-signatures": verify_http_message_signature,
}


def key_of(keys: list[dict], kid: str, algorithm: str) -> dict:
    for key in keys:
        if key["kid"] == kid and "endpoint" not in key:
            demand(key["alg"], algorithm)
            return key
    raise MissingKey(f"key with the kid {kid}")


def rsa(key: dict):
    number = {name: int.from_bytes(unpadded(key[name]), "big") for name in ("n", "e")}
    return RSAPublicNumbers(number["e"], number["n"]).public_key()


def unpadded(text: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise ValueError(f"{text!r} is not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    sys.exit(main())
