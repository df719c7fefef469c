"""A long session in which all goes wrong that can: random gestures over every way in at once, changes of mode and of
model, nonsense, cables that are pulled, kill -9. What must not happen: that an event is lost, but for that in flight.

    .venv/bin/python tests/bench/soak.py --minutes 30 [--seed N]

One ``neurig run`` after another is started, played, and ended, mostly by kill -9. Every event is numbered. Before the
process is killed, or a cable pulled, all events but the latest are in the log; that one may be lost. In the log, the
events of each way in have to be there, once, and in their order.

JACK, too, loses MIDI where the machine is too busy for it: its log tells of cycles that failed, and what is lost then
is counted for itself. It may also stand still ("engine may now behave abnormally"), or throw clients out; to tell, each
MIDI device listens to itself. Then the other ways go on to be verified, and the next life has a new JACK server.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests share helpers, also with a program

from conftest import JackServer, _free_port, _run_jack
from interaction.cable import Cable
from interaction.instrument import Instrument
from interaction.midi_instrument import MidiInstrument
from neurig.files import share
from neurig.session import MODES

PATIENCE = 20.0  # seconds, on a machine that is busy
CONFIG = """
log_predictions = true
[interaction]
mode = "callresponse"
threshold = 0.1
[model]
file = "models/a.mdrnn"
[osc]
server_port = PORT
client_port = EAR
[serial]
port = "SERIAL"
[websocket]
server_ip = "127.0.0.1"
server_port = WEB
[midi]
api = "jack"
in_device = ["DEVICE"]
out_device = ["DEVICE"]
input."DEVICE" = [["note_velocity", 16], ["note_velocity", 16], ["control_change", 1, 7]]
output."DEVICE" = [["note_on", 1], ["note_on", 2], ["control_change", 2, 9]]
[webui]
monitor_port = MONITOR
command_port = COMMANDS
"""
EVENTS = 2**19  # numbers from there on only ask whether somebody listens
PROBE = 127  # and so does this value of the controller


@dataclass
class Sent:
    """An event, and whether it was on its way when something was torn off."""

    value: float
    in_flight: bool = False


@dataclass
class Report:
    events: int = 0
    lives: int = 0
    killed: int = 0
    dropped: int = 0
    nonsense: int = 0
    commands: int = 0
    lost: int = 0
    jack_lost: int = 0
    stalled: int = 0

    def __str__(self) -> str:
        return (f"{self.events} events in {self.lives} lives, of which {self.killed} ended by kill -9; {self.dropped} "
                f"devices dropped; {self.commands} commands, {self.nonsense} pieces of nonsense. Lost: {self.lost} "
                "events, each in flight at a kill or a drop; all others are in the log, once and in order"
                + f". JACK: {self.jack_lost} messages lost in cycles that failed" * bool(self.jack_lost)
                + f", {self.stalled} times it stood still" * bool(self.stalled))


class Way:
    """A way in: events go out numbered, and are looked for in the log.

    :ivar tag: the x1 of its frames
    :ivar fastest: events per second
    :ivar lost: events that were in flight when something was torn off, and are not in the log
    :ivar lost_on_the_way: events that never reached neurig
    """

    def __init__(self, name: str, tag: float, fastest: float) -> None:
        self.name, self.tag, self.fastest = name, tag, fastest
        self.sent: list[Sent] = []
        self.found: list[float] = []
        self.lost = self.lost_on_the_way = 0
        self.probes_sent = self.probes_heard = 0
        self._checked = self._matched = 0  # of what was sent, and of what was found

    def play(self, number: int) -> None:
        self.sent.append(Sent(_exact(number)))
        self.send([self.tag, _exact(number), random.randrange(1024) / 1024])

    def probe(self) -> None:
        self.probes_sent += 1
        self.send([self.tag, _exact(EVENTS + self.probes_sent), 0.5])

    def __str__(self) -> str:
        return (f"{self.name}: {len(self.sent)} sent, {len(self.found)} found, from {self._checked} on missing: "
                f"{[sent.value for sent in self.sent[self._checked : self._checked + 3]]}")

    def is_complete(self, at_the_end: bool = False) -> bool:
        """Whether all that was sent has been found, once and in order; but for what was in flight.

        :raises AssertionError: where something is missing before something that is there
        """
        while self._checked < len(self.sent):
            sent, more = self.sent[self._checked], self._matched < len(self.found)
            if more and self.found[self._matched] == sent.value:
                self._matched += 1
            elif sent.in_flight and (more or at_the_end):
                self.lost += 1
            elif more and self.transport_failed():
                self.lost_on_the_way += 1
            else:
                assert not more, f"{self.name}: {sent.value} is lost; {self.found[self._matched]} is in its place"
                break
            self._checked += 1
        left = self.sent[self._checked :]
        assert left or self._matched == len(self.found), f"{self.name}: {self.found[self._matched]} came from nowhere"
        return all(sent.in_flight for sent in left)

    def transport_failed(self) -> bool:
        """Whether what carries the events says that it has failed since the device was plugged in."""
        return False

    def send(self, frame: list[float]) -> None: ...
    def nonsense(self) -> None: ...
    def drop(self) -> None: ...
    def plug(self) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...


def _exact(number: int) -> float:
    """A number that floats of 32 bits hold exactly, from 0 to 1."""
    return number / (2 * EVENTS)


class OscWay(Way):
    def __init__(self, player: Instrument) -> None:
        super().__init__("OSC", 0.125, 4000)
        self._player = player

    def send(self, frame: list[float]) -> None:
        self._player.play(*frame)

    def nonsense(self) -> None:
        self._player.send_bytes(random.randbytes(random.randrange(64)))
        self._player.play(*[random.uniform(-2, 3)] * random.choice([0, 1, 2, 4, 9]))
        self._player.play(0.5, float("nan"), 0.5)

    def drain(self) -> None:
        for _, *values in self._player.ear.all(silence=0.0005):
            assert all(0 <= value <= 1 for value in values), values


class SerialWay(Way):
    def __init__(self, cable: Cable) -> None:
        super().__init__("serial", 0.25, 500)
        self._cable = cable

    def send(self, frame: list[float]) -> None:
        self._cable.send(",".join(map(repr, frame)) + "\n")

    def nonsense(self) -> None:
        self._cable.send(random.choice([b"\n", b"0.5\n", b"a,b,c\n", b"\xff\xfe\xfd\n", b"1,2,3\n", b"nan,0,0\n"]))

    def drop(self) -> None:
        self._cable.unplug()

    def plug(self) -> None:
        self._cable.plug()

    def drain(self) -> None:
        self._cable.received()


class WebWay(Way):
    """Its device is the browser."""

    def __init__(self, port: int) -> None:
        super().__init__("WebSocket", 0.375, 500)
        self._port = port
        self.plug()

    def plug(self) -> None:
        from websockets.sync.client import connect

        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._open = ExitStack()
                self._socket = self._open.enter_context(connect(f"ws://127.0.0.1:{self._port}/json", close_timeout=0.2))
                return
            except OSError:
                assert time.monotonic() < end, "the WebSocket does not open"
                time.sleep(0.05)

    def send(self, frame: list[float]) -> None:
        self._socket.send(json.dumps({"values": frame}))

    def nonsense(self) -> None:
        self._socket.send(random.choice(["", "{", "[]", '{"values": [1]}', '{"values": [2, 0, 0]}', "/channel/1/cc/x"]))

    def drain(self) -> None:
        with suppress(TimeoutError):
            while True:
                self._socket.recv(timeout=0.0005)

    def drop(self) -> None:
        self._socket.socket.shutdown(socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        with suppress(Exception):  # the other end may be gone
            self._open.close()


class JackStands(Exception):
    """JACK passes nothing on any more."""


class MidiWay(Way):
    """Controller 7 moves x3, and nothing else: its events are the rows whose x1 and x2 are those of the row before."""

    def __init__(self, jack: JackServer, log: Path, name: str) -> None:
        super().__init__("MIDI", -1.0, 100)
        self._jack, self._log, self._name = jack, log, name
        self.plug()

    def play(self, number: int) -> None:
        value = len(self.sent) % PROBE
        self.sent.append(Sent(float(value)))
        self.device.send(0xB0, 7, value)

    def probe(self) -> None:
        self.device.send(0xB0, 7, PROBE)

    def nonsense(self) -> None:
        self.device.send(0xB3, 9, 1)  # nothing is mapped to it

    def drop(self) -> None:
        self.device.unplug()

    def plug(self) -> None:
        self.device = MidiInstrument(self._jack.env, self._name)
        with suppress(subprocess.SubprocessError):  # where JACK is ill, which shows later
            self._jack.connect(f"{self._name}:keys", f"{self._name}-01:sound")
        self._failures = self._failed_cycles()

    def transport_failed(self) -> bool:
        return self._failed_cycles() > self._failures

    def _failed_cycles(self) -> int:
        return self._log.read_text().count("Process error")

    def excuse_jack(self) -> None:
        """:raises JackStands: where this device does not hear itself, or JACK has thrown neurig out, or is ill"""
        before = len(self.device.messages)
        self.probe()
        time.sleep(1)
        echoes = self.device.messages[before:].count(bytes((0xB0, 7, PROBE)))
        links = subprocess.run(["jack_lsp", "-c", f"{self._name}:keys"], env=self._jack.env, capture_output=True,
                               text=True, timeout=20).stdout
        log = self._log.read_text()
        if not echoes or "neurig" not in links or "may now behave abnormally" in log:
            for sent in self.sent:
                sent.in_flight = True
            self.lost -= len(self.sent) - len(self.found)
            self.lost_on_the_way += len(self.sent) - len(self.found)
            raise JackStands(f"{echoes} messages came back; the connections are {' '.join(links.split())}; its log "
                             f"ends with: {log.splitlines()[-1]}")

    def close(self) -> None:
        self.device.unplug()


class Life:
    """One process, from its start to its end."""

    def __init__(self, folder: Path, jack: JackServer, report: Report, dice: random.Random) -> None:
        self._report, self._dice = report, dice
        self._cable = Cable(folder)
        name = f"soak{_free_port()}"
        web = _free_port()
        config = CONFIG.replace("SERIAL", str(self._cable.path)).replace("WEB", str(web)).replace("DEVICE", name)
        for old in (folder / "logs").glob("*"):
            old.unlink()
        midi = MidiWay(jack, folder / "jackd.log", name)
        self._player = Instrument(folder, config, free_port=_free_port, env=jack.env)
        self._midi = midi
        self._ways = [OscWay(self._player), SerialWay(self._cable), WebWay(web), midi]
        self._tail = Tail(folder / "logs", self._ways)
        report.lives += 1
        self.jack_stands = ""

    def live(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        deeds: list[Callable[[], None]] = [self._gesture] * 6 + [self._command] * 3 + [self._rest, self._speak_nonsense,
                                                                                      self._drop_a_device]
        try:
            for way in self._ways:  # the first sets all values, so that rows are whole from here on
                self._until_heard(way)
            while time.monotonic() < end:
                self._dice.choice(deeds)()
                for way in self._ways:
                    way.drain()
                self._tail.read()
        except JackStands as problem:
            self._report.stalled += 1
            self.jack_stands = str(problem)

    def end(self) -> None:
        """By kill -9, or as it should be."""
        if self.jack_stands or self._dice.random() < 0.7:
            way = self._dice.choice(self._ways[:3])
            self._gesture(way)
            self._wait_for_all()
            self._play(way)
            self._player.process.kill()
            way.sent[-1].in_flight = True
            self._report.killed += 1
        else:
            self._wait_for_all()
            self._player.process.send_signal(self._dice.choice([signal.SIGTERM, signal.SIGINT]))
            assert self._player.process.wait(PATIENCE) == 0
            self._until(lambda: not self._midi.device.sounding, "the notes to end")
        said = self._player.stop()
        for way in self._ways:
            way.close()
        self._cable.unplug()
        assert "Traceback" not in said and "should not happen" not in said, said
        self._tail.read()
        for way in self._ways:
            assert way.is_complete(at_the_end=True), f"{way.name}: {way.sent[-1].value} is lost"
            self._report.lost += way.lost
            self._report.jack_lost += way.lost_on_the_way

    def abandon(self) -> None:
        """Something is wrong: leaves nothing running."""
        self._player.process.kill()
        self._player.stop()
        for way in self._ways:
            way.close()

    # -- what happens

    def _play(self, way: Way) -> None:
        self._report.events += 1
        way.play(self._report.events % EVENTS)

    def _gesture(self, way: Way | None = None) -> None:
        way = way or self._dice.choice(self._ways)
        rate = self._dice.uniform(20, way.fastest)
        began = time.monotonic()
        for number in range(min(self._dice.randrange(1, 300), int(rate))):
            self._play(way)
            time.sleep(max(0.0, began + number / rate - time.monotonic()))

    def _command(self) -> None:
        self._report.commands += 1
        word, *arguments = self._dice.choice([
            ("mode", self._dice.choice(MODES)), ("mode", self._dice.choice(MODES)), ("pause", 1), ("pause", 0),
            ("reset",), ("sigmatemp", self._dice.uniform(0, 1)), ("pitemp", self._dice.uniform(0.1, 3)),
            ("timescale", self._dice.uniform(0, 2)), ("threshold", self._dice.uniform(0, 0.5)),
            ("seed", self._dice.randrange(1000)), ("mix", self._dice.random()),
            ("model", self._dice.choice(["models/a.mdrnn", "models/b.mdrnn", "models/none.mdrnn"])),
        ])
        self._player.command(word, *arguments)

    def _rest(self) -> None:
        time.sleep(self._dice.uniform(0.1, 0.6))

    def _speak_nonsense(self) -> None:
        self._report.nonsense += 1
        self._dice.choice(self._ways).nonsense()

    def _drop_a_device(self) -> None:
        way = self._dice.choice([*self._ways[1:3], *self._ways[1:]])
        self._wait_for_all()
        self._play(way)
        way.drop()
        way.sent[-1].in_flight = True
        self._report.dropped += 1
        self._play(self._ways[0])  # the others go on
        time.sleep(self._dice.uniform(0.5, 1.0))  # MIDI devices are looked for four times a second
        way.plug()
        self._until_heard(way)

    # -- what has to be

    def _until_heard(self, way: Way) -> None:
        before = way.probes_heard
        end = time.monotonic() + PATIENCE
        while way.probes_heard == before:
            if time.monotonic() > end:
                if way is self._midi:
                    self._midi.excuse_jack()
                raise AssertionError(f"{way.name} is not heard:\n{self._player.stop()}")
            way.probe()
            way.drain()
            time.sleep(0.05)
            self._tail.read()

    def _wait_for_all(self) -> None:
        """Until all that was sent is in the log."""
        self._until(lambda: all([way.is_complete() for way in self._ways]), "all events to be in the log")

    def _until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                if all(way.is_complete() for way in self._ways[:3]):
                    self._midi.excuse_jack()
                state = f"exit status {self._player.process.poll()}, " + ", ".join(map(str, self._ways))
                raise AssertionError(f"waited in vain for {what}: {state}\n{self._player.stop(signal.SIGKILL)}")
            time.sleep(0.002)
            self._tail.read()


class Tail:
    """Reads what is added to the log, and tells each way what of it was its own."""

    def __init__(self, folder: Path, ways: list[Way]) -> None:
        self._folder = folder
        self._places: dict[Path, int] = {}
        self._ways = {way.tag: way for way in ways}
        self._before: list[float] = []

    def read(self) -> None:
        for path in self._folder.glob("*.log"):
            with path.open("rb") as file:
                file.seek(self._places.get(path, 0))
                data = file.read()
            data = data[: data.rfind(b"\n") + 1]
            self._places[path] = self._places.get(path, 0) + len(data)
            for line in data.decode().splitlines():
                self._row(line)

    def _row(self, line: str) -> None:
        _, source, *cells = line.split(",")
        if source == "rnn":
            return
        assert source in ("interface", "partial"), line
        row = [float(cell) if cell else -1.0 for cell in cells]
        if row[:2] == self._before[:2] or row[0] == -1.0:  # only x3 has moved; x1 and x2 perhaps never have
            way, value = self._ways[-1.0], float(round(row[2] * 127))
            probe = value == PROBE
        else:
            way, value, probe = self._ways[row[0]], row[1], row[1] > 0.5
        if probe:
            way.probes_heard += 1
        else:
            way.found.append(value)
        self._before = row


def soak(folder: Path, seconds: float, seed: int, life: tuple[float, float],
         say: Callable[[str], Any] = lambda text: None) -> Report:
    """Plays for so long.

    :param life: seconds, from and to, of one process
    :raises AssertionError: where something was lost, or went wrong in another way
    """
    (folder / "models").mkdir()
    for name in ("a", "b"):
        (folder / "models" / f"{name}.mdrnn").write_bytes(share("models", "wander.mdrnn").read_bytes())
    dice = random.Random(seed)
    random.seed(seed)
    report = Report()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        jack = _run_jack(folder, 48000, 512)
        try:
            _until_jack_stands(folder, end, next(jack), report, dice, life, say)
        finally:
            jack.close()
    return report


def _until_jack_stands(folder: Path, end: float, jack: JackServer, report: Report, dice: random.Random,
                       life: tuple[float, float], say: Callable[[str], Any]) -> None:
    while (left := end - time.monotonic()) > 0:
        one = Life(folder, jack, report, dice)
        try:
            one.live(min(left, dice.uniform(*life)))
            one.end()
        except BaseException:
            one.abandon()
            raise
        say(f"{time.strftime('%H:%M:%S')} {report}")
        if one.jack_stands:
            say(f"JACK stands still: {one.jack_stands}")
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)

    def say(text: str) -> None:
        print(text, flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves nothing running
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `… &` in a script has it ignored, by children, too
    with tempfile.TemporaryDirectory() as name:
        print(soak(Path(name), 60 * options.minutes, options.seed, (5, 40), say))


if __name__ == "__main__":
    main()
