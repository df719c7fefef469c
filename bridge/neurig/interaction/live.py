"""What a terminal shows: one line for each predictor, on request every frame, and what is logged.

A thread of its own draws, ten times a second at most and only what has changed: a slow terminal, or one that is
stopped, holds nothing up.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.text import Text

    from neurig.interaction.stage import Stage

_EVERY = 0.1  # seconds
_MOST_LINES = 200  # that may wait; further ones are counted
_BARS = " ▁▂▃▄▅▆▇█"


class View(logging.Handler):
    """Shows predictors on the standard output, and what is logged on the standard error."""

    def __init__(self, stages: "Sequence[Stage]", verbose: bool) -> None:
        """:param verbose: show every frame"""
        super().__init__()
        self._stages = stages
        self._verbose = verbose
        self._lines: deque[tuple[TextIO, str]] = deque()
        self._missed = 0
        self._changed = threading.Event()
        self._stopping = False
        self._live = sys.stdout.isatty()
        self._thread = threading.Thread(target=self._work, name="view", daemon=True)

    def start(self) -> None:
        self._changed.set()
        self._thread.start()

    def stop(self) -> None:
        """Shows what is left to be shown; does not wait for long."""
        self._stopping = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(0.1)
        elif not self._thread.ident:  # it was never started
            self._live = False
            self._work()

    def frame(self, name: str, way: str, values: Sequence[float]) -> None:
        """A frame has come in, or gone out."""
        if self._verbose:
            numbers = " ".join(["  –  " if value != value else f"{value:.3f}" for value in values])
            self.say(f"{way:>3} {numbers}" if len(self._stages) == 1 else f"{name} {way:>3} {numbers}")
        elif self._live and not self._changed.is_set():
            self._changed.set()

    def say(self, text: str, stream: TextIO | None = None) -> None:
        """A line that stays."""
        if len(self._lines) < _MOST_LINES:
            self._lines.append((stream or sys.stdout, text))
        else:
            self._missed += 1
        self._changed.set()

    def emit(self, record: logging.LogRecord) -> None:
        """What is logged."""
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        self.say(prefix + self.format(record), sys.stderr)

    def _work(self) -> None:
        try:
            self._on_terminal() if self._live else self._plain()
        except (BrokenPipeError, OSError, ValueError):  # nobody looks any more: playing goes on
            self._live = self._verbose = False

    def _rounds(self) -> Iterator[None]:
        """One round whenever something has changed."""
        while not self._stopping:
            self._changed.wait()
            self._changed.clear()
            yield
            if not self._stopping:
                time.sleep(_EVERY)
        yield

    def _plain(self) -> None:
        for _ in self._rounds():
            for stream, text in self._waiting():
                stream.write(text + "\n")
            sys.stdout.flush()

    def _waiting(self) -> list[tuple[TextIO, str]]:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        missed, self._missed = self._missed, 0
        if missed:
            lines.append((sys.stdout, f"… {missed} more"))
        return lines

    def _on_terminal(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live

        console = Console(highlight=False)
        with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            for _ in self._rounds():
                if lines := self._waiting():
                    console.print("\n".join(text for _, text in lines), markup=False, soft_wrap=True)
                if not self._stopping:  # the last state stays
                    live.update(Group(*map(_line, self._stages)), refresh=True)


def _line(stage: "Stage") -> "Text":
    """One predictor, in a line."""
    from rich.text import Text

    values = stage.settings.values
    state = values["mode"] if values["run"] else "paused"
    if not stage.has_model:
        state = "no model: recording"
    return Text.assemble((f"{stage.settings.name} ", "bold"), (f"{state}  ", "cyan"), ("you ", "dim"),
                         (_bars(stage.last_in), "yellow"), (f" {stage.received}  ", "dim"), ("network ", "dim"),
                         (_bars(stage.last_out), "green"), (f" {stage.played}", "dim"),
                         (f"  {stage.complaints} dropped" if stage.complaints else "", "red"),
                         no_wrap=True, overflow="ellipsis")


def _bars(values: Sequence[float]) -> str:
    return "".join("·" if value != value else _BARS[1 + min(int(value * 8), 7)] for value in values)
