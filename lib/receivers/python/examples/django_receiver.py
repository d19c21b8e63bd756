"""Receives webhooks with Django. Run it with `python django_receiver.py runserver`, or copy the view into your project."""

import logging
import os
import sys

from django.conf import settings
from django.http import HttpResponse, JsonResponse, RawPostDataException
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from signpost_receiver import KeysUnavailable, Receiver, VerificationError

receiver = Receiver(
    os.environ["JWKS_URL"],  # The endpoint's `jwksUrl`.
    secrets=os.environ.get("SECRET") or (),
    endpoint=os.environ.get("ENDPOINT"),
    url=os.environ["ENDPOINT_URL"],
)
log = logging.getLogger("webhooks")


@csrf_exempt  # Signpost has no cookie.
def webhook(request):
    # The query as it arrived: `get_full_path` has another spelling.
    called = request.path + "?" + request.META["QUERY_STRING"]
    try:
        body = request.body  # The bytes as they arrived.
    except RawPostDataException:
        body = b""  # A middleware has read them. The receiver then says that the body is missing.
    try:
        event = receiver.verify(request.headers, body, called, request.method)
    except VerificationError as error:
        log.warning("refused: %s", error)
        return JsonResponse({"refused": error.step}, status=401)
    except KeysUnavailable as error:
        log.error("%s", error)
        return JsonResponse({"refused": error.step}, status=503)
    if not event.repeated:
        log.info("event %s of type %s", event.id, event.type)  # Your work, in one transaction with the id.
    return HttpResponse(status=204)


urlpatterns = [path("in", webhook)]

if not settings.configured:  # A project has settings of its own.
    logging.basicConfig(level=logging.INFO)
    settings.configure(
        ALLOWED_HOSTS=["*"], DATA_UPLOAD_MAX_MEMORY_SIZE=6 << 20, MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
        ROOT_URLCONF=__name__, USE_TZ=True)

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
