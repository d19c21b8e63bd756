"""Judges docs/vectors.json with libraries that share no code with Signpost: PyJWT and jwcrypto (JWS), standardwebhooks and svix
(Standard Webhooks `v1`), cryptography (`v1a`) and http-message-signatures (RFC 9421), each as docs/verifying.md shows it.

    vectors.py VECTORS_JSON

Prints how many vectors each library judged. Ends with 1 if a library accepts what the vectors refuse or refuses what they accept,
except for the differences that are listed here with their reasons. A difference that a library no longer has is an error, too.
"""

import base64
import datetime
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import http_message_signatures.signatures
import jwt
import standardwebhooks.webhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import ECDSA_P256_SHA256, ED25519, RSA_V1_5_SHA256
from jwcrypto import jwk, jws

HTTP_ALGORITHMS = {"RS256": RSA_V1_5_SHA256, "ES256": ECDSA_P256_SHA256, "EdDSA": ED25519}
ONE_IS_WRONG = "all formats, of which one is wrong"
COVERED = "the signature of this format is right: it does not cover the type"
PADDED = "the library takes the padding of base64, which adds no signature that would be valid"
# Why a library differs from the vectors.
DIFFERENCES = {
    ("PyJWT", "JWS, signature in base64"): PADDED,
    ("jwcrypto", "JWS, signature in base64"): PADDED,
    ("http-message-signatures", "HTTP message signature, ahead by the tolerance"): "it allows 5 s ahead",
    ("http-message-signatures", "HTTP message signature, too old"): "it adds 5 s to the age that it is given",
    ("PyJWT", ONE_IS_WRONG): COVERED,
    ("jwcrypto", ONE_IS_WRONG): COVERED,
    ("standardwebhooks", ONE_IS_WRONG): COVERED,
    ("svix", ONE_IS_WRONG): COVERED,
    ("cryptography", ONE_IS_WRONG): COVERED,
}


def main() -> int:
    file = json.loads(Path(sys.argv[1]).read_text())
    found, counts = {}, {}
    for vector in file["vectors"]:
        for library, header, judge in JUDGES:
            request = Request(vector, file["keySets"], file["toleranceSeconds"])
            if header not in request.headers or not judge.can_judge(request):
                continue
            counts[library] = counts.get(library, 0) + 1
            set_clock(vector["now"])
            try:
                judge.judge(request)
                verdict, reason = True, "accepted"
            except Exception as error:  # noqa: BLE001 - every error is a refusal
                verdict, reason = False, f"refused: {error!r}"
            if verdict != vector["expected"]["accepted"]:
                found[library, vector["name"]] = reason
    for pair in sorted(found.keys() ^ DIFFERENCES.keys()):
        print(f"{pair[0]}, {pair[1]}: {found.get(pair, 'no longer differs; remove it from the list')}", file=sys.stderr)
    print(", ".join(f"{library} judged {count}" for library, count in counts.items()))
    return 1 if found.keys() != DIFFERENCES.keys() or len(counts) != len(JUDGES) else 0


class Request(SimpleNamespace):
    """A vector as the libraries want it. http-message-signatures reads `method`, `url` and `headers`."""

    def __init__(self, vector: dict, key_sets: dict, tolerance: int):
        request, receiver = vector["request"], vector["receiver"]
        super().__init__(receiver=receiver, now=vector["now"], tolerance=tolerance, method=request["method"])
        self.headers: dict[str, str] = {}
        for name, value in request["headers"]:
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.body = base64.b64decode(request["body"])
        self.keys = key_sets.get(receiver.get("keySet"), {"keys": []})["keys"]
        query, own = request["url"].partition("?")[2], receiver.get("url", "").partition("?")[2]
        self.url = receiver.get("url", request["url"])
        self.payload = self.body
        if self.method == "GET":
            self.url = self.url.partition("?")[0] + "?" + query
            if own and query.startswith(own):
                query = query[len(own) + 1 :]
            self.payload = query.encode()

    def key(self, kid: str) -> dict:
        """Finds the one key that a signature names, as docs/verifying.md asks of integrators."""
        return next(key for key in self.keys if key["kid"] == kid and "endpoint" not in key)

    def algorithm(self, key: dict) -> str:
        """Returns the only algorithm to accept: that of the endpoint, or else of the key."""
        return self.receiver.get("algorithm", key["alg"])

    def compact(self) -> tuple[str, dict]:
        header, middle, signature = self.headers["jws-signature"].split(".")
        if middle:
            raise ValueError("not detached")
        kid = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]
        return f"{header}.{base64.urlsafe_b64encode(self.payload).rstrip(b'=').decode()}.{signature}", self.key(kid)


