"""Reads captured webhooks with the CloudEvents SDK for Python, as an integrator would.

    python cloudevents_sdk.py < captured.jsonl

Prints the event of each line as JSON: its attributes, and `data`.
"""

import base64
import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat

for line in sys.stdin:
    request = json.loads(line)
    event = from_http(HTTPMessage(headers=request["headers"], body=base64.b64decode(request["body"])), JSONFormat())
    data = event.get_data()
    print(json.dumps({**event.get_attributes(), "data": json.loads(data) if isinstance(data, (str, bytes)) else data}, default=str))
