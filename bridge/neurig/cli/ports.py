"""``neurig ports``: what can be played with."""

import json
import subprocess
import sys
from typing import Any

import click

API_NAMES = {"alsa": "ALSA", "jack": "JACK", "coremidi": "CoreMIDI", "windows": "Windows"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def ports(as_json: bool) -> None:
    """List the MIDI and serial ports that are there.

    A part of a MIDI port's name goes into in_device or out_device of [midi] in a config file, a serial port into port
    of [serial] or [serialmidi].
    """
    midi, serial = midi_ports(), serial_ports()
    if as_json:
        click.echo(json.dumps({"midi": midi, "serial": serial}, indent=2))
        return
    if midi == {}:
        click.echo("There is no MIDI here: neither ALSA nor JACK is running." if sys.platform == "linux" else
                   "There is no MIDI here.")
    for api, found in (midi or {}).items():
        for way in ("inputs", "outputs"):
            _section(f"MIDI {way} ({API_NAMES[api]})", found[way])
    _section("Serial ports", [f"{port['port']}  {port['description']}".rstrip() for port in serial])


def _section(title: str, lines: list[str]) -> None:
    click.echo(f"{title}:" if lines else f"{title}: none")
    for line in lines:
        click.echo(f"  {line}")


def midi_ports() -> dict[str, dict[str, list[str]]] | None:
    """API → ``"inputs"`` and ``"outputs"`` → names; ``None`` where the system does not answer.

    Another process asks, since what it asks may hang, and talks on standard error.
    """
    from neurig.interaction.midi import devices_process

    command, environment = devices_process("list")
    try:
        asked = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)
    except subprocess.TimeoutExpired:
        click.echo("neurig: MIDI does not answer; if JACK is running, it hangs", err=True)
        return None
    if asked.returncode:
        reason = asked.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"status {asked.returncode}"]
        click.echo(f"neurig: MIDI does not work here: {reason[0]}", err=True)
        return None
    return json.loads(asked.stdout)


def serial_ports() -> list[dict[str, Any]]:
    """Each with port, description, manufacturer, serial_number and usb (``"vendor:product"``); unknown: empty."""
    from serial.tools.list_ports import comports

    return [{
        "port": found.device,
        "description": "" if found.description in (None, "n/a", found.name) else found.description,
        "manufacturer": found.manufacturer or "",
        "serial_number": found.serial_number or "",
        "usb": "" if found.vid is None else f"{found.vid:04x}:{found.pid:04x}",
    } for found in sorted(comports(), key=lambda found: found.device)]
