"""Verifies captured callbacks the way an integrator would, with two libraries that share no code with Signpost.

    verify.py API_URL < captured.jsonl

Each line of the input is one request: {"signature": "<JWS-SIGNATURE>", "payload": "<base64>"}. Each line of the output
tells what was verified: {"kid": …, "verified": ["PyJWT raw", …]}. Ends with 1 if anything did not verify.

The payload is the body, or the query of a GET. Each is verified as it came and after all whitespace was stripped, which is what TransactionLink tells its
integrators to do; the key comes by `kid` as PEM and as JWK.
"""

import base64
import json
import sys
import urllib.request

import jwt
from jwcrypto import jwk, jws


def main() -> int:
    keys = Keys(sys.argv[1])
    failed = False
    for line in sys.stdin:
        captured = json.loads(line)
        report = verify(captured["signature"], base64.b64decode(captured["payload"]), keys)
        failed = failed or "error" in report
        print(json.dumps(report), flush=True)
    return 1 if failed else 0


def verify(signature: str, body: bytes, keys: "Keys") -> dict:
    header, _, tail = signature.partition("..")
    kid = json.loads(base64url_decode(header))["kid"]
    verified = []
    try:
        for how, payload in (("raw", body), ("stripped", b"".join(body.split()))):
            compact = f"{header}.{base64url(payload)}.{tail}"
            assert jwt.PyJWS().decode(compact, keys.pem(kid), algorithms=["RS256"]) == payload
            verified.append(f"PyJWT {how}")
            token = jws.JWS()
            token.deserialize(compact)
            token.verify(jwk.JWK(**keys.jwk(kid)), alg="RS256")
            verified.append(f"jwcrypto {how}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer to the question asked
        return {"kid": kid, "verified": verified, "error": repr(error)}
    return {"kid": kid, "verified": verified}


class Keys:
    """The public keys, fetched by `kid` and kept, as integrators are told to."""

    def __init__(self, api_url: str):
        self.api_url = api_url
        self.known: dict[tuple[str, str], bytes] = {}

    def pem(self, kid: str) -> bytes:
        return self.fetch(kid, "*/*")

    def jwk(self, kid: str) -> dict:
        return json.loads(self.fetch(kid, "application/jwk+json"))

    def fetch(self, kid: str, accept: str) -> bytes:
        if (kid, accept) not in self.known:
            request = urllib.request.Request(f"{self.api_url}/keys/{kid}", headers={"Accept": accept})
            with urllib.request.urlopen(request) as response:
                self.known[kid, accept] = response.read()
        return self.known[kid, accept]


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def base64url_decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    sys.exit(main())
