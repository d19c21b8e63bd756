"""The verification of webhooks, step by step. The steps have the names of `signpost verify`."""

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from .errors import VerificationError
from .keys import FixedKeys, Key, KeySet

ALGORITHMS = {"RS256": "rsa-v1_5-sha256", "ES256": "ecdsa-p256-sha256", "EdDSA": "ed25519"}
FORMATS = ("jws", "standard-webhooks", "http-message-signatures")
_KID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_REQUIRED = ("@method", "@target-uri", "content-digest", "webhook-id")
_UNCHANGED = "pass the header on unchanged"
_REFUSE = "refuse the request: Signpost never signs like that"
_ALL_HEADERS = "pass all headers to `verify`; look for a proxy that removes them"
_RAW = "verify before another program reads the body; read the raw bytes once, and keep them"
_BEFORE_PARSER = "verify the bytes as they arrived, before any JSON parser (Flask: `get_data()`; Django and FastAPI: `body`)"

Headers = Mapping[str, str | list[str]] | Iterable[tuple[str | bytes, str | bytes]]


@dataclass(frozen=True)
class Event:
    """A webhook that verifies.

    `signed` names the members that the signature covers. Somebody on the way can change the others. `repeated` is true if the
    `seen` hook knows the id: answer 2xx, and do nothing.
    """

    id: str | None
    source: str | None
    type: str | None
    attempt: int | None
    replay: str | None
    payload: bytes
    signed: frozenset[str] = field(default_factory=frozenset)
    repeated: bool = False

    def json(self) -> object:
        """Parses the payload of a `POST` or `PUT`."""
        return json.loads(self.payload)


