"""Receives webhooks with FastAPI. Run it with `uvicorn fastapi_receiver:app`."""

import logging
import os

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from signpost_receiver import KeysUnavailable, Receiver, VerificationError

receiver = Receiver(
    os.environ["JWKS_URL"],  # The endpoint's `jwksUrl`.
    secrets=os.environ.get("SECRET") or (),
    endpoint=os.environ.get("ENDPOINT"),
    url=os.environ["ENDPOINT_URL"],
)
app = FastAPI()
logging.basicConfig(level=logging.INFO)
log = logging.getLogger("webhooks")


@app.api_route("/in", methods=["GET", "POST", "PUT"])
async def webhook(request: Request):  # No parameter of a Pydantic model: FastAPI would parse the body.
    called = request.scope["path"] + "?" + request.scope["query_string"].decode("ascii", "replace")
    try:
        # In a thread, because it may fetch keys.
        event = await run_in_threadpool(
            receiver.verify, request.headers.items(), await request.body(), called, request.method)
    except VerificationError as error:
        log.warning("refused: %s", error)
        return JSONResponse({"refused": error.step}, 401)
    except KeysUnavailable as error:
        log.error("%s", error)
        return JSONResponse({"refused": error.step}, 503)
    if not event.repeated:
        log.info("event %s of type %s", event.id, event.type)  # Your work, in one transaction with the id.
    return Response(status_code=204)
