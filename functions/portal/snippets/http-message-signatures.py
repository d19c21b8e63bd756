import urllib.request, uuid
from datetime import timedelta
from types import SimpleNamespace

from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms  # pip install http-message-signatures

ALGORITHMS = {
    "RS256": algorithms.RSA_V1_5_SHA256, "ES256": algorithms.ECDSA_P256_SHA256, "EdDSA": algorithms.ED25519,
}


class Keys(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id):  # Keep what it returns: a key id never gets another key.
        return urllib.request.urlopen(f"KEYS_URL/keys/{uuid.UUID(key_id)}").read()


verifier = HTTPMessageVerifier(signature_algorithm=ALGORITHMS["ALGORITHM"], key_resolver=Keys())


def verify(headers, body: bytes, method="POST", url="ENDPOINT_URL"):
    """Raises if it does not verify. Take the URL from your settings, not from what arrives behind a proxy."""
    verifier.verify(
        SimpleNamespace(method=method, url=url, headers=headers),
        expect_tag="signpost",
        max_age=timedelta(minutes=5),
        require_components=("@method", "@target-uri", "content-digest", "webhook-id"),
        body=body,
    )