class Receiver:
    """Verifies the webhooks of one endpoint. Make one for the life of the program: it keeps the keys.

    Give at least one of `keys_url` and `secrets`, from your own configuration and never from a request:

    - `keys_url`: the endpoint's `jwksUrl`, for JWS, HTTP message signatures, and with `endpoint` for `v1a`.
    - `secrets`: the endpoint's `signingSecret` (`whsec_…`), or several, for `v1`.
    - `endpoint`: the endpoint's id, `ep_…`.
    - `url`: the endpoint's `url`, for HTTP message signatures and for `GET`.
    - `algorithm`: the endpoint's `jwsAlgorithm`; without it, that of the key.
    - `formats`: the formats that you accept; without it, all that your settings can verify.
    - `seen`: says whether you have handled the event of an id already.
    - `tolerance`: how far the moment of signing may be from the clock, in seconds.
    """

    def __init__(
        self,
        keys_url: str | None = None,
        *,
        secrets: str | Iterable[str] = (),
        endpoint: str | None = None,
        url: str | None = None,
        algorithm: str | None = None,
        formats: Iterable[str] = FORMATS,
        seen: Callable[[str], bool] | None = None,
        tolerance: int = 300,
        clock: Callable[[], float] = time.time,
        keys: KeySet | FixedKeys | None = None,
    ):
        if keys is None and keys_url is not None:
            keys = KeySet(keys_url)
        self._keys = keys
        self._secrets = [_secret(text) for text in ([secrets] if isinstance(secrets, str) else secrets)]
        self._endpoint, self._url, self._algorithm = endpoint, url, algorithm
        self._formats = tuple(formats)
        self._seen, self._tolerance, self._clock = seen, tolerance, clock
        if self._keys is None and not self._secrets:
            raise ValueError("there is neither `keys_url` nor `secrets`; expected one of them")
        if algorithm is not None and algorithm not in ALGORITHMS:
            raise ValueError(f"`algorithm` is `{algorithm}`; expected {', '.join(ALGORITHMS)}")
        unknown = [name for name in self._formats if name not in FORMATS]
        if unknown or not self._formats:
            raise ValueError(f"`formats` has {unknown}; expected some of {', '.join(FORMATS)}")

    def verify(self, headers: Headers, body: bytes, url: str | None = None, method: str = "POST") -> Event:
        """Verifies a request, and returns its event.

        `body` is the bytes as they arrived. `url` is the URL that was called, and only needed for `GET`, or if the receiver has no
        `url`. Every signature of the accepted formats must be right.

        Raises `VerificationError` if the request does not verify, and `KeysUnavailable` if the keys cannot be fetched. May fetch
        keys, for at most the time-out of the key set.
        """
        if not isinstance(body, bytes | bytearray | memoryview):
            found = f"the body is a {type(body).__name__}; expected the bytes that arrived"
            raise VerificationError("body-reencoded", found, _BEFORE_PARSER)
        request = _Request(_lower(headers), bytes(body), method.upper(), self._url, url)
        present = [name for name, is_there in (
            ("jws", "jws-signature" in request.headers),
            ("standard-webhooks", "webhook-signature" in request.headers),
            ("http-message-signatures", "signature" in request.headers or "signature-input" in request.headers),
        ) if is_there]
        wanted = [name for name in present if name in self._formats and self._can_verify(name)]
        if not wanted:
            raise self._no_signature(request, present)
        signed: set[str] = set()
        for name in wanted:
            check = {"jws": self._jws, "standard-webhooks": self._standard_webhooks,
                     "http-message-signatures": self._http}[name]
            signed |= check(request)
        return self._event(request, signed)

    def _can_verify(self, name: str) -> bool:
        if name == "standard-webhooks":
            return bool(self._secrets) or (self._keys is not None and self._endpoint is not None)
        return self._keys is not None

    def _no_signature(self, request: "_Request", present: list[str]) -> VerificationError:
        if "standard-webhooks" in present and "standard-webhooks" in self._formats:
            found = "there is neither a secret for `v1` nor the endpoint's id for `v1a`"
            return VerificationError("secret", found, "add `secrets` or `endpoint` to the receiver's settings")
        if present:
            found = f"the request has {', '.join(present)}, which this receiver does not verify"
            return VerificationError("no-signature", found, "compare `formats`, and the endpoint's `signatures`")
        names = ", ".join(sorted(request.headers))
        found = f"there is no `jws-signature`, `webhook-signature` or `signature`; the headers are {names}"
        return VerificationError("no-signature", found, _ALL_HEADERS)

    def _event(self, request: "_Request", signed: set[str]) -> Event:
        headers = request.headers
        source, kind = (_decoded(headers.get(name)) for name in ("ce-source", "ce-type"))
        if headers.get("content-type", "").split(";")[0].strip().lower() == "application/cloudevents+json":
            try:
                whole = json.loads(request.body)
                source, kind = whole["source"], whole["type"]
                signed = signed | {"source", "type"}
            except (ValueError, KeyError, TypeError):
                pass  # The signature is right, but the body is not a whole event.
        attempt = headers.get("signpost-attempt", "")
        event = Event(
            id=headers.get("webhook-id"), source=source, type=kind,
            attempt=int(attempt) if re.fullmatch(r"[0-9]{1,9}", attempt) else None,
            replay=headers.get("signpost-replay"), payload=request.payload, signed=frozenset(signed),
        )
        is_repeated = bool(self._seen and event.id is not None and self._seen(event.id))
        return replace(event, repeated=is_repeated)

    # JWS (RFC 7515, appendix F).

    def _jws(self, request: "_Request") -> set[str]:
        parts = request.headers["jws-signature"].split(".")
        if len(parts) != 3:
            found = f"`jws-signature` has {len(parts)} parts; expected `<header>..<signature>`"
            raise VerificationError("malformed", found, _UNCHANGED)
        protected, middle, text = parts
        if middle:
            found = "the payload is inside `jws-signature`; expected nothing between the two dots"
            raise VerificationError("not-detached", found, "take the header as it arrived")
        header = _json_object(_base64url(protected))
        if header is None or "crit" in header:
            found = "the first part of `jws-signature` is not base64url of JSON"
            raise VerificationError("malformed", found, _UNCHANGED)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise VerificationError("algorithm", f"`alg` is `{algorithm}`; expected RS256, ES256 or EdDSA", _REFUSE)
        signature = _base64url(text)
        if signature is None:
            found = "the signature is not base64url without padding"
            raise VerificationError("signature-malformed", found, _UNCHANGED)
        key = self._key(header.get("kid"), algorithm)
        _check_length(signature, key)
        encoded = base64.urlsafe_b64encode(request.payload).rstrip(b"=")
        if not key.verifies(protected.encode() + b"." + encoded, signature):
            raise _mismatch(request, "the header of the signature and the payload")
        return set()

    # Standard Webhooks 1.0.0.

    def _standard_webhooks(self, request: "_Request") -> set[str]:
        identifier, timestamp = (_needed(request, name) for name in ("webhook-id", "webhook-timestamp"))
        if not re.fullmatch(r"[0-9]{1,15}", timestamp):
            found = f"`webhook-timestamp` is `{timestamp}`; expected seconds since the Unix epoch"
            raise VerificationError("timestamp", found, _UNCHANGED)
        entries = []
        for entry in filter(None, request.headers["webhook-signature"].split(" ")):
            version, comma, text = entry.partition(",")
            signature = _base64(text) if comma else None
            if signature is None:
                found = f"an entry of `webhook-signature` is `{entry[:30]}`; expected `v1,<base64>` or `v1a,<base64>`"
                raise VerificationError("signature-malformed", found, _UNCHANGED)
            entries.append((version, signature))
        content = f"{identifier}.{timestamp}.".encode() + request.payload
        macs = [hmac.digest(secret, content, "sha256") for secret in self._secrets]
        by_secret = any(
            version == "v1" and hmac.compare_digest(mac, signature) for mac in macs for version, signature in entries)
        if not by_secret:
            by_key = self._fits_v1a(entries, content)
            if by_key and self._secrets:
                found = "`v1a` is valid, and no `v1` fits the secret: it is of another endpoint, or was replaced"
                raise VerificationError("secret", found, "enter the endpoint's present `signingSecret` (`whsec_…`)")
            if not by_key:
                raise _mismatch(request, "`webhook-id`, `webhook-timestamp` and the payload, under the endpoint's own keys")
        self._check_age(int(timestamp), "webhook-timestamp")
        return {"id"}

    def _fits_v1a(self, entries: list[tuple[str, bytes]], content: bytes) -> bool:
        signatures = [signature for version, signature in entries if version == "v1a"]
        if self._keys is None or self._endpoint is None or not signatures:
            return False

        def fits(keys: list[Key]) -> bool:
            own = [key for key in keys if key.endpoint == self._endpoint and key.algorithm == "EdDSA"]
            return any(key.verifies(content, signature) for key in own for signature in signatures)

        keys = self._keys.keys()
        return fits(keys) or fits(self._keys.keys_after(keys))

    # HTTP message signatures (RFC 9421), with `content-digest` (RFC 9530).

    def _http(self, request: "_Request") -> set[str]:
        text, signatures = (_needed(request, name) for name in ("signature-input", "signature"))
        inputs = [one for one in map(_Input.parse, _members(text)) if one and one.parameters.get("tag") == "signpost"]
        if not inputs:
            found = f"no signature has the tag `signpost`; `signature-input` is `{text}`"
            raise VerificationError("tag", found, "use the signature whose `tag` is `signpost`")
        signed = inputs[0]
        for name in _REQUIRED:
            if name not in signed.components:
                found = f"the signature does not cover `{name}`; it covers {', '.join(signed.components)}"
                raise VerificationError("component-missing", found, "refuse the request: Signpost always covers it")
        member = dict(_members(signatures)).get(signed.label)
        if member is None:
            found = f"`signature` has no member `{signed.label}`, which `signature-input` has"
            raise VerificationError("malformed", found, _UNCHANGED)
        signature = _base64(member[1:-1]) if re.fullmatch(r":[^:]*:", member) else None
        if signature is None:
            raise VerificationError("signature-malformed", "the signature is not base64 between two colons", _UNCHANGED)
        algorithms = [name for name, in_http in ALGORITHMS.items() if in_http == signed.parameters.get("alg")]
        if not algorithms:
            found = f"`alg` is `{signed.parameters.get('alg')}`; expected {', '.join(ALGORITHMS.values())}"
            raise VerificationError("algorithm", found, _REFUSE)
        for name in signed.components:
            if not name.startswith("@") and name not in request.headers:
                raise VerificationError("header-missing", f"`{name}` is missing; the signature covers it", _ALL_HEADERS)
        urls = request.urls()
        if not urls:
            found = "the URL is not known, and the signature covers it"
            raise VerificationError("url", found, "add `url` to the receiver, from the endpoint's settings")
        key = self._key(signed.parameters.get("keyid"), algorithms[0])
        _check_length(signature, key)
        if not key.verifies(signed.base(request, urls[0]), signature):
            for other in urls[1:]:
                if key.verifies(signed.base(request, other), signature):
                    found = f"the signature is for `{other}`, and the URL here is `{urls[0]}`"
                    next_ = "build the URL from the endpoint's settings, not from what arrives behind a proxy"
                    raise VerificationError("url", found, next_)
            found = f"the signature does not fit; it covers {', '.join(signed.components)}, for the URL `{urls[0]}`"
            raise VerificationError("signature", found, "compare each with what arrived, and the URL with the endpoint's")
        digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
        if request.headers["content-digest"] != f"sha-256=:{digest}:":
            error = _mismatch(request, "the digest of the body")
            if error.step == "signature":
                found = f"the body of {len(request.body)} bytes does not have the signed digest"
                raise VerificationError("digest", found, _BEFORE_PARSER)
            raise error
        created = signed.parameters.get("created", "")
        if not re.fullmatch(r"[0-9]{1,15}", created):
            found = "`created` is missing or not a number"
            raise VerificationError("timestamp", found, "refuse the request: Signpost always sends it")
        self._check_age(int(created), "created")
        names = {"webhook-id": "id", "ce-source": "source", "ce-type": "type"}
        return {names[name] for name in signed.components if name in names}

    def _key(self, kid: object, algorithm: str) -> Key:
        if not isinstance(kid, str) or not _KID.fullmatch(kid):
            found = f"the `kid` is `{str(kid)[:60]}`; expected a UUID"
            raise VerificationError("kid-malformed", found, "refuse the request, and put nothing but a UUID into a URL")

        def find(keys: list[Key]) -> Key | None:
            return next((key for key in keys if key.kid == kid and key.endpoint is None), None)

        keys = self._keys.keys()
        key = find(keys) or find(self._keys.keys_after(keys))
        if key is None:
            found = f"no key of the set has the `kid` `{kid}`"
            next_ = "refuse the request: the key has retired, or the request is for another tenant; compare the key URL"
            raise VerificationError("kid-unknown", found, next_)
        expected = self._algorithm or key.algorithm
        if algorithm not in (key.algorithm,) or algorithm != expected:
            found = f"the signature names {algorithm}, and the key is for {key.algorithm}; expected {expected}"
            raise VerificationError("algorithm", found, "refuse the request; accept the endpoint's `jwsAlgorithm` only")
        return key

    def _check_age(self, signed_at: int, name: str) -> None:
        now = int(self._clock())
        if signed_at + self._tolerance < now:
            found = f"the signature is valid, and `{name}` is {now - signed_at} s ago; expected at most {self._tolerance} s"
            raise VerificationError("too-old", found, "compare your clock, and look for a queue in front of the receiver")
        if signed_at > now + self._tolerance:
            found = f"`{name}` is {signed_at - now} s ahead of the clock; expected at most {self._tolerance} s"
            raise VerificationError("from-the-future", found, "set the clock of the receiver by NTP")


