"""A tenant's key set: public keys, fetched from the tenant's `jwksUrl` and kept for the time in its `Cache-Control`."""

import base64
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from .errors import KeysUnavailable

_MOST_BYTES = 4 << 20  # 1,000 endpoints with two keys each need less than 1 MiB.
_LONGEST_SECONDS = 24 * 3600
_DEFAULT_SECONDS = 300
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Key:
    """A public key of a key set. A key with an endpoint verifies `v1a` of this endpoint only."""

    kid: str
    algorithm: str
    endpoint: str | None
    signature_bytes: int
    _public: object

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Returns whether `signature` is this key's signature over `message`."""
        if len(signature) != self.signature_bytes:
            return False
        try:
            if isinstance(self._public, rsa.RSAPublicKey):
                self._public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            elif isinstance(self._public, ec.EllipticCurvePublicKey):
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                self._public.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
            else:
                self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def parse_key_set(text: bytes | str) -> list[Key]:
    """Reads a key set (RFC 7517). Keys of other kinds than Signpost's are left out.

    Raises `ValueError` if the text is not a key set.
    """
    try:
        members = json.loads(text)["keys"]
        return [key for key in map(_parse_key, members) if key]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError('not a key set; expected {"keys":[…]}, as the endpoint\'s `jwksUrl` answers') from error


def _parse_key(jwk: dict) -> Key | None:
    kid, endpoint, kind = jwk.get("kid"), jwk.get("endpoint"), jwk.get("kty")
    if not isinstance(kid, str):
        return None
    try:
        if kind == "RSA":
            n, e = (int.from_bytes(_number(jwk[name]), "big") for name in ("n", "e"))
            if n.bit_length() < 2048:
                return None
            return Key(kid, "RS256", endpoint, (n.bit_length() + 7) // 8, rsa.RSAPublicNumbers(e, n).public_key())
        if kind == "EC" and jwk.get("crv") == "P-256":
            x, y = (int.from_bytes(_number(jwk[name]), "big") for name in ("x", "y"))
            return Key(kid, "ES256", endpoint, 64, ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
        if kind == "OKP" and jwk.get("crv") == "Ed25519":
            public = ed25519.Ed25519PublicKey.from_public_bytes(_number(jwk["x"]))
            return Key(kid, "EdDSA", endpoint, 64, public)
    except (KeyError, ValueError):
        return None
    return None


def _number(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True)
class _Copy:
    keys: list[Key]
    etag: str | None
    expires: float


class KeySet:
    """The keys below a URL. All threads share one copy, and only one of them fetches at a time.

    - `timeout`: how long a fetch may take in total, in seconds.
    - `cooldown`: the shortest time between two fetches, in seconds. Forged requests cannot cause more.
    - `stale`: how long after its expiry a copy serves while the server does not answer, in seconds.
    """

    def __init__(self, url: str, *, timeout: float = 3.0, cooldown: float = 2.0, stale: float = 3600.0,
                 clock: Callable[[], float] = time.monotonic):
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError(f"the key URL is `{url}`; expected https, because the keys decide what is genuine")
        self._parts, self._timeout, self._cooldown, self._stale, self._clock = parts, timeout, cooldown, stale, clock
        self._lock = threading.Lock()
        self._copy: _Copy | None = None
        self._last_fetch = float("-inf")
        self._last_error: Exception | None = None

    def keys(self) -> list[Key]:
        """Returns the keys, fetched if the copy has expired. Raises `KeysUnavailable`."""
        copy = self._copy
        if copy and self._clock() < copy.expires:
            return copy.keys
        return self._refresh(copy).keys

    def keys_after(self, known: list[Key]) -> list[Key]:
        """Returns the keys, newer than `known` if the last fetch is at least `cooldown` ago. Raises `KeysUnavailable`."""
        copy = self._copy
        if copy is None or copy.keys is known:
            copy = self._refresh(copy)
        return copy.keys

    def _refresh(self, seen: _Copy | None) -> _Copy:
        with self._lock:
            copy = self._copy
            if copy is not seen and copy is not None:
                return copy  # Another thread has fetched meanwhile.
            if self._clock() - self._last_fetch >= self._cooldown:
                try:
                    copy = self._copy = self._fetch(copy)
                    self._last_error = None
                except (OSError, ValueError, http.client.HTTPException) as error:
                    self._last_error = error
                finally:
                    self._last_fetch = self._clock()
            if copy is None or (self._last_error and self._clock() > copy.expires + self._stale):
                url = self._parts.geturl()
                told = f"the key set at `{url}` could not be fetched ({self._last_error}); compare the URL with the endpoint's `jwksUrl`"
                raise KeysUnavailable(told) from self._last_error
            return copy

    def _fetch(self, old: _Copy | None) -> _Copy:
        deadline = time.monotonic() + self._timeout
        parts = self._parts
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=self._timeout, context=ssl.create_default_context())
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=self._timeout)
        timer = None
        try:
            connection.connect()
            # Each read has the time-out of the socket. The timer ends servers that send a byte at a time.
            timer = threading.Timer(self._timeout, _shut, [connection.sock])
            timer.daemon = True
            timer.start()
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {"Accept": "application/json", "User-Agent": "signpost-receiver-python/0.1.0"}
            if old and old.etag:
                headers["If-None-Match"] = old.etag
            connection.request("GET", path, headers=headers)
            with connection.getresponse() as answer:
                body = answer.read(_MOST_BYTES + 1)
        finally:
            if timer:
                timer.cancel()
            connection.close()
        if time.monotonic() > deadline:
            raise TimeoutError(f"no whole answer within {self._timeout} s")
        expires = self._clock() + _seconds(answer.headers)
        if answer.status == 304 and old:
            return _Copy(list(old.keys), old.etag, expires)
        if answer.status != 200:  # Redirects, too: the URL of the keys is fixed.
            raise ValueError(f"the answer's status is {answer.status}; expected 200")
        if len(body) > _MOST_BYTES:
            raise ValueError(f"the key set has more than {_MOST_BYTES} bytes")
        return _Copy(parse_key_set(body), answer.headers.get("ETag"), expires)


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It is closed already.


def _seconds(headers: Mapping[str, str]) -> float:
    text = (headers.get("Cache-Control") or "").lower()
    if re.search(r"\bno-(store|cache)\b", text):
        return 0
    found = re.search(r"\bmax-age\s*=\s*\"?(\d{1,9})", text)
    age = headers.get("Age") or ""
    old = int(age) if re.fullmatch(r"[0-9]{1,9}", age) else 0
    return max(0, min(int(found[1]), _LONGEST_SECONDS) - old) if found else _DEFAULT_SECONDS


class FixedKeys:
    """Keys that never change, for tests."""

    def __init__(self, text: bytes | str):
        self._keys = parse_key_set(text)

    def keys(self) -> list[Key]:
        """Returns the keys."""
        return self._keys

    def keys_after(self, known: list[Key]) -> list[Key]:
        """Returns the keys."""
        return self._keys
