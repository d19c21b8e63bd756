"""Verifies webhooks from Signpost in one call: see `Receiver`."""

from .errors import KeysUnavailable, VerificationError
from .keys import KeySet
from .receiver import Event, Receiver

__all__ = ["Event", "KeySet", "KeysUnavailable", "Receiver", "VerificationError"]
