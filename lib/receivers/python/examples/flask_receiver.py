"""Receives webhooks with Flask. Run it with `flask --app flask_receiver run`."""

import os

from flask import Flask, request
from signpost_receiver import KeysUnavailable, Receiver, VerificationError

receiver = Receiver(
    os.environ["JWKS_URL"],  # The endpoint's `jwksUrl`.
    secrets=os.environ.get("SECRET") or (),
    endpoint=os.environ.get("ENDPOINT"),
    url=os.environ["ENDPOINT_URL"],
)
app = Flask(__name__)
app.logger.setLevel("INFO")


@app.route("/in", methods=["GET", "POST", "PUT"])
def webhook():
    # The bytes as they arrived: `get_data`, before anything reads `request.form` or `request.json`. For a GET, the query as it
    # arrived: `request.url` has another spelling.
    called = request.path + "?" + request.query_string.decode("ascii", "replace")
    try:
        event = receiver.verify(request.headers, request.get_data(), called, request.method)
    except VerificationError as error:
        app.logger.warning("refused: %s", error)
        return {"refused": error.step}, 401
    except KeysUnavailable as error:
        app.logger.error("%s", error)
        return {"refused": error.step}, 503
    if not event.repeated:
        app.logger.info("event %s of type %s", event.id, event.type)  # Your work, in one transaction with the id.
    return "", 204
