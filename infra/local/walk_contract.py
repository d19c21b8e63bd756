"""Walks the contract, infra/openapi.yaml, against a local stack. Sends valid and invalid requests to every operation,
alone and in the order of its links, and compares the answers with the contract.

    walk_contract.py API_URL [SEED [PART]]

Without a PART, all parts walk at the same time, each in a process of its own. Needs the settings of the local stack in
its environment. Exits with 1 if an answer breaks the contract. Then schemathesis prints the request as a curl command,
and the seed. The same seed makes the same walk. The output of the parts that failed comes last.

The walk does not disturb others: it has its own tenants, its endpoints lead to a receiver in this process, and it
removes them at the end. It judges answers and not the speed of the machine: see `Patience`.
"""

import concurrent.futures
import contextlib
import functools
import http.server
import io
import itertools
import json
import os
import random
import re
import ssl
import subprocess
import sys
import threading
import time
import traceback
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests
import requests.auth
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from schemathesis.cli import schemathesis as command_line
from schemathesis.generation.meta import TestPhase

HERE = Path(__file__).resolve().parent
TENANT = f"contract-{uuid.uuid4().hex}"
# The tags of each part. One run per part, because schemathesis starts to follow links only from the operations that it
# considers best.
PARTS = {
    "endpoints": ("Endpoints",),
    "notices": ("Notices and audit log",),
    "replays": ("Bulk replays",),
    "erasures": ("Erasures of tenants",),
    "event-types": ("Event types",),
    "events": ("Events", "Keys"),
    "status": ("Status",),
    "token-requests": ("Token requests",),
    "portal-links": ("Links to the integrators' page",),
    "portal": ("Integrators' page",),
}
ARRIVES_WITHIN_SECONDS = 5
TOLD_WITHIN_SECONDS = 300  # Fan-out also has the events of tests that run at the same time.
ANSWERED_WITHIN_SECONDS = 120  # Longer than any function may take, its start included. Also in contract.toml.
LONGEST_LINE = 4_000
# Operations that answer page by page.
LISTS = {"listEndpoints", "listDeliveries", "listAudit", "listEventTypes", "listLinks", "listReplays", "readEvent"}
# Operations that return the state of something.
STATUSES = {"readStatus", "readSessionStatus", "readSessionStageStatus", "readSessionDetails"}
CALLBACKS = {"getCallback", "postCallback"}  # Operations for bank callbacks.
# An example of Token.io's documentation: the credentials that a bank requires.
CREDENTIAL_FIELDS = "eyJmaWVsZHMiOlt7ImRlc2NyaXB0aW9uIjoiT25lLXRpbWUgcGFzc2NvZGUiLCJpZCI6Im90cCJ9XX0"
# The stages of the walk's session, and the details of each.
STAGES = {"Authentication": None, "Accounts": {"accounts": "2/3"}, "Transactions": {"accounts": [{}]}}
# Types whose statuses and fields a payload family checks.
FAMILIES = {"operation", "activation", "workflow", "token-request", "session", "payment", "transaction"}

# The member that each kind of destination needs.
DESTINATIONS = {
    "sqs": {"queueArn": "arn:aws:sqs:eu-west-1:111122223333:webhooks"},
    "eventBridge": {"busArn": "arn:aws:events:eu-west-1:111122223333:event-bus/webhooks"},
}

# The days that this stack keeps events, which bound those of a type. The contract has the bound of all stacks.
RETENTION_DAYS, MOST_RETENTION_DAYS = 30, 3650

# Filters with each operator.
FILTERS = (
    {"source": [{"prefix": "/"}], "subject": [{"exists": False}, {"wildcard": "a*b"}, {"suffix": {"equals-ignore-case": "x"}}]},
    {"data": {"total": [{"numeric": [">", 0, "<=", 1e6]}, None, True, 7], "peer": {"address": [{"cidr": "10.0.0.0/8"}]}}},
    {"data": {"colour": [{"anything-but": ["red", "blue"]}, {"anything-but": {"prefix": "gr"}}, {"equals-ignore-case": "RED"}]}},
    {"$or": [{"data": {"colour": ["red"]}}, {"data": {"$or": [{"x": [1]}, {"y": [{"exists": True}]}]}}]},
)

