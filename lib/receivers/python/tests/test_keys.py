"""Tries the key cache against a real HTTP server."""

import base64
import json
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from signpost_receiver import KeySet, KeysUnavailable, Receiver, VerificationError
from test_vectors import FILE

KEYS = FILE["keySets"]["acme"]


class Server:
    """A key server. `keys`, `headers` and `status` are its next answers."""

    def __init__(self):
        self.keys, self.headers, self.status = KEYS, {"Cache-Control": "public, max-age=60"}, 200
        self.requests: list[dict] = []
        self.gate = threading.Event()
        self.gate.set()
        self.drip = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(dict(self.headers))
                outer.gate.wait(10)
                body = json.dumps(outer.keys).encode()
                status = outer.status
                if status == 200 and "ETag" in outer.headers and self.headers.get("If-None-Match") == outer.headers["ETag"]:
                    status, body = 304, b""
                try:
                    self.send_response(status)
                    for name, value in outer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    if outer.drip:  # A byte at a time keeps the time-out of a socket from ending the read.
                        for byte in body[:100]:
                            self.wfile.write(bytes([byte]))
                            self.wfile.flush()
                            time.sleep(0.05)
                    else:
                        self.wfile.write(body)
                except OSError:
                    pass  # The client has given up.

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/tenants/acme/.well-known/jwks.json"

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


class Keys(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)
        self.now = 1_000.0

    def set_of(self, **more) -> KeySet:
        return KeySet(self.server.url, clock=lambda: self.now, **more)

    def verify(self, keys: KeySet, name: str = "JWS RS256"):
        vector = next(one for one in FILE["vectors"] if one["name"] == name)
        request, settings = vector["request"], vector["receiver"]
        receiver = Receiver(keys=keys, endpoint=settings.get("endpoint"), clock=lambda: vector["now"])
        return receiver.verify(request["headers"], base64.b64decode(request["body"]), settings.get("url"))

    def test_keys_are_kept_for_max_age(self):
        keys = self.set_of()
        for _ in range(3):
            self.verify(keys)
        self.assertEqual(len(self.server.requests), 1)
        self.now += 59
        self.verify(keys)
        self.assertEqual(len(self.server.requests), 1)
        self.now += 2
        self.verify(keys)
        self.assertEqual(len(self.server.requests), 2)

    def test_an_expired_copy_is_compared_by_its_etag(self):
        self.server.headers["ETag"] = '"1"'
        keys = self.set_of()
        self.verify(keys)
        self.now += 61
        self.verify(keys)
        self.assertEqual(self.server.requests[1].get("If-None-Match"), '"1"')
        self.now += 59
        self.verify(keys)
        self.assertEqual(len(self.server.requests), 2)

    def test_an_unknown_kid_fetches_again_once_and_not_more_often_than_the_cooldown(self):
        self.server.keys = {"keys": []}
        keys = self.set_of()
        for _ in range(5):
            with self.assertRaises(VerificationError) as refused:
                self.verify(keys)
            self.assertEqual(refused.exception.step, "kid-unknown")
        self.assertEqual(len(self.server.requests), 1)
        self.server.keys = KEYS
        self.now += 2
        self.verify(keys)
        self.assertEqual(len(self.server.requests), 2)

    def test_a_new_key_of_v1a_is_found_in_the_same_way(self):
        self.server.keys = {"keys": []}
        keys = self.set_of()
        with self.assertRaises(VerificationError):
            self.verify(keys, "Standard Webhooks v1a")
        self.server.keys = KEYS
        self.now += 2
        self.verify(keys, "Standard Webhooks v1a")

    def test_threads_share_one_fetch(self):
        self.server.gate.clear()
        keys = self.set_of(timeout=10)
        with ThreadPoolExecutor(16) as pool:
            futures = [pool.submit(self.verify, keys) for _ in range(16)]
            while not self.server.requests:
                time.sleep(0.001)
            self.server.gate.set()
            for future in futures:
                future.result(timeout=10)
        self.assertEqual(len(self.server.requests), 1)

    def test_a_server_that_is_down_makes_the_keys_unavailable_and_is_not_flooded(self):
        self.server.status = 500
        keys = self.set_of()
        for _ in range(5):
            with self.assertRaises(KeysUnavailable):
                self.verify(keys)
        self.assertEqual(len(self.server.requests), 1)

    def test_a_known_copy_serves_for_an_hour_while_the_server_is_down(self):
        keys = self.set_of()
        self.verify(keys)
        self.server.status = 503
        self.now += 61
        self.verify(keys)
        self.assertEqual(len(self.server.requests), 2)
        self.now += 3_600
        with self.assertRaises(KeysUnavailable):
            self.verify(keys)

    def test_a_refused_connection_makes_the_keys_unavailable(self):
        other = Server()
        other.close()
        with self.assertRaises(KeysUnavailable) as unavailable:
            self.verify(KeySet(other.url))
        self.assertIn(other.url, str(unavailable.exception))

    def test_a_silent_server_takes_no_longer_than_the_timeout(self):
        self.server.gate.clear()
        begin = time.monotonic()
        with self.assertRaises(KeysUnavailable):
            self.verify(KeySet(self.server.url, timeout=0.3))
        self.assertLess(time.monotonic() - begin, 3)

    def test_a_dripping_server_takes_no_longer_than_the_timeout(self):
        self.server.drip = True
        begin = time.monotonic()
        with self.assertRaises(KeysUnavailable):
            self.verify(KeySet(self.server.url, timeout=0.4))
        self.assertLess(time.monotonic() - begin, 3)

    def test_redirects_and_other_answers_are_not_keys(self):
        for status, keys in [(302, KEYS), (404, KEYS), (200, []), (200, {"keys": "none"}), (200, "text")]:
            with self.subTest(f"{status} {keys!r:.20}"):
                self.server.status, self.server.keys = status, keys
                with self.assertRaises(KeysUnavailable):
                    self.verify(self.set_of())


if __name__ == "__main__":
    unittest.main()
