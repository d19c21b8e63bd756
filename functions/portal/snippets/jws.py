import base64, json, jwt, urllib.request, uuid  # pip install pyjwt[crypto]

pems = {}  # A kid never gets another key. Drop a key after a day.


def key(kid):
    kid = str(uuid.UUID(kid))  # Nothing else gets into a URL.
    if kid not in pems:
        pems[kid] = urllib.request.urlopen(f"KEYS_URL/keys/{kid}").read()  # 404: not your key. It raises.
    return pems[kid]


def verify(headers, body: bytes):
    """Raises if it does not verify. `headers` has names in lower case, `body` the bytes that arrived."""
    header, _, signature = headers["jws-signature"].partition("..")
    kid = json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]
    payload = base64.urlsafe_b64encode(body).rstrip(b"=").decode()
    jwt.PyJWS().decode(f"{header}.{payload}.{signature}", key(kid), algorithms=["ALGORITHM"])
