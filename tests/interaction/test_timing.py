"""How punctual and how light it is. ``tests/bench/impsy.py`` measures exactly; these bounds are wide enough for
a machine that has other work, but not for one millisecond of waiting too much in the code.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import neurig
from neurig.interaction import loop
from neurig.interaction.performer import Performer
from neurig.osc import OscSocket

from interaction.conftest import CONFIG
from interaction.instrument import Instrument

Start = Callable[..., Instrument]

FLOOD = """
import socket, sys, time
from neurig.osc import encode
hand = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
message, began, number = encode("/interface", [0.5, 0.5, 0.5]), time.perf_counter(), 0
while True:
    number += 4
    for _ in range(4):
        hand.sendto(message, ("127.0.0.1", int(sys.argv[1])))
    time.sleep(max(0, began + number / 2000 - time.perf_counter()))
"""


@contextmanager
def flooded(port: int) -> Iterator[None]:
    """Meanwhile, 2000 messages a second come in."""
    sender = subprocess.Popen([sys.executable, "-c", FLOOD, str(port)])
    try:
        yield
    finally:
        sender.kill()
        sender.wait()


def test_due_frames_are_on_time_while_messages_flood_in(predictor_file: Callable[..., Path]) -> None:
    late, received = [], []
    values = {"mode": "battle", "threshold": 0.1, "timescale": 1.0, "pitemp": 1.0, "sigmatemp": 0.01, "mix": 1.0,
              "seed": 0, "run": True}

    async def play() -> None:
        clock = asyncio.get_running_loop().time
        performer = Performer(values, lambda event: late.append(clock() - event.time))
        osc = OscSocket(lambda *message: received.append(message), lambda *problem: None)
        await osc.open("127.0.0.1", 0)
        performer.use(neurig.Predictor(predictor_file(tempo=100.0)))
        with flooded(osc.port):
            await asyncio.sleep(2)
        performer.close()
        osc.close()

    loop.run(play())
    assert len(late) > 100 and len(received) > 1000
    assert min(late) >= 0 and statistics.median(late) < 0.001


def test_answers_come_at_once(instrument: Start) -> None:
    player = instrument(CONFIG.replace("callresponse", "polyphony"), "--timescale", "0")
    waits = []
    for number in range(200):
        began = time.perf_counter()
        player.play(number / 200, 0.5, 0.5)
        player.ear.hear()
        waits.append(time.perf_counter() - began)
        time.sleep(0.002)
    assert statistics.median(waits) < 0.002


def test_it_is_light(instrument: Start) -> None:
    player = instrument()
    player.play(0.5, 0.5, 0.5)
    player.ear.hear()
    assert player.cpu() < 0.4, "seconds of work until the first prediction"
    player.command("mode", "useronly")
    time.sleep(0.5)
    before = player.cpu()
    time.sleep(3)
    assert player.cpu() - before <= 0.03, "idle"
    assert player.memory() < 80
