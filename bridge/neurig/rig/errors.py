"""What a rig answers when it cannot do what it is asked."""

CODES = ("bad_request", "unknown", "not_found", "exists", "bad_value", "bad_file", "failed", "unavailable")


class RigError(Exception):
    """A request that was refused; everything is as it was.

    :ivar code: one of :data:`CODES`
    :ivar text: one plain sentence for the person who asked
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        assert code in CODES
        self.code = code
        self.text = text
