"""The ways in and out that are devices, by the names of their tables in a config file.

Their code is read only where it is used.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from neurig.interaction.complaints import Complaints
from neurig.interaction.port import Port, Update

_CLASSES = {
    "midi": ("midi", "MidiSettings", "MidiPort"),
    "serial": ("serial", "SerialSettings", "SerialPort"),
    "serialmidi": ("serial", "SerialMidiSettings", "SerialMidiPort"),
    "websocket": ("websocket", "WebSocketSettings", "WebSocketPort"),
}
DEVICES = tuple(_CLASSES)


def settings_of(device: str, table: dict[str, Any], dimension: int) -> Any:
    """What a table says.

    :param dimension: of the model
    :raises ValueError: "key: what is wrong, and what it should be"
    """
    module, settings, _ = _CLASSES[device]
    return getattr(import_module(f"neurig.interaction.{module}"), settings).from_table(table, dimension)


def make(device: str, settings: Any, receive: Callable[[Update], None], complain: Complaints) -> Port:
    """The way in and out that these settings describe."""
    module, _, port = _CLASSES[device]
    return getattr(import_module(f"neurig.interaction.{module}"), port)(settings, receive, complain)
