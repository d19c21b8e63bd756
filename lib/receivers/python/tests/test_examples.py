"""Tries the examples: with the body as it arrived, and with another program that parses it first."""

import base64
import importlib.util
import json
import os
import sys
import unittest
from pathlib import Path
from unittest import mock

from test_keys import Server
from test_vectors import FILE

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ["JWS RS256", "JWS, PUT", "JWS, GET", "JWS, GET with a query of the endpoint", "Standard Webhooks",
         "Standard Webhooks, GET", "HTTP message signature ES256", "HTTP message signature, PUT", "HTTP message signature, GET",
         "HTTP message signature, GET with a query of the endpoint", "all formats"]


def vector_of(name: str) -> dict:
    return next(one for one in FILE["vectors"] if one["name"] == name)


def reads(get_response):
    """A middleware for Django that reads the body as a stream."""
    return lambda request: get_response(request) if request.read() else None


def encodes_again(get_response):
    """A middleware for Django that parses the body, and puts it back in its own form."""

    def middleware(request):
        request._body = json.dumps(json.loads(request.body)).encode()
        return get_response(request)

    return middleware


class ReadsBody:
    """A middleware for ASGI that reads the body, and passes another one on."""

    def __init__(self, app, change):
        self.app, self.change = app, change

    async def __call__(self, scope, receive, send):
        body, is_more = b"", scope["type"] == "http"
        while is_more:
            message = await receive()
            body, is_more = body + message.get("body", b""), message.get("more_body", False)

        async def again():
            return {"type": "http.request", "body": self.change(body)}

        await self.app(scope, again, send)


class Examples(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)

    def load(self, name: str, vector: dict):
        """Loads an example with the settings of a vector's receiver, at the vector's time."""
        settings = vector["receiver"]
        values = {"JWKS_URL": self.server.url, "ENDPOINT_URL": settings["url"], "SECRET": (settings.get("secrets") or [""])[0],
                  "ENDPOINT": settings.get("endpoint", "")}
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        with mock.patch.dict(os.environ, values):
            spec.loader.exec_module(module)
        module.receiver._clock = lambda: vector["now"]
        return module

    def flask(self, vector: dict, prepare=lambda app: None, body: bytes | None = None):
        app = self.load("flask_receiver", vector).app
        prepare(app)
        request = vector["request"]
        headers = [(name, value) for name, value in request["headers"] if name != "host"]
        body = base64.b64decode(request["body"]) if body is None else body
        query = request["url"].partition("?")[2]
        answer = app.test_client().open("/in", method=request["method"], query_string=query, headers=headers, data=body)
        return answer.status_code, answer.get_json(silent=True)

    def django(self, vector: dict, body: bytes | None = None, middleware: str | None = None):
        import django
        from django.test import Client, override_settings
        from django.urls import clear_url_caches

        module = self.load("django_receiver", vector)
        names = ["django.middleware.csrf.CsrfViewMiddleware", *([f"test_examples.{middleware}"] if middleware else [])]
        request = vector["request"]
        headers = {name: value for name, value in request["headers"] if name != "host"}
        body = base64.b64decode(request["body"]) if body is None else body
        query = request["url"].partition("?")[2]
        with mock.patch.dict(sys.modules, {"django_receiver": module}), override_settings(MIDDLEWARE=names):
            django.setup()
            clear_url_caches()
            client = Client(enforce_csrf_checks=True)
            answer = client.generic(request["method"], f"/in?{query}", body, headers.pop("content-type", ""), headers=headers)
        return answer.status_code, json.loads(answer.content) if answer.content else None

    def fastapi(self, vector: dict, body: bytes | None = None, prepare=lambda app: None):
        from fastapi.testclient import TestClient

        app = self.load("fastapi_receiver", vector).app
        prepare(app)
        request = vector["request"]
        headers = [(name, value) for name, value in request["headers"] if name != "host"]
        body = base64.b64decode(request["body"]) if body is None else body
        query = request["url"].partition("?")[2]
        answer = TestClient(app).request(request["method"], f"/in?{query}", headers=headers, content=body)
        return answer.status_code, answer.json() if answer.content else None

    def test_flask_accepts_each_format_and_method(self):
        for name in NAMES:
            with self.subTest(name):
                self.assertEqual(self.flask(vector_of(name)), (204, None))

    def test_fastapi_accepts_each_format_and_method(self):
        for name in NAMES:
            with self.subTest(name):
                self.assertEqual(self.fastapi(vector_of(name)), (204, None))

    def test_django_accepts_each_format_and_method(self):
        for name in NAMES:
            with self.subTest(name):
                self.assertEqual(self.django(vector_of(name)), (204, None))

    def test_a_body_that_was_encoded_again_is_refused_with_the_reason(self):
        vector = vector_of("JWS RS256")
        again = json.dumps(json.loads(base64.b64decode(vector["request"]["body"]))).encode()
        self.assertEqual(self.flask(vector, body=again), (401, {"refused": "body-reencoded"}))
        self.assertEqual(self.fastapi(vector, body=again), (401, {"refused": "body-reencoded"}))
        self.assertEqual(self.django(vector, body=again), (401, {"refused": "body-reencoded"}))

    def test_a_middleware_before_django_that_reads_the_body_is_refused_with_the_reason(self):
        vector = vector_of("JWS RS256")
        self.assertEqual(self.django(vector, middleware="reads"), (401, {"refused": "body-missing"}))
        self.assertEqual(self.django(vector, middleware="encodes_again"), (401, {"refused": "body-reencoded"}))

    def test_a_middleware_before_fastapi_that_reads_the_body_is_refused_with_the_reason(self):
        vector = vector_of("JWS RS256")
        prepare_with = lambda change: lambda app: app.add_middleware(ReadsBody, change=change)
        answer = self.fastapi(vector, prepare=prepare_with(lambda body: b""))
        self.assertEqual(answer, (401, {"refused": "body-missing"}))
        answer = self.fastapi(vector, prepare=prepare_with(lambda body: json.dumps(json.loads(body)).encode()))
        self.assertEqual(answer, (401, {"refused": "body-reencoded"}))

    def test_a_form_parser_before_flask_leaves_no_body_and_the_error_says_so(self):
        """Some clients and proxies change the content type. Then `request.form` eats the body."""
        vector = json.loads(json.dumps(vector_of("JWS RS256")))
        for pair in vector["request"]["headers"]:
            if pair[0] == "content-type":
                pair[1] = "application/x-www-form-urlencoded"

        def prepare(app):
            from flask import request

            app.before_request(lambda: request.form and None)

        self.assertEqual(self.flask(vector, prepare), (401, {"refused": "body-missing"}))

    def test_keys_that_are_not_available_are_a_503(self):
        self.server.status = 500
        self.assertEqual(self.flask(vector_of("JWS RS256")), (503, {"refused": "keys-unavailable"}))
        self.assertEqual(self.fastapi(vector_of("JWS RS256")), (503, {"refused": "keys-unavailable"}))
        self.assertEqual(self.django(vector_of("JWS RS256")), (503, {"refused": "keys-unavailable"}))


if __name__ == "__main__":
    unittest.main()
