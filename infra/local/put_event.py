"""Puts an event on the default bus of EventBridge, and prints the id that EventBridge gave it.

    put_event.py ENTRY

ENTRY is an entry of `PutEvents` as JSON.
"""

import json
import sys

import boto3

answer = boto3.client("events").put_events(Entries=[json.loads(sys.argv[1])])
print(answer["Entries"][0]["EventId"])
