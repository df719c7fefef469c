"""MIDI over JACK, with real clients. ALSA needs a kernel with a sequencer, which few test machines have; what differs
there is in RtMidi, but for the choice between the two, which is tested here as far as it goes without ALSA."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from neurig.interaction import loop
from neurig.interaction.complaints import Complaints
from neurig.interaction.midi import MidiPort, MidiSettings
from neurig.interaction.midi_devices import find
from neurig.interaction.port import Update

from conftest import JackServer, _run_jack
from interaction.cable import until
from interaction.midi_instrument import MidiInstrument

KEYS = [["note_on", 1], ["control_change", 1, 7], ["note_velocity", 1]]
SOUND = [["note_on", 3], ["control_change", 2, 9]]


@pytest.fixture(scope="module")
def jack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JackServer]:
    yield from _run_jack(tmp_path_factory.mktemp("jack"), 48000, 512)


@pytest.fixture
def plug(jack: JackServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MidiInstrument]]:
    """Plugs instruments in, and unplugs them after the test."""
    monkeypatch.setenv("JACK_DEFAULT_SERVER", jack.env["JACK_DEFAULT_SERVER"])
    instruments: list[MidiInstrument] = []

    def start(name: str, *ports: str) -> MidiInstrument:
        instruments.append(MidiInstrument(jack.env, name, *ports))
        return instruments[-1]

    yield start
    for instrument in instruments:
        instrument.unplug()


class DoomedJack:
    """A server that may be killed, and whose clients may: it takes long then to end by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.start()

    def start(self, *options: str) -> None:
        self._running = _run_jack(self._folder, 48000, 1024, *options)
        self.server = next(self._running)
        self._alive = True

    def hang(self) -> None:
        os.kill(self.server.pid, signal.SIGSTOP)
        stat = Path(f"/proc/{self.server.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)

    def go_on(self) -> None:
        os.kill(self.server.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._alive:
            self._alive = False
            os.kill(self.server.pid, signal.SIGKILL)
            self._running.close()


@pytest.fixture
def doomed_jack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DoomedJack]:
    jack = DoomedJack(tmp_path)
    monkeypatch.setenv("JACK_DEFAULT_SERVER", jack.server.name)
    yield jack
    jack.kill()


class Player:
    """A port, and what it receives."""

    def __init__(self, **table: Any) -> None:
        self.heard: list[list[tuple[int, float]]] = []
        self.times: list[float] = []
        self.complain = Complaints("midi")
        self.port = MidiPort(MidiSettings.from_table(table, 4), self._receive, self.complain)

    def _receive(self, update: Update) -> None:
        self.times.append(time.monotonic())
        self.heard.append(list(update))

    async def ready(self) -> None:
        await until(lambda: all(self.port._inputs_present) and all(output.present for output in self.port._outputs),
                    "all devices")


def with_player(act: Callable[[Player], Coroutine[Any, Any, None]], **table: Any) -> None:
    async def main() -> None:
        player = Player(**table)
        await player.port.open()
        try:
            await act(player)
        finally:
            await player.port.close()

    loop.run(main())


def devices(inputs: dict[str, Any], outputs: dict[str, Any], **further: Any) -> dict[str, Any]:
    return {"in_device": list(inputs), "input": inputs, "out_device": list(outputs), "output": outputs} | further


class TestPlaying:
    def test_in_and_out(self, plug: Callable[..., MidiInstrument]) -> None:
        keyboard, synth = plug("Mini Keyboard"), plug("Volca FM")

        async def act(player: Player) -> None:
            await player.ready()
            keyboard.send(0x90, 60, 100)
            keyboard.send(0x90, 60, 0)
            keyboard.send(0x80, 60, 0)
            keyboard.send(0xB0, 7, 127)
            keyboard.send(0xB5, 7, 127)  # not in the mapping
            keyboard.send(0xF8)
            keyboard.send(0xB0, 7, 0)
            await until(lambda: len(player.heard) == 3, "3 updates")
            assert player.heard == [[(0, 60 / 127), (2, 100 / 127)], [(1, 1.0)], [(1, 0.0)]]
            player.port.play([60 / 127, 0.5, 0.0])
            player.port.play([62 / 127, 0.5, 0.0])
            await until(lambda: len(synth.messages) == 4, "4 messages")
            assert synth.messages == [bytes([0x92, 60, 127]), bytes([0xB1, 9, 64]), bytes([0x82, 60, 0]),
                                      bytes([0x92, 62, 127])]
            player.port.silence()
            await until(lambda: not synth.sounding, "silence")
            assert not player.complain.counts

        with_player(act, **devices({"keyboard": KEYS}, {"Volca": SOUND}, api="jack"))  # parts of names, in any case

    def test_several_devices_have_mappings_of_their_own(self, plug: Callable[..., MidiInstrument]) -> None:
        one, two = plug("S-1"), plug("QuNeo")

        async def act(player: Player) -> None:
            await player.ready()
            one.send(0x90, 60, 100)
            await until(lambda: len(player.heard) == 1, "one")
            two.send(0x90, 60, 100)
            await until(lambda: len(player.heard) == 2, "two")
            assert player.heard == [[(0, 60 / 127)], [(1, 60 / 127)]]
            player.port.play([0.0, 0.5, 1.0])
            await until(lambda: one.messages and two.messages, "both")
            assert one.messages == [bytes([0xB0, 1, 0])] and two.messages == [bytes([0xB0, 2, 0])]

        with_player(act, **devices(
            {"S-1": [["note_on", 1]], "QuNeo": [["note_on", 2], ["note_on", 1]]},
            {"S-1": [["control_change", 1, 1]], "QuNeo": [["control_change", 1, 2]]}))

    def test_thru_is_heard_at_once(self, plug: Callable[..., MidiInstrument]) -> None:
        keyboard, synth, other = plug("Keyboard"), plug("Synth"), plug("Other")

        async def act(player: Player) -> None:
            await player.ready()
            keyboard.send(0x90, 60, 100)
            keyboard.send(0xB0, 7, 127)
            await until(lambda: len(synth.messages) == 2, "2 messages")
            assert synth.messages == [bytes([0x92, 60, 127]), bytes([0xB1, 9, 127])]
            keyboard.send(0x90, 62, 100)
            await until(lambda: len(synth.messages) == 4, "a note-off, and the next note")
            assert synth.messages[2:] == [bytes([0x82, 60, 0]), bytes([0x92, 62, 127])]
            assert other.messages == []

        with_player(act, **devices({"Keyboard": KEYS}, {"Synth": SOUND, "Other": SOUND},
                                   thru_matrix={"Keyboard": ["Synth"]}))

    def test_order_is_kept_and_nothing_lost_at_speed(self, plug: Callable[..., MidiInstrument]) -> None:
        keyboard = plug("Keyboard")

        async def act(player: Player) -> None:
            await player.ready()
            for number in range(4000):
                keyboard.send(0xB0, 7, number % 128)
                if number % 8 == 0:
                    await asyncio.sleep(0.002)
            await until(lambda: len(player.heard) == 4000, "4000 messages")
            assert [update[0][1] for update in player.heard] == [number % 128 / 127 for number in range(4000)]

        with_player(act, **devices({"Keyboard": KEYS}, {}))

    def test_the_way_from_the_driver_takes_well_under_a_millisecond(self, plug: Callable[..., MidiInstrument]) -> None:
        """What JACK needs itself, up to a block, is not counted."""
        keyboard = plug("Keyboard")
        delays: list[float] = []

        async def act(player: Player) -> None:
            await player.ready()
            arrivals: list[float] = []
            heard = player.port._heard

            def timed(number: int, arrived: float, message: bytes) -> None:
                arrivals.append(arrived)
                heard(number, arrived, message)

            player.port._heard = timed  # type: ignore[method-assign]
            for number in range(100):
                keyboard.send(0xB0, 7, number)
                await until(lambda: len(player.heard) > number, "a message")  # noqa: B023
            delays.extend(after - before for before, after in zip(arrivals, player.times, strict=True))

        with_player(act, **devices({"Keyboard": KEYS}, {}))
        assert 0 < sorted(delays)[50] < 0.001


class TestFeedback:
    def test_an_echo_is_dropped_and_a_player_is_not(self, plug: Callable[..., MidiInstrument]) -> None:
        synth = plug("S-1")

        async def act(player: Player) -> None:
            await player.ready()
            player.port.play([60 / 127, 0.5, 0.5])
            await until(lambda: synth.messages, "the note")
            synth.send(0x92, 60, 127)  # the synth sends what it plays
            synth.send(0x92, 61, 127)  # and its player joins in
            await until(lambda: player.heard, "the player's note")
            await asyncio.sleep(0.05)
            assert player.heard == [[(0, 61 / 127)]]
            await asyncio.sleep(1.0)
            synth.send(0x92, 60, 127)  # the same note, but long after
            await until(lambda: len(player.heard) == 2, "the player's other note")

        with_player(act, **devices({"S-1": [["note_on", 3]]}, {"S-1": SOUND}, feedback_protection=True,
                                   feedback_threshold=1.0))

    def test_without_protection_it_counts(self, plug: Callable[..., MidiInstrument]) -> None:
        synth = plug("S-1")

        async def act(player: Player) -> None:
            await player.ready()
            player.port.play([60 / 127, 0.5, 0.5])
            synth.send(0x92, 60, 127)
            await until(lambda: player.heard == [[(0, 60 / 127)]], "the echo")

        with_player(act, **devices({"S-1": [["note_on", 3]]}, {"S-1": SOUND}))

    def test_the_time_is_twenty_milliseconds(self) -> None:
        settings = MidiSettings.from_table({"feedback_protection": True}, 4)
        assert settings.feedback_protection and settings.feedback_threshold == 0.02


class TestHotPlug:
    def test_a_device_that_goes_and_comes(self, plug: Callable[..., MidiInstrument]) -> None:
        async def act(player: Player) -> None:
            output, = player.port._outputs
            await until(lambda: len(player.complain.counts) == 2, "the words that both are missing")
            for number in range(1, 3):
                instrument = plug("Instrument")
                await player.ready()
                instrument.send(0xB0, 7, 127)
                await until(lambda: len(player.heard) == number, "a message")  # noqa: B023
                player.port.play([60 / 127, 0.5, 0.5])
                await until(lambda: instrument.sounding == {(2, 60)}, "a note")  # noqa: B023
                instrument.unplug()
                await until(lambda: not output.present and not player.port._inputs_present[0], "the loss")
                player.port.play([64 / 127, 0.5, 0.5])  # into nothing
            back = plug("Instrument")
            await until(lambda: back.messages, "what it was left with")
            assert back.messages == [bytes([0x82, 60, 0])]  # the note that it was lost with ends
            assert player.complain.counts == {f"{what} {way} Instrument": count for what, count in
                                              (("missing", 1), ("lost", 2)) for way in ("input", "output")}

        with_player(act, **devices({"Instrument": KEYS}, {"Instrument": SOUND}))

    def test_what_a_lost_player_left_sounding_ends(self, plug: Callable[..., MidiInstrument]) -> None:
        keyboard, synth = plug("Keyboard"), plug("Synth")

        async def act(player: Player) -> None:
            await player.ready()
            keyboard.send(0x90, 60, 100)
            await until(lambda: synth.sounding == {(2, 60)}, "a note")
            keyboard.unplug()
            await until(lambda: not synth.sounding, "its end")

        with_player(act, **devices({"Keyboard": KEYS}, {"Synth": SOUND}, thru_matrix={"Keyboard": ["Synth"]}))

    def test_jack_ends_and_comes_back(self, doomed_jack: DoomedJack, monkeypatch: pytest.MonkeyPatch) -> None:
        instruments = [MidiInstrument(doomed_jack.server.env, "Instrument")]

        async def act(player: Player) -> None:
            await player.ready()
            player.port.play([60 / 127, 0.5, 0.5])
            await until(lambda: instruments[0].sounding, "a note")
            doomed_jack.kill()
            await until(lambda: not any(player.port._inputs_present), "the loss")
            instruments[0].unplug()
            doomed_jack.start("--sync")
            monkeypatch.setenv("JACK_DEFAULT_SERVER", doomed_jack.server.name)  # the old one may be taken
            instruments.append(MidiInstrument(doomed_jack.server.env, "Instrument"))
            await player.ready()
            await until(lambda: instruments[1].messages == [bytes([0x82, 60, 0])], "the end of the note")
            instruments[1].send(0xB0, 7, 127)
            await until(lambda: player.heard, "a message")

        try:
            with_player(act, **devices({"Instrument": KEYS}, {"Instrument": SOUND}, api="jack"))
        finally:
            for instrument in instruments:
                instrument.unplug()

    def test_a_jack_that_hangs_holds_nobody_up(self, doomed_jack: DoomedJack) -> None:
        instrument = MidiInstrument(doomed_jack.server.env, "Instrument")
        longest = 0.0

        async def act(player: Player) -> None:
            nonlocal longest
            await player.ready()
            doomed_jack.hang()
            for number in range(20000):
                began = time.perf_counter()
                player.port.play([number % 128 / 127, number % 97 / 97, 0.5])
                longest = max(longest, time.perf_counter() - began)
                if number % 50 == 0:
                    await asyncio.sleep(0.001)
            assert player.complain.counts["behind"]
            began = time.perf_counter()
            await player.port.close()
            assert time.perf_counter() - began < 3

        try:
            with_player(act, **devices({"Instrument": KEYS}, {"Instrument": SOUND}, api="jack"))
            assert longest < 0.1
        finally:
            doomed_jack.kill()
            instrument.unplug()

    def test_a_jack_that_hung_is_taken_up_again(self, doomed_jack: DoomedJack) -> None:
        instrument = MidiInstrument(doomed_jack.server.env, "Instrument")
        doomed_jack.hang()

        async def act(player: Player) -> None:
            await until(lambda: player.complain.counts["process"], "the end of the device process", 20)
            doomed_jack.go_on()
            await until(lambda: instrument.send(0xB0, 7, 127) and player.heard, "a message", 30)

        try:
            with_player(act, **devices({"Instrument": KEYS}, {}, api="jack"))
        finally:
            instrument.unplug()

    def test_a_killed_device_process_is_started_anew(self, doomed_jack: DoomedJack) -> None:
        instrument = MidiInstrument(doomed_jack.server.env, "Instrument")

        async def act(player: Player) -> None:
            await player.ready()
            player.port.play([60 / 127, 0.5, 0.5])
            await until(lambda: instrument.sounding, "a note")
            assert player.port._process
            player.port._process.kill()
            await until(lambda: not any(player.port._inputs_present), "the loss")
            await player.ready()
            await until(lambda: instrument.send(0xB0, 7, 127) and player.heard, "a message")
            assert player.complain.counts["process"] == 1

        try:
            with_player(act, **devices({"Instrument": KEYS}, {"Instrument": SOUND}))
        finally:
            instrument.unplug()


class TestEnd:
    def test_closing_ends_the_notes(self, plug: Callable[..., MidiInstrument], wait_until: Callable[..., Any]) -> None:
        synth = plug("Synth")
        took: list[float] = []

        async def act(player: Player) -> None:
            await player.ready()
            player.port.play([60 / 127, 0.5, 0.5])
            await until(lambda: synth.sounding, "a note")
            began = time.monotonic()
            await player.port.close()
            took.append(time.monotonic() - began)
            await player.port.close()

        with_player(act, **devices({}, {"Synth": SOUND}))
        wait_until(lambda: not synth.sounding, "the end of the note")
        assert took[0] < 2

    def test_notes_end_even_where_the_player_was_killed(self, doomed_jack: DoomedJack,
                                                        wait_until: Callable[..., Any]) -> None:
        synth = MidiInstrument(doomed_jack.server.env, "Synth")
        program = f"""
import asyncio
from neurig.interaction.complaints import Complaints
from neurig.interaction.midi import MidiPort, MidiSettings

async def main():
    port = MidiPort(MidiSettings.from_table({devices({}, {"Synth": SOUND})!r}, 4), print, Complaints("midi"))
    await port.open()
    while True:
        await asyncio.sleep(0.05)
        port.play([60 / 127, 0.5, 0.5])

asyncio.run(main())
"""
        process = subprocess.Popen([sys.executable, "-c", program], env=doomed_jack.server.env, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: synth.sounding, "a note", seconds=20)
            process.kill()
            wait_until(lambda: not synth.sounding, "the end of the note")
        finally:
            process.kill()
            process.wait()
            synth.unplug()


class TestVirtual:
    def test_others_connect_to_it(self, plug: Callable[..., MidiInstrument], jack: JackServer) -> None:
        async def act(player: Player) -> None:
            await player.ready()
            ports = await asyncio.to_thread(jack.ports)
            hand, = [port for port in ports if port.endswith(":Hand")]
            voice, = [port for port in ports if port.endswith(":Voice")]
            assert hand.startswith("neurig") and voice.startswith("neurig")
            instrument = await asyncio.to_thread(plug, "Instrument", hand, voice)
            await until(lambda: instrument.send(0xB0, 7, 127) and player.heard, "a message")
            await until(lambda: player.port.play([60 / 127, 0.5, 0.5]) or instrument.sounding, "a note")

        with_player(act, **devices({"Hand": KEYS}, {"Voice": SOUND}, virtual=True, api="jack"))


class TestNames:
    NAMES = ["neurig:in X-TOUCH", "Midi Through:Midi Through Port-0 14:0", "X-TOUCH MINI:X-TOUCH MINI MIDI 1 24:0",
             "X-TOUCH COMPACT:X-TOUCH COMPACT MIDI 1 28:0", "X-TOUCH"]

    @pytest.mark.parametrize(("wanted", "found"), [
        ("X-TOUCH", 4), ("X-TOUCH MINI", 2), ("x-touch", 2), ("compact", 3), ("MIDI Through", 1), ("S-1", None),
        ("neurig:in", 0), ("neurig", 0), ("in X-TOUCH", None),
    ])
    def test_parts_of_names(self, wanted: str, found: int | None) -> None:
        assert find(wanted, self.NAMES) == found


class TestWithout:
    @pytest.fixture
    def nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JACK_DEFAULT_SERVER", "neurig-there-is-none")

    @pytest.mark.parametrize(("api", "words"), [("auto", "there is no MIDI here"), ("jack", "jack is not there"),
                                                ("alsa", "alsa is not there")])
    def test_is_said_once(self, nothing: None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
                          api: str, words: str) -> None:
        if api != "jack" and os.path.exists("/dev/snd/seq"):  # ALSA is there, but not these devices
            kinds, words = ("missing input Keyboard", "missing output Synth"), "yet; neurig goes on looking"
        else:
            kinds = ("system",)

        async def act(player: Player) -> None:
            await until(lambda: player.complain.counts[kinds[-1]], "a complaint")
            await asyncio.sleep(0.8)  # several looks
            player.port.play([0.5, 0.5, 0.5])
            player.port.silence()
            assert player.complain.counts == dict.fromkeys(kinds, 1)

        with_player(act, **devices({"Keyboard": KEYS}, {"Synth": SOUND}, api=api))
        assert words in caplog.text
        assert capfd.readouterr().err == ""  # what the libraries say is for nobody

    def test_ports_lists_nothing(self, nothing: None) -> None:
        listing = json.loads(run_ports("--json"))
        assert "jack" not in listing["midi"]


def run_ports(*arguments: str) -> str:
    return subprocess.run([sys.executable, "-m", "neurig.cli", "ports", *arguments], check=True, capture_output=True,
                          text=True, timeout=20).stdout


def test_ports_say_that_jack_hangs(doomed_jack: DoomedJack) -> None:
    doomed_jack.hang()
    result = subprocess.run([sys.executable, "-m", "neurig.cli", "ports"], capture_output=True, text=True, timeout=20)
    assert result.returncode == 0 and "MIDI does not answer" in result.stderr and "Serial ports" in result.stdout


def test_ports_are_listed(plug: Callable[..., MidiInstrument]) -> None:
    plug("Instrument")
    listing = json.loads(run_ports("--json"))
    assert "Instrument:keys" in listing["midi"]["jack"]["inputs"]
    assert "Instrument-01:sound" in listing["midi"]["jack"]["outputs"]
    assert all({"port", "description"} <= set(port) for port in listing["serial"])
    text = run_ports()
    assert "MIDI inputs (JACK):\n" in text and "\n  Instrument:keys\n" in text and "Serial ports:" in text


@pytest.mark.parametrize(("table", "reason"), [
    ({"in_device": 3}, "in_device: "),
    (devices({"A": [["note_on", 99]]}, {}), 'input."A": entry 1'),
    ({"in_device": ["A"], "input": {"B": []}},
     'input."A": is missing; in_device has "A", but there are mappings for: "B"'),
    ({"out_device": ["A"], "output": {"A": [["note_on", 1]] * 4}}, 'output."A": 4 entries'),
    (devices({"A": []}, {}, thru_matrix={"A": ["B"]}), 'thru_matrix."A": "B" is not in out_device'),
    (devices({}, {"B": []}, thru_matrix={"A": ["B"]}), 'thru_matrix."A": "A" is not in in_device'),
    ({"thru_matrix": ["A"]}, "thru_matrix: "), ({"api": "oss"}, "api: is one of auto, alsa, jack"),
    ({"virtual": 1}, "virtual: "), ({"feedback_protection": "yes"}, "feedback_protection: "),
    ({"feedback_threshold": -1}, "feedback_threshold: "),
    ({"in_devices": ["A"]}, "in_devices: there is no such setting"),
])
def test_wrong_settings_are_refused_with_the_reason(table: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as problem:
        MidiSettings.from_table(table, 4)
    assert str(problem.value).startswith(reason)


def test_older_forms_are_read() -> None:
    """A name alone, a mapping for all devices, and forms that were not filled in."""
    settings = MidiSettings.from_table({"in_device": "A", "input": [["note_on", 1]], "out_device": [""]}, 4)
    assert [device.name for device in settings.inputs] == ["A"] and len(settings.inputs[0].mapping) == 1
    assert settings.outputs == ()
