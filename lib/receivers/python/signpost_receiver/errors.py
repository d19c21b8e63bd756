"""The errors of a verification."""


class VerificationError(Exception):
    """A request that does not verify. Answer 401.

    `step` is the step that failed, by the names of `signpost verify`. `found` is the fact, and `next` is the advice.
    """

    def __init__(self, step: str, found: str, next: str):
        super().__init__(f"{step}: {found}; {next}")
        self.step = step
        self.found = found
        self.next = next


class KeysUnavailable(Exception):
    """The key set could not be fetched, so nothing is known about the request. Answer 503: Signpost sends it again."""

    step = "keys-unavailable"
