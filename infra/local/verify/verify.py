"""Verifies captured webhooks as an integrator would, with libraries and a tool that share no code with Signpost.

    verify.py KEYS_URL < captured.jsonl

KEYS_URL is the start of the URLs of the tenant's keys: https://…/tenants/<tenant>.

Each line of the input is one request:
{"method": …, "url": …, "ownQuery": …, "headers": {"lower-case-name": …}, "body": "<base64>", "secret": "whsec_…" or null}.
`ownQuery` is the query of the endpoint's own URL, empty if it has none.
Each line of the output lists the successful verifications: {"kid": …, "verified": ["PyJWT RS256 raw", …]}. If a
verification fails, "error" has the reason, no later one is tried, and the program exits with 1.

Every signature of a request must verify, and a request must have at least one:

- JWS-SIGNATURE with PyJWT and the key as PEM, with jwcrypto and the key as JWK, each over the exact payload and
  over the payload without white space, as TransactionLink tells its integrators; and with openssl.
- webhook-signature: `v1` with standardwebhooks and svix, `v1a` with cryptography and the endpoints' keys of the set.
- Signature and Signature-Input with http-message-signatures, including Content-Digest.
"""

import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import http_sf
import jwt
import standardwebhooks
import svix
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import ECDSA_P256_SHA256, ED25519, RSA_V1_5_SHA256
from jwcrypto import jwk, jws

# The `alg` of a key, and the algorithm's name in RFC 9421.
ALGORITHMS = {"RS256": RSA_V1_5_SHA256, "ES256": ECDSA_P256_SHA256, "EdDSA": ED25519}
# The difference of clocks that the libraries of Standard Webhooks allow.
TOLERANCE = timedelta(minutes=5)
PATIENCE_SECONDS = 20


def main() -> int:
    keys = Keys(sys.argv[1])
    failed = False
    for line in sys.stdin:
        report = verify(Request(json.loads(line)), keys)
        failed = failed or "error" in report
        print(json.dumps(report), flush=True)
    return 1 if failed else 0


def verify(request: "Request", keys: "Keys") -> dict:
    report = {"kid": "", "verified": []}
    formats = {
        "jws-signature": verify_jws,
        "signature-input": verify_http_message_signature,
        "webhook-signature": verify_standard_webhooks,
    }
    try:
        present = [header for header in formats if header in request.headers]
        insist(present, "the request has no signature")
        report["kid"] = request.kid()
        for header in present:
            for how in formats[header](request, keys):
                report["verified"].append(how)
    except Exception as error:  # noqa: BLE001 - every error is a result
        report["error"] = repr(error)
    return report


def verify_jws(request: "Request", keys: "Keys") -> Iterator[str]:
    header, _, signature = request.headers["jws-signature"].partition("..")
    kid, alg = request.jose_header()["kid"], request.jose_header()["alg"]
    insist(alg in ALGORITHMS and alg == keys.jwk(kid)["alg"], f"`alg` is {alg}; expected that of the key")
    for how, payload in (("raw", request.payload), ("stripped", b"".join(request.payload.split()))):
        compact = f"{header}.{base64url(payload)}.{signature}"
        insist(jwt.PyJWS().decode(compact, keys.pem(kid), algorithms=[alg]) == payload, "PyJWT decoded another payload")
        yield f"PyJWT {alg} {how}"
        token = jws.JWS()
        token.allowed_algs = [alg]
        token.deserialize(compact)
        token.verify(jwk.JWK(**keys.jwk(kid)), alg=alg)
        yield f"jwcrypto {alg} {how}"
    signed = f"{header}.{base64url(request.payload)}".encode()
    verify_with_openssl(alg, keys.pem(kid), signed, base64url_decode(signature))
    yield f"openssl {alg}"


def verify_with_openssl(alg: str, pem: bytes, signed: bytes, signature: bytes) -> None:
    if alg == "ES256":  # JOSE has r and s of 32 bytes each (RFC 7518, section 3.4), openssl needs DER.
        insist(len(signature) == 64, "a signature of ES256 has 64 bytes")
        signature = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("pem", pem), ("signed", signed), ("signature", signature)):
            Path(folder, name).write_bytes(content)
        if alg == "EdDSA":
            how = "pkeyutl -verify -rawin -pubin -inkey pem -sigfile signature -in signed"
        else:
            how = "dgst -sha256 -verify pem -signature signature signed"
        subprocess.run(["openssl", *how.split()], cwd=folder, check=True, capture_output=True)


def verify_http_message_signature(request: "Request", keys: "Keys") -> Iterator[str]:
    parameters = request.signature_parameters()
    algorithm = ALGORITHMS[keys.jwk(parameters["keyid"])["alg"]]
    insist(parameters["alg"] == algorithm.algorithm_id, f"`alg` is {parameters['alg']}; expected that of the key")
    HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=keys).verify(
        request,
        max_age=TOLERANCE,
        expect_tag="signpost",
        require_components=("@method", "@target-uri", "content-digest", "webhook-id"),
        body=request.body,
    )
    yield f"http-message-signatures {algorithm.algorithm_id}"


