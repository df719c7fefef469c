"""The demo: plays ``examples/demo.toml``, and says what it does and what to try."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from neurig.files import share
from neurig.rig.config import ConfigError, read
from neurig.rig.errors import RigError
from neurig.rig.nodes import TYPES

_RECORDER = "recorder"
_PATIENCE = 2.0  # seconds that a recording may end late before the demo ends without it

_TEXT = """\
neurig plays the demo rig: a guitar phrase through a noise gate, a neural amp ({amp}), a cabinet, echoes and a limiter.
A predictor ({hand}) turns three of its knobs: the amp's gain, and the echoes' time and feedback.
It plays through {why}, at {rate} Hz, in blocks of {block} frames.

It listens to OSC on {host}, UDP port {port}. Try, while it plays:
  in Pd               make an object  neurig.rig{to}  (a folder of the search path: {pd})
                      and send it the message  hand run 0  and then  amp gain 12 500
  in SuperCollider    NetAddr("{host}", {port}).sendMsg("{root}/hand/run", 0);
                      NetAddr("{host}", {port}).sendMsg("{root}/amp/gain", 12, 500);
The first holds the predictor, the second drives the amp harder, over half a second.
{end}"""


def play(seconds: float | None, record: Path | None, **options: Any) -> int:
    """See :func:`neurig.rig.demo`."""
    try:
        config = share("examples", "demo.toml")
        settings, rig = read(config, **options)
        if record is not None:
            _add_recorder(rig, record, seconds)
    except (ConfigError, RigError, OSError) as problem:
        print(f"neurig: {problem}", file=sys.stderr)
        return 2
    from neurig.rig.server import Server, run

    problems: list[str] = []

    def prepare(server: Server) -> None:
        def recorded(problem: str) -> None:
            if problem:
                problems.append(problem)
            if problem or seconds is not None:
                server.finished.set()

        server.takes.ended = recorded
        if record is not None:
            server.takes.plan(rig.nodes[_RECORDER])

    def started(server: Server) -> None:
        ready = server.audio.ready
        assert ready
        end = (f"It ends by itself after {seconds:g} seconds." if seconds is not None else "Ctrl-C ends it.")
        if record is not None:
            end += f" It is recorded into {record}."
        print(_TEXT.format(amp=rig.nodes["amp"].values["model"], hand=rig.nodes["hand"].values["model"], why=ready.why,
                           rate=ready.rate, block=ready.block, host=settings.host, port=server.osc.port,
                           to="" if server.osc.port == 9001 else f" -host {settings.host} -port {server.osc.port}",
                           root=settings.root, pd=share("pd"), end=end), flush=True)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds + (_PATIENCE if record else 0), server.finished.set)

    return run(settings, rig, started, prepare) or bool(problems)


def _add_recorder(rig: Any, record: Path, seconds: float | None) -> None:
    """A recorder between the limiter and the output."""
    path = record.expanduser().absolute()
    if path.suffix.lower() != ".wav":
        raise RigError("bad_value", f"{record}: recordings are .wav files")
    if not path.parent.is_dir():
        raise RigError("bad_file", f"{record}: there is no folder {path.parent}")
    if path.is_dir():
        raise RigError("bad_file", f"{record}: this is a folder")
    rig.add(rig.make(_RECORDER, TYPES["recorder"].name, {"file": str(path), "length": seconds or 0.0}))
    rig.disconnect([("limiter", "out", 1)])
    rig.connect(rig.check_chain(["limiter", _RECORDER, "out"]))