class _Request:
    def __init__(self, headers: dict[str, str], body: bytes, method: str, own_url: str | None, called: str | None):
        self.headers, self.body, self.method = headers, body, method
        self._own_url, self._called = own_url, None if called is None else _clean(called)
        self.payload = self._query_of_get() if method == "GET" else body

    def _query_of_get(self) -> bytes:
        """Returns the query without that of the endpoint's own URL, which Signpost does not sign."""
        if self._called is None:
            found = "the method is GET, and `verify` got no `url`; expected the URL with its query as it arrived"
            raise VerificationError("url", found, "pass the URL that was called to `verify`")
        query = self._called.partition("?")[2]
        own = (self._own_url or "").partition("?")[2]
        if own and (query == own or query.startswith(own + "&")):
            query = query[len(own) + 1 :]
        return query.encode()

    def urls(self) -> list[str]:
        """Lists URLs that the sender may have called: first the one that counts, then those that explain a mistake."""
        own, called = self._own_url, self._called
        if own and self.method == "GET":
            own = own.partition("?")[0] + "?" + (called or "").partition("?")[2]
        whole = called if called and re.match(r"https?://", called) else None
        urls = [url for url in (own, whole) if url]
        swapped = [re.sub(r"^http(s?)", lambda found: "http" if found[1] else "https", url) for url in urls]
        return urls + swapped


