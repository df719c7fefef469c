"""One take, in a process of its own: plays a signal, and keeps what comes back meanwhile.

It is started by ``record.py`` as ``python -m neurig.capture.take SOCKET SETTINGS``, with an inherited socket over which
it tells that it is ``ready``, then ten times a second the ``levels``, in the end that it is ``done`` or has ``failed``.
pyo may end its process, or hang, where JACK or a sound card goes away; that is why it has this one.
"""

import gc
import json
import os
import socket
import sys
import time
from typing import Any

os.environ.setdefault("PYO_GUI_WX", "0")

import numpy as np
import pyo64 as pyo
import soxr

from neurig._core import ffi
from neurig.rig import backends
from neurig.rig.audio import prepare_process
from neurig.rig.graph import Graph
from neurig.rig.wire import BLOCK_SIZE_CHANGED, encode

FULL = 0.9999  # a sample that a converter cannot have made louder
_REPORT = 0.1  # seconds between two reports of levels
_LEAD = 0.5  # seconds of silence before the signal: pyo fades in, and JACK settles
_TAIL = 1.0  # seconds that are recorded after the signal: an answer comes late
_STALL = 2.0  # seconds without a new block after which the audio is taken for hung


class Failed(Exception):
    """There will be no take; the message is the reason, in plain words."""


class Take:
    """Signal and answer, block by block.

    :ivar lead: samples of silence before the signal
    :ivar answer: what has come back, float32, from the beginning of the lead on
    :ivar place: samples done so far
    """

    def __init__(self, opened: backends.Opened, signal: np.ndarray, input: int, output: int) -> None:
        """:param input, output: channels, counted from 1"""
        graph = Graph(opened.server, opened.rate, opened.block, opened.inputs, opened.outputs, BLOCK_SIZE_CHANGED)
        self._block = opened.block
        self._heard = np.frombuffer(ffi.buffer(graph.hardware_input(input), 8 * opened.block))
        self.lead = round(_LEAD * opened.rate)
        rest = round(_TAIL * opened.rate) + opened.block
        rest += -(self.lead + len(signal) + rest) % opened.block
        self.signal = np.concatenate([np.zeros(self.lead, np.float32), signal, np.zeros(rest, np.float32)])
        self.answer = np.zeros_like(self.signal)
        self.place = 0
        table, samples = graph.table()
        self._played = np.frombuffer(ffi.buffer(samples, 8 * opened.block))
        # In the order in which pyo computes them: the graph's input, this, the output.
        self._kept = graph, table, pyo.CallAlways(self._turn), pyo.TableScan(table).out(output - 1)

    @property
    def is_complete(self) -> bool:
        return self.place == len(self.signal)

    def _turn(self) -> None:
        """On the audio thread, in each block."""
        if self.is_complete:
            return
        block = slice(self.place, self.place + self._block)
        self.answer[block] = self._heard
        self._played[:] = self.signal[block]
        self.place += self._block


def take(settings: dict[str, Any], tell: Any) -> None:
    """:raises Failed: where there is none"""
    wanted = settings["backend"]
    opened, input, output = _open(wanted, settings)
    with backends.JackClient() as jack:
        if opened.jack_name:
            jack.watch()
        signal = np.load(settings["signal"])
        if opened.rate != settings["rate"]:
            signal = soxr.resample(signal, settings["rate"], opened.rate, "VHQ")
        running = Take(opened, np.clip(signal, -1, 1), input, output)
        gc.collect()
        gc.freeze()
        gc.disable()  # collecting would stop the audio thread, which needs the GIL
        sys.setswitchinterval(5e-4)
        opened.server.start()
        tell(ready={"why": opened.why, "rate": opened.rate, "block": opened.block})
        _follow(running, opened, jack, tell)
        if opened.jack_name and not opened.server.getIsBooted():
            raise Failed("the JACK server has gone")
        np.save(settings["answer"], running.answer[running.lead :])
        tell(done={})


def _follow(running: Take, opened: backends.Opened, jack: backends.JackClient, tell: Any) -> None:
    """Tells the levels until the take is complete.

    :raises Failed: where the audio stops
    """
    told, moved, xruns = 0, time.monotonic(), 0
    while not running.is_complete:
        time.sleep(_REPORT)
        place = running.place
        if opened.jack_name and not opened.server.getIsBooted():
            raise Failed("the JACK server has gone")
        if place == told:
            if time.monotonic() > moved + _STALL:
                raise Failed("the audio has stopped")
            continue
        if place <= running.lead:
            xruns = jack.xruns  # those of the connections being made do no harm
        played, heard = (np.abs(samples[told:place]) for samples in (running.signal, running.answer))
        tell(levels={"seconds": max(0, place - running.lead) / opened.rate, "played": float(played.max()),
                     "heard": float(heard.max()), "full": int(np.count_nonzero(heard >= FULL)),
                     "xruns": jack.xruns - xruns})
        told, moved = place, time.monotonic()


def _open(wanted: str, settings: dict[str, Any]) -> tuple[backends.Opened, int, int]:
    """A running backend, and the channels of it that input and output are.

    :raises Failed: where it is not there, or has no such channels
    """
    reasons = []
    for name in ("jack", "portaudio") if wanted == "auto" else (wanted,):
        try:
            audio = _jack_ports(settings) if name == "jack" else _card_channels(settings)
            opened = backends.open_backend(name, audio | {"rate": settings["rate"], "block": settings["block"]}, [],
                                           False, lambda name: None)
        except backends.Unavailable as problem:
            reasons.append(str(problem))
            continue
        for what, there in (("input", opened.inputs), ("output", opened.outputs)):
            if there < audio[f"{what}s"]:
                raise Failed(f"the sound card has no {what} {audio[f'{what}s']}: it has {there or 'none'}")
        return opened, audio["inputs"], audio["outputs"]
    raise Failed(" and ".join(reasons))


def _jack_ports(settings: dict[str, Any]) -> dict[str, Any]:
    """One port each way, and what it is to be connected to."""
    wires = []
    with backends.JackClient() as jack:
        if not jack:
            raise backends.Unavailable("no JACK server is running")
        for what, own, there in (("input", "input_1", jack.sources), ("output", "output_1", jack.sinks)):
            port, card, every = settings[what], there(physical=True), there()
            if isinstance(port, int):
                if port > len(card):
                    raise Failed(f"JACK's sound card has no {what} {port}: it has {len(card) or 'none'}")
                port = card[port - 1]
            elif port not in every:
                raise Failed(f"JACK has no port {port} to {'listen' if what == 'input' else 'play'} to. There are "
                             f"{', '.join(every) or 'none'}")
            wires.append((own, port))
    return {"inputs": 1, "outputs": 1, "wires": wires}


def _card_channels(settings: dict[str, Any]) -> dict[str, Any]:
    for what in ("input", "output"):
        if not isinstance(settings[what], int):
            raise backends.Unavailable(f"a sound card's {what}s are counted, and have no name such as {settings[what]}")
    return {"inputs": settings["input"], "outputs": settings["output"]}


def main(descriptor: int, settings: dict[str, Any]) -> None:
    prepare_process()
    link = socket.socket(fileno=descriptor)

    def tell(**message: Any) -> None:
        link.sendall(encode(message))

    try:
        take(settings, tell)
    except Failed as problem:
        tell(failed=str(problem))
    except MemoryError:
        tell(failed="there is not enough memory")
    sys.stderr.flush()
    os._exit(0)  # nothing is left to do, and neither pyo's threads nor JACK's shall hold it up


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