class PyJwt:
    def can_judge(self, request: Request) -> bool:
        return bool(request.keys)

    def judge(self, request: Request) -> None:
        compact, key = request.compact()
        jwt.PyJWS().decode(compact, jwt.PyJWK(key).key, algorithms=[request.algorithm(key)])


class JwCrypto:
    def can_judge(self, request: Request) -> bool:
        return bool(request.keys)

    def judge(self, request: Request) -> None:
        compact, key = request.compact()
        token = jws.JWS()
        token.allowed_algs = [request.algorithm(key)]
        token.deserialize(compact)
        token.verify(jwk.JWK(**key), alg=request.algorithm(key))


class StandardWebhooks:
    """A library for `v1`. One of the receiver's secrets must fit."""

    def __init__(self, verify):
        self.verify = verify

    def can_judge(self, request: Request) -> bool:
        return bool(request.receiver.get("secrets"))

    def judge(self, request: Request) -> None:
        errors = []
        for secret in request.receiver["secrets"]:
            try:
                return self.verify(secret, request)
            except Exception as error:  # noqa: BLE001
                errors.append(error)
        raise errors[0]


class Ed25519:
    """`v1a`, as docs/verifying.md writes it with cryptography."""

    def can_judge(self, request: Request) -> bool:
        is_only_v1a = "endpoint" in request.receiver and "secrets" not in request.receiver
        return is_only_v1a or "jws-signature" in request.headers

    def judge(self, request: Request) -> None:
        if abs(request.now - int(request.headers["webhook-timestamp"])) > request.tolerance:
            raise ValueError("too old, or from the future")
        signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.payload
        entries = [entry.partition(",")[::2] for entry in request.headers["webhook-signature"].split(" ")]
        signatures = [base64.b64decode(text, validate=True) for version, text in entries if version == "v1a"]
        own = [key for key in request.keys if key.get("endpoint") == request.receiver["endpoint"]]
        keys = [Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "==")) for key in own]
        if not any(fits(key, signature, signed) for key in keys for signature in signatures):
            raise ValueError("no key of this endpoint fits")


def fits(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
        return True
    except Exception:  # noqa: BLE001
        return False


class HttpMessageSignatures(HTTPSignatureKeyResolver):
    def can_judge(self, request: Request) -> bool:
        return bool(request.keys)

    def judge(self, request: Request) -> None:
        components = ["@method", "@target-uri", "content-digest", "webhook-id"]
        last_error = ValueError("no algorithm")
        accepted = [request.receiver["algorithm"]] if "algorithm" in request.receiver else list(HTTP_ALGORITHMS)
        for name in accepted:
            self.request = request
            verifier = HTTPMessageVerifier(signature_algorithm=HTTP_ALGORITHMS[name], key_resolver=self)
            try:
                verifier.verify(request, expect_tag="signpost", max_age=datetime.timedelta(seconds=request.tolerance),
                                require_components=components, body=request.body)
                return
            except Exception as error:  # noqa: BLE001
                last_error = error
        raise last_error

    def resolve_public_key(self, key_id: str):
        return jwt.PyJWK(self.request.key(key_id)).key


JUDGES = [
    ("PyJWT", "jws-signature", PyJwt()),
    ("jwcrypto", "jws-signature", JwCrypto()),
    ("standardwebhooks", "webhook-signature", StandardWebhooks(lambda secret, request: standardwebhooks.Webhook(secret).verify(
        request.payload, request.headers, json_parse=False))),
    ("svix", "webhook-signature", StandardWebhooks(lambda secret, request: svix.Webhook(secret).verify(
        request.payload, request.headers))),
    ("cryptography", "webhook-signature", Ed25519()),
    ("http-message-signatures", "signature-input", HttpMessageSignatures()),
]


def set_clock(now: int) -> None:
    """Sets the clock of the libraries."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.fromtimestamp(now, tz)

    standardwebhooks.webhooks.datetime = svix.webhooks.datetime = Clock
    http_message_signatures.signatures.datetime = SimpleNamespace(**{**vars(datetime), "datetime": Clock})


if __name__ == "__main__":
    sys.exit(main())
