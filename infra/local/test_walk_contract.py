"""Tests walk_contract.py itself: the walk judges answers, not the machine, and shows what failed.

Needs RECEIVER_CERTIFICATE and RECEIVER_KEY of the local stack in the environment.
"""

import contextlib
import functools
import http.server
import io
import socket
import ssl
import struct
import threading
import unittest

import requests
import yaml

import walk_contract

PROBLEM = '{"status": 503, "title": "Service Unavailable", "detail": "try again"}'
TIMED_OUT = '{"errorMessage": "Task timed out after 29.00 seconds", "errorType": "Sandbox.Timedout"}'
EXITED = '{"errorMessage": "Runtime exited", "errorType": "Runtime.ExitError"}'


class TheParts(unittest.TestCase):
    def test_have_each_operation_once(self):
        contract = yaml.safe_load((walk_contract.HERE.parent / "openapi.yaml").read_text())
        tags = [tag for part in walk_contract.PARTS.values() for tag in part]
        tags += ["Smoke test"]  # Its answers depend on the attempt; `make smoke` walks it.
        for path, operations in contract["paths"].items():
            for method, operation in operations.items():
                if method in ("get", "put", "post", "delete", "patch"):
                    with self.subTest(f"{method} {path}"):
                        self.assertEqual(len(set(operation["tags"]) & set(tags)), 1)
        self.assertEqual(len(tags), len(set(tags)))


class TheReceiver(unittest.TestCase):
    def test_prints_nothing_and_has_no_fault_if_a_client_hangs_up(self):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), walk_contract.Receiver() as receiver:
            receiver.server.daemon_threads = False
            for hang_up in (self.reset, self.reset_after_the_handshake, self.distrust):
                with self.subTest(hang_up.__name__):
                    hang_up(receiver.server.server_address)
            receiver.server.server_close()  # Waits for the threads of all requests.
        self.assertEqual(receiver.faults, [])
        self.assertEqual(errors.getvalue(), "")

    def test_prints_nothing_but_keeps_another_fault(self):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), walk_contract.Receiver() as receiver:
            receiver.server.daemon_threads = False
            with self.trusting(receiver.server.server_address) as connection:
                connection.sendall(b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n")
                self.assertEqual(connection.recv(1), b"")
            receiver.server.server_close()  # Waits for the threads of all requests.
        self.assertEqual([type(fault) for fault in receiver.faults], [ValueError])
        self.assertEqual(errors.getvalue(), "")

    @staticmethod
    def trusting(address: tuple[str, int]) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection(address))

    @staticmethod
    def abort(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def reset(self, address: tuple[str, int]) -> None:
        self.abort(socket.create_connection(address))

    def reset_after_the_handshake(self, address: tuple[str, int]) -> None:
        self.abort(self.trusting(address))

    def distrust(self, address: tuple[str, int]) -> None:
        with socket.create_connection(address) as connection, self.assertRaises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")


class Patience(unittest.TestCase):
    def test_decides_which_answers_are_repeated(self):
        cases = [
            ([(503, PROBLEM), (503, PROBLEM), (200, "{}")], 200, 2, "a call of AWS took too long"),
            ([(429, "{}"), (404, "{}")], 404, 1, "too many functions ran at once"),
            ([(502, TIMED_OUT), (201, "{}")], 201, 1, "a function took too long"),
            ([(502, EXITED), (200, "{}")], 502, 0, "a function that exits is a fault"),
            ([(500, "{}"), (200, "{}")], 500, 0, "an error of a function is a fault"),
            ([(400, "{}"), (200, "{}")], 400, 0, "a refusal"),
        ]
        for answers, status, repeated, why in cases:
            with self.subTest(why), Answers(answers) as server:
                patience = walk_contract.Patience()
                answer = requests.post(server.url, data=b"body", hooks={"response": patience.repeat}, timeout=30)
                self.assertEqual((answer.status_code, patience.repeated), (status, repeated))
                self.assertEqual(server.bodies, [b"body"] * (repeated + 1), "the same request each time")

    def test_ends_for_a_function_that_always_fails(self):
        patience = walk_contract.Patience()
        patience.left = 0.1
        with Answers([(503, PROBLEM)] * 9) as server:
            for _ in range(2):
                answer = requests.get(server.url, hooks={"response": patience.repeat}, timeout=30)
                self.assertEqual((answer.status_code, patience.repeated), (503, 1), "the walk has no time left")


class TheReport(unittest.TestCase):
    def test_ends_with_what_failed(self):
        part = "Loaded\n=== ERRORS ===\ncurl 1\n=== FAILURES ===\ncurl 2\n=== SUMMARY ===\nSeed: 7\n=== 2 failures in 1.50s ===\n"
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = walk_contract.report({"Status": part}, [ValueError("a fault")], "7")
        self.assertEqual(status, 1)
        told = output.getvalue()
        self.assertEqual(told.splitlines()[-1], "Failed: Status; the receiver. Seed: 7")
        places = [told.index(one) for one in ("Loaded", "SUMMARY", "2 failures", "curl 1", "curl 2", "ValueError: a fault")]
        self.assertEqual(places, sorted(places))

    def test_shortens_long_lines(self):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            walk_contract.report({"Status": f"curl -d '{'x' * 300_000}'\nSeed: 7"}, [], "7")
        lines = output.getvalue().splitlines()
        self.assertLess(len(lines[0]), 5_000)
        self.assertTrue(lines[0].endswith(" more characters"), lines[0])
        self.assertEqual(lines[1], "Seed: 7")

    def test_succeeds_without_a_word(self):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertEqual(walk_contract.report({}, [], "7"), 0)
        self.assertEqual(output.getvalue(), "")


class Answers:
    """A server that gives these answers, one after the other, and keeps the bodies of the requests."""

    def __init__(self, answers: list[tuple[int, str]]):
        self.left = iter(answers)
        self.bodies: list[bytes] = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Answer, self))
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    def __init__(self, answers: Answers, *arguments):
        self.answers = answers
        super().__init__(*arguments)

    def answer(self) -> None:
        self.answers.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
        status, body = next(self.answers.left)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = answer

    def log_message(self, *_) -> None:
        pass


if __name__ == "__main__":
    unittest.main(warnings="ignore")  # `socketserver` does not close a connection that was reset before it is accepted.
