"""The log: one line for each event, in IMPSY's format, ``time,source,x1,…,xn``.

Sources are ``interface`` (the player) and ``rnn`` (the network). ``partial`` is the player too, while some values have
never been set; those are left empty, and such lines are no training data. The name of a predictor: what that one fed
into this one.

The times are wall time at the start, and go on with the monotonic clock: differences between lines are what the network
was told, also when the machine's clock is set meanwhile. Each line is given to the system whole and at once, so a
program that is killed loses no line that it has begun; a disk that is full stops the log, not the music.
"""

import logging
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

from neurig.interaction.complaints import Complaints

log = logging.getLogger("neurig")


class EventLog:
    """One predictor's log file; it is made when something is to be written.

    :ivar path: of the file
    """

    def __init__(self, folder: Path, dimension: int, now: float, complain: Complaints, name: str = "") -> None:
        """:param now: seconds, of a clock that never jumps
        :param name: stands in the file's name, where there are several predictors
        """
        self._began = datetime.now()
        self._zero = now
        self._stamp = self._began.strftime("%Y-%m-%dT%H-%M-%S")
        self._kind = f"-{name and name + '-'}{dimension}d-mdrnn.log"
        self.path = folder / (self._stamp + self._kind)
        self._complain = complain
        self._file = -1
        self._lost = 0
        self._cut = False  # is the last line incomplete?

    def write(self, source: str, values: Sequence[float | None], now: float) -> None:
        """:param now: when it happened"""
        time = (self._began + timedelta(seconds=now - self._zero)).isoformat(timespec="microseconds")
        cells = ",".join(["" if value is None else repr(value) for value in values])
        line = f"{time},{source},{cells}\n".encode()
        if self._cut:
            line = b"\n" + line
        try:
            if self._file < 0 or not os.fstat(self._file).st_nlink:  # or somebody has deleted it
                self._open()
            written = os.write(self._file, line)
        except OSError as problem:
            return self._fail(problem.strerror or str(problem))
        self._cut = written < len(line)
        if self._cut:
            return self._fail("the disk is full")
        if self._lost:
            self._complain("log is back", f"{self.path} goes on; {self._lost} events are missing")
            self._lost = 0

    def _open(self) -> None:
        """A file of its own, also where another program began one in the same second, in the same folder."""
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        for number in count(1):
            path = self.path.with_name(f"{self._stamp}-{number}{self._kind}") if number > 1 else self.path
            try:
                self._file = os.open(path, flags, 0o666)
                break
            except FileExistsError:
                continue
        if path != self.path:
            log.info("%s is there already: the log is %s", self.path, path)
            self.path = path
        self._cut = False

    def _fail(self, problem: str) -> None:
        if not self._lost:
            self._complain("log", f"{self.path} cannot be written: {problem}. Playing goes on, unrecorded")
        self._lost += 1

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