# Schemas, each with an example.
TYPED = (
    (True, {"a": [1.50, None]}),
    ({"type": "object", "required": ["total"], "properties": {"total": {"type": "number", "multipleOf": 0.01}}}, {"total": 10.1}),
    ({"$ref": "#/$defs/tree", "$defs": {"tree": {"properties": {"children": {"items": {"$ref": "#/$defs/tree"}}}}}}, {"children": [{}]}),
    ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "unevaluatedProperties": {"pattern": "^[a-z]+$"}}, {"a": "x"}),
)


def main() -> int:
    api_url, seed = sys.argv[1], (sys.argv[2:] or ["1"])[0]
    if part := sys.argv[3:]:
        return walk_part(api_url, seed, *part)
    arguments = [sys.executable, __file__, api_url, seed]
    run = functools.partial(subprocess.run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    with concurrent.futures.ThreadPoolExecutor(len(PARTS)) as walkers:
        done = list(walkers.map(lambda part: run([*arguments, part]), PARTS))
    for walked in sorted(done, key=lambda walked: walked.returncode != 0):
        print(walked.stdout, flush=True)
    return 1 if any(walked.returncode for walked in done) else 0


def walk_part(api_url: str, seed: str, part: str) -> int:
    """Walks the operations of a part, and prints what schemathesis prints. Returns the exit status."""
    signer, patience = Signer(), Patience()
    api = Api(api_url, signer, patience)
    for scheme, auth in (("SigV4", signer), ("Session", Bearer(api))):
        schemathesis.auth.set_from_requests(auth).apply_to(schemathesis.openapi.require_security_scheme(scheme))
    began = time.monotonic()
    with Receiver() as receiver:
        endpoints = Endpoints(api, receiver)
        Session(api).begin()
        Walk(receiver, endpoints, api, seed).hook_in()
        try:
            is_broken, output = walk(api_url, seed, *PARTS[part])
        finally:
            endpoints.remove()
    print(output if not is_broken else "", flush=True)
    print(f"{part} took {time.monotonic() - began:.0f} s", end="; ")
    print(f"requests sent again, because the machine was too slow or too busy to answer: {patience.repeated}")
    return report({part: output} if is_broken else {}, receiver.faults, seed)


def report(broken: dict[str, str], faults: list[Exception], seed: str) -> int:
    """Prints what failed, so that the end of a log shows the cause. Returns the exit status."""
    for output in broken.values():
        sections = re.split(r"^(?==+ [^=\n]+ =+$)", output, flags=re.MULTILINE)
        sections.sort(key=lambda section: re.match("=+ (ERRORS|FAILURES) ", section) is not None)
        print("\n".join(shortened(line) for line in "".join(sections).splitlines()))
    for fault in faults:
        print("The receiver of the walk failed:", *traceback.format_exception(fault), sep="\n")
    failed = [*broken, *(["the receiver"] if faults else [])]
    if failed:
        print(f"Failed: {'; '.join(failed)}. Seed: {seed}")
    return 1 if failed else 0


def shortened(line: str) -> str:
    """Cuts a long line, such as a traceback that quotes a module: CI cuts long logs, and would cut the cause."""
    more = len(line) - LONGEST_LINE
    return line if more <= 0 else f"{line[:LONGEST_LINE]} … {more} more characters"


def walk(api_url: str, seed: str, *tags: str) -> tuple[bool, str]:
    """Walks the operations of these tags. Returns whether an answer broke the contract, and the output."""
    arguments = ["--config-file", HERE / "contract.toml", "run", HERE.parent / "openapi.yaml"]
    arguments += ["--url", api_url, "--seed", seed]
    for tag in tags:
        arguments += ["--include-tag", tag]
    output, status = io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(output):
            command_line.main([str(one) for one in arguments])
    except SystemExit as ending:
        status = ending.code
    return bool(status), output.getvalue()


class Patience:
    """Sends a request again if the machine was too slow or too busy for it, as the contract asks of clients. The last
    answer is judged, so a function that fails each time is found."""

    EACH_SECONDS = 60
    ALL_SECONDS = 300  # A stack that answers no request must fail in minutes.

    def __init__(self):
        self.left = float(self.ALL_SECONDS)
        self.repeated = 0

    def repeat(self, response: requests.Response, **sending) -> requests.Response:
        """Takes an answer as a hook of `requests`, and returns the answer to judge."""
        began, limit = time.monotonic(), min(self.EACH_SECONDS, self.left)
        while is_overload(response) and time.monotonic() - began < limit:
            response.close()
            time.sleep(0.5)
            response = response.connection.send(response.request, **sending)
            self.repeated += 1
        self.left -= time.monotonic() - began
        return response


def is_overload(response: requests.Response) -> bool:
    """Returns whether a limit in time or number was reached: of API Gateway and Lambda (429), of a call of AWS (503, by
    Signpost), of a function (502, by Lambda). A function that exits is a fault, and so is each 500."""
    timed_out = response.status_code == 502 and "Sandbox.Timedout" in response.text
    return timed_out or response.status_code in (429, 503)


class Api:
    """The API, for requests of the walk itself."""

    def __init__(self, url: str, signer: "Signer", patience: Patience):
        self.url = url
        self.signer = signer
        self.patience = patience

    def ask(self, method: str, path: str, **arguments) -> requests.Response:
        return requests.request(
            method, f"{self.url}{path}", auth=self.signer, hooks=self.hooks(), timeout=ANSWERED_WITHIN_SECONDS, **arguments
        )

    def post(self, path: str, **arguments) -> dict:
        """Returns the body of an answer that is not a refusal."""
        answer = self.ask("POST", path, **arguments)
        if not answer.ok:
            raise ValueError(f"POST {path} was answered {answer.status_code}, expected 2xx: {answer.text}")
        return answer.json()

    def hooks(self) -> dict:
        return {"response": self.patience.repeat}

    def new_code(self) -> str:
        """Returns the code of a new link to the integrators' page."""
        rights = {"can": ["view", "test", "replay", "edit", "secret"]}
        return self.post(f"/v1/tenants/{TENANT}/portal-links", json=rights)["url"].rsplit("#", 1)[1]


class Signer(requests.auth.AuthBase):
    """Signs requests for API Gateway."""

    def __init__(self):
        environment = os.environ.get
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        credentials = Credentials(key, secret, environment("AWS_SESSION_TOKEN"))
        self.signature = SigV4Auth(credentials, "execute-api", environment("AWS_REGION", "us-east-1"))

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        signed = AWSRequest(method=request.method, url=request.url, data=request.body)
        self.signature.add_auth(signed)
        request.headers.update(signed.headers.items())
        return request


class Bearer(requests.auth.AuthBase):
    """Adds the token of a session of the integrators' page, which may do everything for the walk's tenant."""

    def __init__(self, api: Api):
        self.api = api
        self.token = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self.token or self.open()
        is_end = request.method == "DELETE" and request.path_url.endswith("/portal/session")
        self.token = None if is_end else token
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    def open(self) -> str:
        return self.api.post("/portal/session", json={"code": self.api.new_code()})["token"]


class Receiver:
    """The receiver of all endpoints. It accepts every webhook, and answers with an access token."""

    def __init__(self):
        self.arrived: set[str] = set()
        self.arrival = threading.Condition()
        self.server = Server(("127.0.0.1", 0), functools.partial(Callback, self))
        self.faults = self.server.faults
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(os.environ["RECEIVER_CERTIFICATE"], os.environ["RECEIVER_KEY"])
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()

    def wait_for(self, event: str) -> None:
        with self.arrival:
            self.arrival.wait_for(lambda: event in self.arrived, ARRIVES_WITHIN_SECONDS)


class Server(http.server.ThreadingHTTPServer):
    """A server that prints nothing. In CPython 3.11, to print a traceback is to parse source code, and before 3.11.8
    that makes Hypothesis fail, which parses in another thread (python/cpython#106905)."""

    def __init__(self, *arguments):
        self.faults: list[Exception] = []
        super().__init__(*arguments)

    def handle_error(self, request, client_address) -> None:
        """Keeps the error, unless the client hung up: that is an `OSError`, and nothing else here can raise one."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.faults.append(error)


class Callback(http.server.BaseHTTPRequestHandler):
    """A request to the receiver."""

    def __init__(self, receiver: Receiver, *arguments):
        self.receiver = receiver
        super().__init__(*arguments)

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({"access_token": "token", "token_type": "Bearer", "expires_in": 3600}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("webhook-allowed-origin", "*")  # Proves on request that it wants webhooks.
        self.end_headers()
        self.wfile.write(body)
        with self.receiver.arrival:
            self.receiver.arrived.add(self.headers.get("webhook-id", ""))
            self.receiver.arrival.notify_all()

    do_GET = do_OPTIONS = do_POST = do_PUT = answer

    def log_message(self, *_) -> None:
        pass


class Endpoints:
    """The endpoints of the walk's tenant."""

    def __init__(self, api: Api, receiver: Receiver):
        self.api = api
        self.receiver = receiver
        self.made: set[str] = set()
        self.gone: set[str] = set()
        self.alive: str | None = None
        self.notices: str | None = None  # The address of notices, which always has the same id.

    def one(self) -> str:
        """Returns the id of an existing endpoint."""
        if self.alive is None:
            settings = {"url": f"https://{self.receiver.host}/"}
            self.alive = self.api.post(f"/v1/tenants/{TENANT}/endpoints", json=settings)["id"]
            self.made.add(self.alive)
        return self.alive

    def remove(self) -> None:
        for endpoint in {*(self.made - self.gone), self.notices} - {None}:
            self.api.ask("DELETE", f"/v1/tenants/{TENANT}/endpoints/{endpoint}")


class Session:
    """A session that status requests can find."""

    ID = "session/1"

    def __init__(self, api: Api):
        self.api = api

    def begin(self) -> None:
        """Sends the events of the session, and waits until all have arrived."""
        events = [
            {
                "specversion": "1.0", "id": f"session-{stage}", "source": "/walk", "type": "session", "tenant": TENANT,
                "data": {"sessionId": self.ID, "stage": stage, "status": "InProgress", "details": details},
            }
            for stage, details in STAGES.items()
        ]
        batch = {"content-type": "application/cloudevents-batch+json"}
        self.api.post("/v1/events", data=json.dumps(events), headers=batch)
        deadline = time.monotonic() + TOLD_WITHIN_SECONDS
        while not all(self.is_told(stage) for stage in STAGES):
            if time.monotonic() > deadline:
                sys.exit(f"no state of a session after {TOLD_WITHIN_SECONDS} s; see the logs of fanout")
            time.sleep(0.2)

    def is_told(self, stage: str) -> bool:
        asked = {"sessionId": self.ID, "tenant": TENANT}
        return self.api.ask("GET", f"/api/session/{stage}/status", params=asked).ok


class Walk:
    """Changes to every request before it is sent, and actions after some answers.

    - All requests are made harmless to other users of the stack. Their faults stay.
    - Three of four generated endpoints become an existing one, and three of four versions are left out.
    - Some rules depend on what no schema can express. Requests that the contract allows are changed to follow them.
      Each such rule is a method, and its docstring names the rule.
    """

    def __init__(self, receiver: Receiver, endpoints: Endpoints, api: Api, seed: str):
        self.receiver = receiver
        self.endpoints = endpoints
        self.api = api
        self.cursors: set[tuple[str, str]] = set()  # By operation.
        self.numbers = itertools.count()
        self.dice = random.Random(seed)
        self.certificate = Path(os.environ["RECEIVER_CERTIFICATE"]).read_text()
        self.key = Path(os.environ["RECEIVER_KEY"]).read_text()

    def hook_in(self) -> None:
        schemathesis.hook("filter_case")(lambda context, case: is_worth_sending(case))
        schemathesis.hook("before_call")(lambda context, case, kwargs: self.before_call(case, kwargs))
        schemathesis.hook("after_call")(lambda context, case, response: self.after_call(case, response))

    def before_call(self, case: schemathesis.Case, sending: dict) -> None:
        sending["hooks"] = self.api.hooks()
        operation = name_of(case)
        self.meet_endpoints(case)
        self.meet_session(case, operation)
        if operation in ("readStatus", "eraseSubject"):  # MiniStack finds no route for a path with the end of a line.
            case.path_parameters = {name: without_line_ends(value) for name, value in case.path_parameters.items()}
        if operation == "postEvents":
            for event in events_of(case.body):
                self.give_own_tenant(event)
        if is_settings := operation in ("createEndpoint", "setNotices", "updateEndpoint") and isinstance(case.body, dict):
            self.lead_here(case.body, "url")
            self.lead_here(case.body.get("auth"), "tokenUrl")
        if operation in CALLBACKS and self.dice.random() < 0.75:
            self.meet_state(case)
        if case.meta is not None and case.meta.generation.mode.is_negative:  # A change could correct its fault.
            return
        if operation == "registerTokenRequest" and isinstance(case.body, dict):
            self.lead_here(case.body, "redirectUrl")
        if operation == "createLink" and isinstance(case.body, dict) and isinstance(case.body.get("endpoints"), list):
            case.body["endpoints"] = [self.endpoints.one()]
        if operation == "createReplay" and isinstance(case.body, dict):
            self.fit_replay(case.body)
        if operation == "eraseTenant" and isinstance(case.body, dict):
            case.body["tenant"] = TENANT  # That of the path, which no schema can express.
        if operation == "openSession":
            case.body = {"code": self.api.new_code()}
        if operation in CALLBACKS:
            self.fit_callback(case)
        if operation == "postEvents":
            for event in events_of(case.body):
                self.fit_sizes(event)
        if operation == "testFilter" and isinstance(case.body, dict):
            case.body["filter"] = self.one_filter()
            case.body["event"]["tenant"] = TENANT
            self.fit_sizes(case.body["event"])
        if operation == "putEventType" and isinstance(case.body, dict):
            case.body["schema"], case.body["example"] = self.dice.choice(TYPED)
            days = case.body.get("retentionDays")
            if isinstance(days, int | float) and RETENTION_DAYS < days <= MOST_RETENTION_DAYS:
                case.body["retentionDays"] = RETENTION_DAYS
        if operation == "testEndpoint" and isinstance(case.body, dict) and "type" in case.body:
            case.body["type"] = self.dice.choice(sorted(FAMILIES))
        if is_settings:
            self.fit_filters(case.body)
            self.fit_filter(case.body, operation)
            self.fit_headers(case.body)
            self.fit_cloud_events(case.body, operation)
            self.fit_auth(case.body, operation)
            self.fit_destination(case.body, operation)
            self.fit_retry(case.body, operation)
        if operation in LISTS and (operation, case.query.get("cursor")) not in self.cursors:
            case.query = {name: value for name, value in case.query.items() if name != "cursor"}
        if operation == "getKey" and self.dice.random() < 0.5:
            case.headers["Accept"] = "application/jwk+json"

    def after_call(self, case: schemathesis.Case, response: schemathesis.Response) -> None:
        match (operation := name_of(case)), response.status_code:
            case "createEndpoint", 201:
                self.endpoints.made.add(response.json()["id"])
            case "setNotices", 200 | 201:
                self.endpoints.notices = response.json()["id"]
            case "updateEndpoint", 200 if case.body.get("headers"):
                self.endpoints.alive = None  # Patches add up to too many headers.
            case "deleteEndpoint", 204:
                self.endpoints.gone.add(case.path_parameters["endpoint"])
                self.endpoints.alive = None
            case "deleteEndpoint", 404 if case.path_parameters.get("endpoint") == self.endpoints.alive:
                self.endpoints.alive = None  # A DELETE that was sent again, because its first answer came too late.
            case "createReplay" | "createPortalReplay", 202:
                # Otherwise as many replays run as may.
                self.api.ask("DELETE", f"/v1/tenants/{TENANT}/replays/{response.json()['id']}")
            case "testEndpoint", 202:
                # Otherwise the endpoint may be deleted first, and the dead-letter queue fills up.
                self.receiver.wait_for(response.json()["event"])
            case _, 200 if operation in LISTS:
                self.cursors.add((operation, response.json().get("cursor")))

    def meet_endpoints(self, case: schemathesis.Case) -> None:
        if not case.path.startswith("/portal/api/"):
            if not is_tenant(case.path_parameters.get("tenant")):
                return
            case.path_parameters = {**case.path_parameters, "tenant": TENANT}
        endpoint = case.path_parameters.get("endpoint")
        in_sequence = case.meta is not None and case.meta.phase.name is TestPhase.STATEFUL
        met = self.endpoints.made if in_sequence else self.endpoints.made - self.endpoints.gone
        if is_endpoint(endpoint) and endpoint not in met and self.dice.random() < 0.75:
            case.path_parameters["endpoint"] = self.endpoints.one()
        if not in_sequence and self.dice.random() < 0.75:
            case.headers.pop("If-Match", None)

    def meet_session(self, case: schemathesis.Case, operation: str) -> None:
        """Makes half of the status requests ask for the existing session, and makes no request wait for long."""
        if case.headers.get("Prefer", "").startswith("wait"):
            case.headers["Prefer"] = "wait=1"
        is_allowed = case.meta is None or not case.meta.generation.mode.is_negative
        if not (operation in STATUSES and is_allowed and self.dice.random() < 0.5):
            return
        stage = self.dice.choice(list(STAGES))
        if operation == "readStatus":
            case.path_parameters = {"tenant": TENANT, "type": "session", "subject": Session.ID}
        else:
            case.query = {**case.query, "tenant": TENANT, "sessionId": Session.ID}
        if operation == "readSessionStageStatus":
            case.path_parameters = {"stage": stage}

    def meet_state(self, case: schemathesis.Case) -> None:
        """Gives each bank callback the state of a new token request, because a callback uses its state up."""
        made = self.api.post(f"/v1/tenants/{TENANT}/token-requests", json={})
        case.path_parameters = {**case.path_parameters, "state": made["callbackUrl"].rsplit("/", 1)[1]}
        for said in (case.query, case.body):
            if isinstance(said, dict):
                for name in ("request-id", "request_id"):
                    if is_token_request(said.get(name)):
                        said[name] = made["requestId"]

    def fit_callback(self, case: schemathesis.Case) -> None:
        """Combines fields as required: a schema cannot say which fields belong together, or what credentials contain.
        Only the media type distinguishes a form from a text."""
        for said in (case.query, case.body):
            if not isinstance(said, dict):
                continue
            if "error" in said:
                said.setdefault("message", "Bank is unavailable")
                said.setdefault("trace-id", "idm45Ag1X8D8Kvdw")
                said.pop("credential-fields", None)
            else:
                said.pop("message", None)
            if "credential-fields" in said:
                said["credential-fields"] = CREDENTIAL_FIELDS

    def give_own_tenant(self, event: dict) -> None:
        """Gives each event its own tenant, so that no two events conflict, which would fill the rejected queue, and
        no event has an endpoint."""
        if is_tenant(event.get("tenant")):
            event["tenant"] = f"{TENANT}-{next(self.numbers)}"

    def fit_sizes(self, event: dict) -> None:
        """Shortens texts to their limits in bytes of UTF-8, which a schema cannot count."""
        for name, limit in (("type", 128), ("source", 512), ("subject", 512)):
            if isinstance(text := event.get(name), str):
                event[name] = text.encode()[:limit].decode(errors="ignore")

    def lead_here(self, settings: object, name: str) -> None:
        """Makes a URL lead to the receiver, with the generated path."""
        if isinstance(settings, dict) and isinstance(text := settings.get(name), str):
            try:
                url = urlsplit(text)
            except ValueError:
                return  # The API must refuse it.
            if url.scheme == "https" and url.netloc:
                settings[name] = urlunsplit(url._replace(netloc=self.receiver.host))

    def fit_filters(self, settings: dict) -> None:
        """Removes statuses and stages that the API refuses: families have their own statuses, other types have no
        stages."""
        for one in settings.get("types") or []:
            if not is_example(one):
                one.pop("stages", None)
                if one["type"] in FAMILIES:
                    one.pop("statuses", None)

    def fit_filter(self, settings: dict, operation: str) -> None:
        """Replaces the filter by one that fits each type, because the API refuses some numbers, texts and combinations."""
        if settings.get("filter") is not None:
            settings["filter"] = {"data": {"colour": ["red"]}} if operation == "updateEndpoint" else self.one_filter()

    def one_filter(self) -> dict:
        return self.dice.choice(FILTERS)

    def fit_headers(self, settings: dict) -> None:
        """Adds a prefix to names of headers, because the API refuses some names."""
        if headers := settings.get("headers"):
            settings["headers"] = {f"x-{name}": text for name, text in headers.items()}

    def fit_cloud_events(self, settings: dict, operation: str) -> None:
        """Avoids modes where they can be invalid: a GET has no body, `none` has no sequence, and the patched endpoint may have either."""
        mode, is_patch = settings.get("cloudEvents"), operation == "updateEndpoint"
        if (mode == "structured" and (is_patch or settings.get("method") == "GET")) or (mode == "none" and (is_patch or settings.get("sequence"))):
            settings["cloudEvents"] = "headers"
        if is_patch and settings.get("sequence"):
            settings.pop("sequence")  # The patched endpoint may have the mode `none`.

    def fit_destination(self, settings: dict, operation: str) -> None:
        """Names a role that the stack may assume, and removes what only HTTP has. Avoids patches, which may lack a member."""
        destination = settings.get("destination")
        if operation == "updateEndpoint":
            settings.pop("destination", None)
        elif isinstance(destination, dict):
            kind = destination.get("kind", "sqs")
            settings["destination"] = {"kind": kind, "roleArn": "arn:aws:iam::111122223333:role/webhooks-walk", **DESTINATIONS[kind]}
            for name in ("url", "method", "auth", "headers", "verification"):
                settings.pop(name, None)
            formats = [one for one in settings.get("signatures", []) if one != "http-message-signatures"]
            settings["signatures"] = formats or ["jws"]
        else:  # The contract does not say that an endpoint has one of both.
            settings.pop("destination", None)
            settings.setdefault("url", f"https://{self.receiver.host}/")

    def fit_auth(self, settings: dict, operation: str) -> None:
        """Replaces invalid key stores, and avoids patches of members that the stored `auth` does not have."""
        auth = settings.get("auth")
        if operation == "updateEndpoint" and auth:
            del settings["auth"]
        elif auth and auth["kind"] == "mtls":
            auth["keyStore"] = {"format": "pem", "content": self.certificate + self.key}
            if auth.get("trustStore"):
                auth["trustStore"] = {"format": "pem", "content": self.certificate}


    def fit_replay(self, wanted: dict) -> None:
        """Gives a replay an endpoint that exists, and a period that has passed and has a length: a schema compares neither
        with now nor with another member."""
        wanted["since"] = "2026-01-01T00:00:00Z"
        if wanted.get("until"):
            wanted["until"] = "2026-01-02T00:00:00Z"
        if wanted.get("endpoints"):
            wanted["endpoints"] = [self.endpoints.one()]

    def fit_retry(self, settings: dict, operation: str) -> None:
        """Limits retries, because a schema cannot add up waits, compare two of them, or know the patched endpoint."""
        retry = settings.get("retry")
        if not retry:
            return
        if isinstance(schedule := retry.get("schedule"), list):
            settings["retry"] = {"schedule": schedule[:14]}
        elif operation == "updateEndpoint":
            settings["retry"] = {"maxRetries": min(retry.get("maxRetries") or 5, 14)}
        else:
            retry["maxRetries"] = min(retry.get("maxRetries", 5), 14)
            if "maxIntervalSeconds" in retry:
                retry["intervalSeconds"] = min(retry.get("intervalSeconds", 5), retry["maxIntervalSeconds"])


def name_of(case: schemathesis.Case) -> str:
    """Returns the name of an operation. An operation of the integrators' page has the name of the operators' operation."""
    return case.operation.definition.raw["operationId"].replace("Portal", "")


def events_of(body: object) -> list[dict]:
    return [event for event in (body if isinstance(body, list) else [body]) if isinstance(event, dict)]


def is_worth_sending(case: schemathesis.Case) -> bool:
    """Returns whether a case is new. One request per value is enough: no second one as plain JSON if the contract has
    another media type with the same values, and none to the integrators' page if operators send the same settings."""
    again = case.media_type == "application/json" and len(case.operation.body) > 1
    again |= case.operation.definition.raw["operationId"] in ("createPortalEndpoint", "updatePortalEndpoint")
    return not (again and case.meta is not None and case.meta.phase.name is TestPhase.COVERAGE)


def without_line_ends(value: object) -> object:
    return re.sub("[\\n\\r]|%0[AaDd]", "%20", value) if isinstance(value, str) else value


def is_tenant(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch("[a-z0-9-]{1,64}", text) is not None


def is_endpoint(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch("ep_[0-9a-f]{32}", text) is not None


def is_token_request(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch("[A-Za-z0-9_:-]{1,128}", text) is not None


def is_example(one: dict) -> bool:
    return one in ({"type": "operation", "statuses": ["APPROVED"]}, {"type": "session", "stages": ["Accounts"]})


if __name__ == "__main__":
    sys.exit(main())
