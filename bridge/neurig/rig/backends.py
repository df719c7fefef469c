"""Where the sound goes: JACK, a sound card through PortAudio, or nowhere, but in time. For the audio process.

pyo ends its process where a device is missing, so each backend is looked for before pyo opens it.
"""

import ctypes
import os
import platform
import threading
import time
from dataclasses import dataclass
from typing import Any

import pyo64 as pyo

CLIENT = "neurig"  # to JACK; with a number where there is one of that name already
_WAKE = 0.005  # seconds: the clock computes so much at once


class Unavailable(Exception):
    """A backend that cannot be used now; the message is the reason, in plain words."""


@dataclass
class Opened:
    """A running pyo server.

    :ivar backend: jack, portaudio or clock
    :ivar why: this one, in plain words
    :ivar rate: Hz
    :ivar block: frames
    :ivar clock: what drives the server, where no hardware does
    :ivar jack_name: of pyo's client, with JACK
    """

    server: Any
    backend: str
    why: str
    rate: int
    block: int
    inputs: int
    outputs: int
    clock: "Clock | None" = None
    jack_name: str = ""


class Clock:
    """Drives pyo's ``manual`` server in time."""

    def __init__(self, server: Any, rate: int, block: int) -> None:
        self._server = server
        self._period = block / rate
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
        self._stop = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        blocks = max(1, round(_WAKE / self._period))
        due = time.monotonic()
        while not self._stop.is_set():
            for _ in range(blocks):
                self._server.process()
            due += blocks * self._period
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            elif wait < -0.25:  # the machine slept, or is too slow: time that is lost is not caught up with
                due = time.monotonic()


def open_backend(wanted: str, settings: dict[str, Any], crashed: list[str], fall_back: bool, trying: Any) -> Opened:
    """Opens the wanted backend, or (``auto``) the first of jack, portaudio and clock that is there.

    :param settings: those of ``[audio]`` in a config file, and ``wires``: with JACK, what the rig's ports are to be
        connected to, where that is known from before
    :param crashed: backends that did not survive being opened
    :param fall_back: take the clock where the wanted backend has gone away
    :param trying: is called with a backend's name before it is opened
    :raises Unavailable: where the wanted backend is not there
    """
    reasons = []
    for name in ("jack", "portaudio", "clock") if wanted == "auto" else (wanted, "clock") if fall_back else (wanted,):
        try:
            if name in crashed:
                raise Unavailable({"jack": "JACK did not answer", "portaudio": "the sound card could not be opened"}
                                  .get(name, f"{name} did not start"))
            trying(name)
            opened = {"jack": _open_jack, "portaudio": _open_portaudio, "clock": _open_clock}[name](settings)
        except Unavailable as problem:
            reasons.append(str(problem))
        else:
            if reasons:
                opened.why = f"{opened.why}, because {' and '.join(reasons)}"
            return opened
    raise Unavailable(" and ".join(reasons))


def _boot(backend: str, why: str, rate: int, block: int, inputs: int, outputs: int, audio: str = "",
          name: str = CLIENT) -> Opened:
    server = pyo.Server(sr=rate, nchnls=outputs, ichnls=max(inputs, 1), buffersize=block, duplex=int(inputs > 0),
                        audio=audio or backend, jackname=name)
    server.setVerbosity(1)
    server.deactivateMidi()
    server.setJackAuto(False, False)  # it reads past its ports where the card has more channels than the rig
    server.boot()
    if not server.getIsBooted():
        raise Unavailable(f"{backend} could not be opened")
    return Opened(server, backend, why, int(server.getSamplingRate()), int(server.getBufferSize()), inputs, outputs)


def _open_clock(settings: dict[str, Any]) -> Opened:
    opened = _boot("clock", "a clock, without sound", settings["rate"], settings["block"], settings["inputs"],
                   settings["outputs"], audio="manual")
    opened.clock = Clock(opened.server, opened.rate, opened.block)
    return opened


def _open_portaudio(settings: dict[str, Any]) -> Opened:
    # The ALSA library in pyo's wheel looks for its plugins, PulseAudio's and PipeWire's among them, where Debian has
    # none.
    plugins = f"/usr/lib/{platform.machine()}-linux-gnu/alsa-lib"
    if os.path.isdir(plugins):
        os.environ.setdefault("ALSA_PLUGIN_DIR", plugins)
    with _quiet():  # ALSA writes a page where there is no card
        device, source = pyo.pa_get_default_output(), pyo.pa_get_default_input()
        outputs = pyo.pa_get_output_max_channels(device) if device >= 0 else 0
        inputs = pyo.pa_get_input_max_channels(source) if source >= 0 else 0
    if outputs <= 0:
        raise Unavailable("no sound card was found")
    with _quiet():
        return _boot("portaudio", "the sound card", settings["rate"], settings["block"],
                     min(inputs, settings["inputs"]), min(outputs, settings["outputs"]))


