"""Warnings about bad input: all are counted, few are said."""

import logging
import time
from collections import Counter
from collections.abc import Callable

INTERVAL = 10.0
"""Seconds between two lines about the same thing."""

log = logging.getLogger("neurig")


class Complaints:
    """What is wrong with what comes in at one port.

    :ivar counts: how often each kind has occurred
    """

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        """:param source: what the lines begin with, such as ``"osc"``"""
        self.counts: Counter[str] = Counter()
        self._source = source
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}  # when, and how many there were then

    def __call__(self, kind: str, text: str) -> None:
        """The first of a kind is said at once; later ones at most once in ten seconds, with their number.

        :param kind: short and from a fixed set, such as ``"wrong count"``
        :param text: one line: what was wrong, and what it should be
        """
        self.counts[kind] += 1
        now = self._clock()
        said = self._said.get(kind)
        if said and now - said[0] < INTERVAL:
            return
        more = self.counts[kind] - said[1] - 1 if said else 0
        self._said[kind] = now, self.counts[kind]
        log.warning("%s: %s%s", self._source, text, f" ({more} more like it before)" if more else "")
