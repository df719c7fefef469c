"""``neurig serve`` and ``neurig demo``: rigs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def _rig_options(command: Callable[..., None]) -> Callable[..., None]:
    """What ``serve`` and ``demo`` have in common. An option that is not given leaves it to the rig, and its config."""
    for option in reversed((
        click.option("--backend", type=click.Choice(["auto", "jack", "portaudio", "clock"]),
                     help="Where the sound goes; clock: nowhere, but in time.  [default: auto]"),
        click.option("--host", help="Address for OSC.  [default: 127.0.0.1]"),
        click.option("--port", type=click.IntRange(0, 65535), help="UDP port for OSC.  [default: 9001]"),
        click.option("--rate", type=click.IntRange(8000, 384000), help="Sample rate in Hz."),
        click.option("--block", type=click.IntRange(16, 8192), help="Frames per block."),
    )):
        command = option(command)
    return command


@click.command(short_help="Run a rig that patches build and steer over OSC.")
@click.argument("config", required=False, type=click.Path(path_type=Path), metavar="[CONFIG]")
@_rig_options
def serve(config: Path | None, **options: Any) -> None:
    """Run a rig that patches build and steer over OSC, empty or as CONFIG (.toml) says."""
    if config and not config.is_file():
        raise click.ClickException(f"{config}: {'this is a folder' if config.is_dir() else 'there is no such file'}")
    import neurig.rig

    sys.exit(neurig.rig.serve(config, **_given(options)))


@click.command(short_help="Play the demo rig: a guitar, a neural amp, a predictor.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long; else at Ctrl-C.")
@click.option("--record", type=click.Path(path_type=Path), metavar="FILE", help="Record what is played.")
@_rig_options
def demo(seconds: float | None, record: Path | None, **options: Any) -> None:
    """Play the demo rig: a guitar through a neural amp whose knobs a predictor moves."""
    import neurig.rig

    sys.exit(neurig.rig.demo(seconds, record, **_given(options)))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