def _open_jack(settings: dict[str, Any]) -> Opened:
    with JackClient() as jack:
        if not jack:
            raise Unavailable("no JACK server is running")
        taken = {port.split(":")[0] for port in jack.ports()}
        name = next(name for name in (CLIENT, *(f"{CLIENT}-{n}" for n in range(2, 99))) if name not in taken)
        opened = _boot("jack", "JACK", jack.rate, jack.block, settings["inputs"], settings["outputs"], name=name)
        opened.jack_name = name
        if settings["wires"] is not None:
            wires = settings["wires"]
        elif settings["connect"]:  # one by one, as far as there are ports on both sides
            card = jack.sources(physical=True), jack.sinks(physical=True)
            wires = [(f"input_{n}", port) for n, port in enumerate(card[0][: settings["inputs"]], start=1)]
            wires += [(f"output_{n}", port) for n, port in enumerate(card[1][: settings["outputs"]], start=1)]
        else:
            wires = []
        for own, other in wires:
            jack.connect(f"{name}:{own}", other)
    return opened


Wires = list[tuple[str, str]]
"""What a rig's ports are connected to: ``("output_1", "system:playback_1")``."""

_NO_START = 0x01  # JackNoStartServer
_IS_INPUT, _IS_OUTPUT, _IS_PHYSICAL = 0x1, 0x2, 0x4
_AUDIO = b"32 bit float mono audio"
_message = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_say_nothing = _message(lambda text: None)


class JackClient:
    """A client without ports, which looks at the running JACK server (the environment's ``JACK_DEFAULT_SERVER``) and
    connects what others have. False where there is none.

    :ivar rate: Hz
    :ivar block: frames
    :ivar xruns: that the server has reported since :meth:`watch`
    """

    def __enter__(self) -> "JackClient":
        self.xruns = 0
        os.environ["JACK_NO_START_SERVER"] = "1"  # also for pyo's own client
        self._client: Any = None
        try:
            self._jack = jack = ctypes.CDLL("libjack.so.0")
        except OSError:
            return self
        jack.jack_client_open.restype = jack.jack_port_by_name.restype = ctypes.c_void_p
        jack.jack_get_ports.restype = jack.jack_port_get_all_connections.restype = ctypes.POINTER(ctypes.c_char_p)
        jack.jack_set_error_function(_say_nothing)
        jack.jack_set_info_function(_say_nothing)
        client = jack.jack_client_open(f"{CLIENT}-{os.getpid()}-looks".encode(), _NO_START, None)
        if client:
            self._client = ctypes.c_void_p(client)
            self.rate: int = jack.jack_get_sample_rate(self._client)
            self.block: int = jack.jack_get_buffer_size(self._client)
        return self

    def __exit__(self, *_: object) -> None:
        if self._client:
            self._jack.jack_client_close(self._client)
            self._client = None

    def __bool__(self) -> bool:
        return self._client is not None

    def sources(self, physical: bool = False) -> list[str]:
        """The names of the ports that can be listened to.

        :param physical: only a card's inputs
        """
        return self.ports(_IS_OUTPUT | physical * _IS_PHYSICAL)

    def sinks(self, physical: bool = False) -> list[str]:
        """The names of the ports that can be played to.

        :param physical: only a card's outputs
        """
        return self.ports(_IS_INPUT | physical * _IS_PHYSICAL)

    def ports(self, flags: int = 0) -> list[str]:
        """The names of all ports that have these flags."""
        return self._names(self._jack.jack_get_ports(self._client, None, _AUDIO, ctypes.c_ulong(flags)))

    def watch(self) -> None:
        """Counts xruns from now on: blocks that one of the clients, or the server itself, was too late for."""

        def note(_: Any) -> int:
            self.xruns += 1
            return 0

        self._note = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(note)
        self._jack.jack_set_xrun_callback(self._client, self._note, None)
        self._jack.jack_activate(self._client)

    def connect(self, own: str, other: str) -> None:
        """Connects a rig's port with another, in the direction that there is; nothing where there is none."""
        source, sink = (own, other) if own.split(":")[-1].startswith("output") else (other, own)
        self._jack.jack_connect(self._client, source.encode(), sink.encode())

    def wires(self, name: str) -> Wires:
        """What the ports of a client are connected to."""
        found = []
        for port in self.ports():
            client, own = port.split(":", 1)
            if client == name:
                pointer = ctypes.c_void_p(self._jack.jack_port_by_name(self._client, port.encode()))
                if pointer:
                    others = self._names(self._jack.jack_port_get_all_connections(self._client, pointer))
                    found += [(own, other) for other in others]
        return found

    def _names(self, found: Any) -> list[str]:
        names: list[str] = []
        if found:
            while found[len(names)] is not None:
                names.append(found[len(names)].decode())
            self._jack.jack_free(found)
        return names


class _quiet:
    """Sends what libraries write to standard error nowhere."""

    def __enter__(self) -> None:
        self._kept = os.dup(2)
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)
