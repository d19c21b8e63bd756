import base64, hashlib, hmac, os, time

# The signing secret (whsec_…) of endpoint ENDPOINT_ID.
SECRET = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))


def verify(headers, body: bytes):
    """Raises ValueError if it does not verify. `headers` has names in lower case, `body` the bytes that arrived."""
    timestamp = headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > 300:
        raise ValueError("signed more than five minutes ago")
    signed = f"{headers['webhook-id']}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    entries = headers["webhook-signature"].split(" ")
    if not any(hmac.compare_digest(expected.encode(), entry.encode()) for entry in entries):
        raise ValueError("no signature fits")