@dataclass(frozen=True)
class _Input:
    """A member of `signature-input`. `text` is the last line of the signature base."""

    label: str
    text: str
    components: list[str]
    parameters: dict[str, str]

    @classmethod
    def parse(cls, member: tuple[str, str]) -> "_Input | None":
        label, text = member
        found = re.fullmatch(r"\(([^)]*)\)(.*)", text)
        if not found:
            return None
        components = [item.strip('"') for item in found[1].split()]
        pairs = (pair.partition("=") for pair in found[2].split(";") if "=" in pair)
        return cls(label, text, components, {name.strip(): value.strip('"') for name, _, value in pairs})

    def base(self, request: _Request, url: str) -> bytes:
        """Returns the signature base (RFC 9421, section 2.5)."""
        special = {"@method": request.method, "@target-uri": url}
        lines = [f'"{name}": {special.get(name) or request.headers.get(name, "")}' for name in self.components]
        return "\n".join([*lines, f'"@signature-params": {self.text}']).encode()


def _members(text: str) -> list[tuple[str, str]]:
    """Splits a dictionary (RFC 9651, section 3.2) at the commas outside of quotes and parentheses."""
    parts, start, is_in_string, depth = [], 0, False, 0
    for at, char in enumerate(text):
        if char == '"':
            is_in_string = not is_in_string
        elif not is_in_string and char in "()":
            depth += 1 if char == "(" else -1
        elif char == "," and not is_in_string and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    pairs = (part.strip().partition("=") for part in parts)
    return [(label, value) for label, equals, value in pairs if equals]