def verify_standard_webhooks(request: "Request", keys: "Keys") -> Iterator[str]:
    entries = [entry.split(",") for entry in request.headers["webhook-signature"].split(" ")]
    versions = {version for version, _ in entries}
    insist(versions <= {"v1", "v1a"}, f"`webhook-signature` has {versions}; expected v1 or v1a")
    if "v1" in versions:
        insist(request.secret, "`v1` cannot be verified without the endpoint's secret")
        standardwebhooks.Webhook(request.secret).verify(request.payload, request.headers, json_parse=False)
        yield "standardwebhooks v1"
        svix.Webhook(request.secret).verify(request.payload, request.headers)
        yield "svix v1"
    if "v1a" in versions:
        identifier, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        insist(abs(time.time() - int(timestamp)) <= TOLERANCE.total_seconds(), "`webhook-timestamp` is too far off")
        signed = f"{identifier}.{timestamp}.".encode() + request.payload
        for signature in [signature for version, signature in entries if version == "v1a"]:
            insist(verifies_by_the_set(keys, signature, signed), "no key of the set verifies `v1a`")
        yield "cryptography v1a"


def verifies_by_the_set(keys: "Keys", signature: str, signed: bytes) -> bool:
    """Tries again for a while, because a forced key signs at once, but can be 15 s late in the set."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not verifies_with_one_of(keys.of_endpoints(), signature, signed):
        if time.monotonic() > deadline:
            return False
        time.sleep(2)
        keys.forget()
    return True


def verifies_with_one_of(keys: list[Ed25519PublicKey], signature: str, signed: bytes) -> bool:
    for key in keys:
        try:
            key.verify(base64.b64decode(signature, validate=True), signed)
            return True
        except InvalidSignature:
            continue
    return False


class Request(SimpleNamespace):
    """A captured request. http-message-signatures reads `method`, `url` and `headers`."""

    def __init__(self, captured: dict):
        super().__init__(**captured)
        self.body = base64.b64decode(captured["body"])
        # The content that JWS and Standard Webhooks sign.
        self.payload = self.query().encode() if self.method == "GET" else self.body

    def query(self) -> str:
        """Returns the payload of a GET: the query after that of the endpoint's own URL."""
        query, own = self.url.partition("?")[2], self.ownQuery
        if not own:
            return query
        insist(query == own or query.startswith(own + "&"), "the URL does not start with the endpoint's query")
        return query[len(own) + 1 :]

    def kid(self) -> str:
        if "jws-signature" in self.headers:
            return self.jose_header()["kid"]
        if "signature-input" in self.headers:
            return self.signature_parameters()["keyid"]
        return ""

    def jose_header(self) -> dict:
        return json.loads(base64url_decode(self.headers["jws-signature"].partition("..")[0]))

    def signature_parameters(self) -> dict:
        """Returns the unverified parameters of Signpost's signature (RFC 9421, section 2.3)."""
        signatures = http_sf.parse(self.headers["signature-input"].encode(), tltype="dictionary").values()
        ours = [parameters for _, parameters in signatures if parameters.get("tag") == "signpost"]
        insist(len(ours) == 1, f"{len(ours)} signatures have the tag; expected 1")
        return ours[0]


class Keys(HTTPSignatureKeyResolver):
    """The public keys, fetched by `kid` and cached, as docs/verifying.md asks of integrators."""

    def __init__(self, keys_url: str):
        self.keys_url = keys_url
        self.known: dict[tuple[str, str], bytes] = {}

    def pem(self, kid: str) -> bytes:
        return self.fetch(f"/keys/{kid}", "*/*")

    resolve_public_key = pem

    def jwk(self, kid: str) -> dict:
        return json.loads(self.fetch(f"/keys/{kid}", "application/jwk+json"))

    def of_endpoints(self) -> list[Ed25519PublicKey]:
        """Returns the keys that sign `v1a`. Each belongs to one endpoint."""
        keys = json.loads(self.fetch("/.well-known/jwks.json", "*/*"))["keys"]
        points = [key["x"] for key in keys if "endpoint" in key]
        return [Ed25519PublicKey.from_public_bytes(base64url_decode(point)) for point in points]

    def forget(self) -> None:
        self.known.clear()

    def fetch(self, path: str, accept: str) -> bytes:
        if (path, accept) not in self.known:
            request = urllib.request.Request(self.keys_url + path, headers={"Accept": accept})
            with urllib.request.urlopen(request) as response:
                self.known[path, accept] = response.read()
        return self.known[path, accept]


def insist(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def base64url_decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    sys.exit(main())
