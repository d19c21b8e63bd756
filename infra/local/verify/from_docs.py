"""Verifies captured webhooks with the examples of docs/verifying.md and README.md as written, and nothing else.

    from_docs.py < task.json

The input is one object: {"keysUrl": …, "endpoint": …, "url": …, "secret": …, "alg": …, "requests": [captured …]},
with requests as verify.py takes them. The output is one line for each request: {"JWS": null, "v1": null, "v1a":
"InvalidSignature…", …}. It has each example whose header the request has, with null if the example accepted the
request, or the reason.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from verify import Request

HERE = Path(__file__).parent
ROOT = HERE / "../../.."
PAGE = (ROOT / "docs/verifying.md").read_text()
README = (ROOT / "README.md").read_text()
LETTER = (ROOT / "docs/tell-your-integrators.md").read_text()
# The names that docs/verifying.md gives for other algorithms than that of its example.
HTTP_ALGORITHMS = {"RS256": "RSA_V1_5_SHA256", "ES256": "ECDSA_P256_SHA256", "EdDSA": "ED25519"}


def main() -> None:
    task = json.load(sys.stdin)
    settings = {
        "KEYS_URL": task["keysUrl"], "ENDPOINT": task["endpoint"], "ENDPOINT_URL": task["url"], "SECRET": task["secret"],
    }
    examples = Examples(settings, task["alg"])
    for captured in task["requests"]:
        request = Request({"ownQuery": "", **captured})
        print(json.dumps(examples.verify(request)), flush=True)


class Examples:
    """The example programs of docs/verifying.md and README.md. docs/tell-your-integrators.md has the URL that they verify."""

    def __init__(self, settings: dict[str, str], alg: str):
        self.settings = settings
        section = sections(PAGE)
        [get] = blocks(section["The payload"], "python")
        [jws], [jws_js] = blocks(section["JWS"], "python"), blocks(section["JWS"], "js")
        [v1, v1a], [v1_js] = blocks(section["Standard Webhooks"], "python"), blocks(section["Standard Webhooks"], "js")
        [http] = blocks(section["HTTP message signatures"], "python")
        [readme] = blocks(README, "python")
        [signed_url] = blocks(LETTER, "python")
        self.signed_url = self.run(signed_url)["signed_url"]
        self.payload_of_get = self.run(get)["payload_of_get"]
        self.python = {
            "JWS": self.run(jws.replace("RS256", alg))["verify"],
            "JWS (README)": self.run(readme.replace("RS256", alg))["verify"],
            "v1": self.run(v1)["verify"],
            "v1a": self.run(v1a)["verify"],
            "HTTP": self.run(http.replace("RSA_V1_5_SHA256", HTTP_ALGORITHMS[alg]))["verify"],
        }
        self.javascript = {"JWS (JavaScript)": jws_js.replace("RS256", alg), "v1 (JavaScript)": v1_js}

    def run(self, block: str) -> dict:
        namespace = dict(self.settings)
        exec(compile(block, "docs/verifying.md", "exec"), namespace)  # noqa: S102 - the document is ours
        return namespace

    def verify(self, request: Request) -> dict:
        headers = request.headers
        versions = {entry.split(",")[0] for entry in headers.get("webhook-signature", "").split(" ")}
        try:
            payload = self.payload_of_get(request.url.partition("?")[2]) if request.method == "GET" else request.body
        except ValueError as error:
            payload, refusal = None, repr(error)
        of_http = SimpleNamespace(method=request.method, url=self.called(request), headers=headers)
        jws = ("jws-signature" in headers, lambda verify: verify(headers, payload))
        tries = {
            "JWS": jws,
            "JWS (README)": jws,
            "v1": ("v1" in versions, lambda verify: verify(headers, payload)),
            "v1a": ("v1a" in versions, lambda verify: verify(headers, payload)),
            "HTTP": ("signature-input" in headers, lambda verify: verify(of_http, request.body)),
        }
        report = {}
        for name, verify in self.python.items():
            is_there, attempt = tries[name]
            if is_there and payload is None and name != "HTTP":
                report[name] = refusal
            elif is_there:
                report[name] = reason(attempt, verify)
        for name, block in self.javascript.items():
            if tries[name.split(" ")[0]][0]:
                report[name] = refusal if payload is None else self.in_javascript(block, headers, payload)
        return report

    def called(self, request: Request) -> str:
        """Returns the URL as the receiver knows it: its own, and for a GET with the query of the request."""
        if request.method != "GET":
            return self.settings["ENDPOINT_URL"]
        return self.signed_url(request.url.partition("?")[2])

    def in_javascript(self, block: str, headers: dict, payload: bytes) -> str | None:
        constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in self.settings.items())
        call = f"await verify({json.dumps(headers)}, Buffer.from({json.dumps(payload.hex())}, 'hex'));\n"
        with tempfile.NamedTemporaryFile("w", suffix=".mjs", dir=HERE) as program:  # Next to node_modules.
            program.write(f"{constants}{block}\n{call}")
            program.flush()
            done = subprocess.run(["node", program.name], capture_output=True, text=True, check=False)
        return None if done.returncode == 0 else done.stderr.strip()[-400:]


def reason(attempt, verify) -> str | None:
    try:
        attempt(verify)
    except Exception as error:  # noqa: BLE001 - every error is a refusal
        return repr(error)
    return None


def sections(page: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    main()