def _lower(headers: Headers) -> dict[str, str]:
    """Returns the headers by their names in lower case. Several lines of a field are one (RFC 9110, section 5.3)."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    all_: dict[str, str] = {}
    for name, value in pairs:
        name = (name.decode("latin-1") if isinstance(name, bytes) else str(name)).lower()
        values = value if isinstance(value, list | tuple) else [value]
        for one in values:
            text = _clean(one.decode("latin-1") if isinstance(one, bytes) else str(one)).strip()
            all_[name] = f"{all_[name]}, {text}" if name in all_ else text
    return all_


def _clean(text: str) -> str:
    """Replaces surrogates, which some servers make of bytes that are not UTF-8, and which nothing can encode."""
    return text.encode("utf-8", "replace").decode()


def _needed(request: _Request, name: str) -> str:
    value = request.headers.get(name)
    if not value:
        raise VerificationError("header-missing", f"`{name}` is missing; the signature needs it", _ALL_HEADERS)
    return value


def _mismatch(request: _Request, covers: str) -> VerificationError:
    """Explains a signature that does not fit the payload."""
    length, body = request.headers.get("content-length", ""), request.body
    if request.method != "GET":
        if not body:
            return VerificationError("body-missing", "the body is empty; expected the bytes that arrived", _RAW)
        is_short = bool(re.fullmatch(r"[0-9]{1,9}", length)) and len(body) < int(length)
        # Nothing that was cut is still valid JSON: a short body that is valid was encoded again.
        if (is_short or re.search(rb"\s", body)) and _json(body) is not None:
            found = "the body has whitespace, or not the length that arrived: it was parsed and encoded again"
            return VerificationError("body-reencoded", found, _BEFORE_PARSER)
        if is_short:
            found = f"`content-length` is {length}, and the body has {len(body)} bytes"
            return VerificationError("body-cut", found, "read the body to its end; look for a limit on bodies")
    found = f"the signature does not fit; it covers {covers}, and at least one of these changed"
    return VerificationError("signature", found, "compare each with what arrived; " + _BEFORE_PARSER)


def _check_length(signature: bytes, key: Key) -> None:
    if len(signature) != key.signature_bytes:
        found = f"the signature has {len(signature)} bytes; expected {key.signature_bytes}, as {key.algorithm} has"
        raise VerificationError("signature-malformed", found, "look for a program that cuts long headers")


def _secret(text: str) -> bytes:
    secret = _base64(text.removeprefix("whsec_"))
    if secret is None or not 24 <= len(secret) <= 64:
        raise ValueError("a secret cannot be read; expected `whsec_` and base64, as the API shows `signingSecret`")
    return secret


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _base64url(text: str) -> bytes | None:
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        return None
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None


def _json(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_object(text: bytes | None) -> dict | None:
    value = _json(text) if text is not None else None
    return value if isinstance(value, dict) else None


def _decoded(value: str | None) -> str | None:
    """Decodes a header of CloudEvents (HTTP binding 1.0.2, section 3.1.3.2)."""
    return None if value is None else unquote(value, errors="replace")
