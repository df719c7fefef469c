"""``neurig capture``: recordings of a device, to train an amp on."""

import json
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from neurig.capture.check import Report
    from neurig.capture.record import Event


@click.group()
def capture() -> None:
    """Record a device, to train an amp on it."""


@capture.command(short_help="Write the test signal that is played into a device.")
@click.argument("target", metavar="OUT.wav")
@click.option("--seconds", type=click.FloatRange(30, 1200), default=180, show_default=True,
              help="Its length; more strings make a better amp.")
@click.option("--rate", type=click.IntRange(22050, 192000), default=48000, show_default=True, help="In Hz.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of all that is drawn by chance: the same gives the same signal.")
def make(target: str, seconds: float, rate: int, seed: int) -> None:
    """Write the test signal OUT.wav: play it into a device, record what comes out, and train on the two.

    It has clicks, sweeps, steps of level, noise, and plucked strings across the neck from soft to hard, and lasts three
    minutes.
    """
    from neurig.capture.signal import make as write
    from neurig.capture.signal import plan

    if not target.lower().endswith(".wav"):
        raise click.UsageError(f"{target}: the name has to end in .wav")
    write(target, seconds, rate, seed)
    click.echo(f"{target}: {seconds:g} s, {rate} Hz, 24 bit, mono, peak -1 dBFS\n")
    for passage in plan(seconds):
        click.echo(f"{passage.start:8.1f} s  {passage.name}")


class Port(click.ParamType):
    """A channel's number, or with JACK a port's name."""

    name = "number or port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        text = str(value)
        if ":" in text:
            return text
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 256:
            self.fail(f"{text!r} is neither a channel's number, counted from 1, nor a port of JACK (CLIENT:PORT)",
                      param, ctx)
        return int(text)


@capture.command(short_help="Play a signal into a device, and record what comes out.")
@click.argument("source", metavar="SIGNAL")
@click.argument("target", metavar="OUT.wav")
@click.option("--backend", type=click.Choice(["auto", "jack", "portaudio"]), default="auto", show_default=True,
              help="JACK, the sound card, or the first of them that is there.")
@click.option("--input", type=Port(), default="1", show_default=True, metavar="N|PORT",
              help="Where the device's answer comes in: a channel of the sound card, or a port of JACK.")
@click.option("--output", type=Port(), default="1", show_default=True, metavar="N|PORT",
              help="Where the signal goes out, likewise.")
@click.option("--level", type=click.FloatRange(-60, 20), default=0, show_default=True,
              help="Play so many dB louder, or with a minus softer, than the file is.")
@click.option("--channel", type=click.Choice(["left", "right"]), help="Which one, of a stereo SIGNAL.")
@click.option("--block", type=click.IntRange(16, 8192), default=512, show_default=True,
              help="Frames per block, with a sound card; JACK has its own.")
@click.option("--tries", type=click.IntRange(1, 100), default=5, show_default=True,
              help="Takes, after which xruns are no longer put up with.")
@click.option("--float", "floating", is_flag=True, help="Write 32-bit float, not 24 bits.")
@click.pass_context
def record(ctx: click.Context, source: str, target: str, **options: Any) -> None:
    """Play SIGNAL into a device, record what comes out as OUT.wav, and judge the two.

    SIGNAL is what `neurig capture make` writes, or anything dry that you played. Set the level into the recorder so
    that the loudest passages stay below 0 dB: a clipped take is refused at once. A take with an xrun is repeated.
    OUT.wav appears when a take is complete; until then, one that is there stays. The exit code is 1 where there is
    nothing to train on.
    """
    from neurig.capture.check import CaptureError
    from neurig.capture.record import RecordError
    from neurig.capture.record import record as take

    if not target.lower().endswith(".wav"):
        raise click.UsageError(f"{target}: the name has to end in .wav")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _meters() as show:
            done = take(source, target, show, **options)
    except (CaptureError, RecordError) as problem:
        raise click.ClickException(str(problem)) from None
    except KeyboardInterrupt:
        raise click.ClickException(f"{target}: not written, since the recording was stopped") from None
    takes = f", take {done.takes}" if done.takes > 1 else ""
    depth = "32-bit float" if options["floating"] else "24 bit"
    click.echo(f"{target}: {done.seconds:.2f} s, {done.rate} Hz, {depth}, mono{takes}\n")
    _show(done.report)
    if not done.report.trainable:
        click.echo("This pair cannot be trained on: see above what to do, and record again.", err=True)
        ctx.exit(1)
    click.echo(f"\nNext: neurig train amp {source} {target}")


@contextmanager
def _meters() -> Iterator[Callable[["Event"], None]]:
    """Gives a function that shows how a recording goes: with live meters in a terminal, else what matters in lines."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from neurig.capture.record import Again, Levels, Silent, Started

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    started: Started | None = None
    loudest = 0.0

    def decibels(peak: float) -> float:
        return max(-99.9, 20 * math.log10(peak)) if peak > 0 else -99.9

    def meter(name: str, peak: float, rest: str = "") -> Text:
        level = decibels(peak)
        filled = max(0, min(40, round((level + 60) * 40 / 60)))
        colour = "red" if level > -1 else "yellow" if level > -6 else "green"
        return Text.assemble(f"{name}  ", ("█" * filled, colour), ("·" * (40 - filled), "dim"),
                             f" {level:6.1f} dB{rest}", "\n")

    with Live(console=console, transient=True, auto_refresh=False) as live:

        def show(event: "Event") -> None:
            nonlocal started, loudest
            match event:
                case Started():
                    started, loudest = event, 0.0
                    console.print(f"Take {event.take}: {event.seconds:.0f} s through {event.why} ({event.rate} Hz, "
                                  f"{event.block} frames). Ctrl-C stops it.")
                case Levels() if started and console.is_terminal:
                    loudest = max(loudest, event.heard)
                    left = max(0.0, started.seconds - event.seconds)
                    highest = f", highest {decibels(loudest):.1f} dB"
                    live.update(Text.assemble(meter("played", event.played), meter("heard ", event.heard, highest),
                                              f"{left:.0f} s left"), refresh=True)
                case Silent():
                    console.print("Nothing comes back yet. Is the device on, are its cables in the right sockets, is "
                                  "the input's level up? --input and --output choose channels.")
                case Again():
                    console.print(f"This take is lost: {event.why}. Once more.")

        yield show


@capture.command(short_help="Judge a pair of recordings.")
@click.argument("source", metavar="IN")
@click.argument("answer", metavar="OUT")
@click.option("--channel", type=click.Choice(["left", "right"]), help="Which one, of stereo files.")
@click.option("-o", "aligned", metavar="ALIGNED.wav",
              help="Also write OUT in time with IN: without latency and drift, at IN's rate, 32-bit float.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def check(ctx: click.Context, source: str, answer: str, channel: Literal["left", "right"] | None, aligned: str | None,
          as_json: bool) -> None:
    """Judge what went into a device (IN) and what came out of it (OUT), before an amp is trained on them.

    Tells latency, drift of the clocks, polarity and noise, and each problem with its remedy. WAV, FLAC or AIFF at any
    rate. The exit code is 1 where the pair cannot be trained on.
    """
    from neurig.capture.check import CaptureError, write
    from neurig.capture.check import check as judge

    if aligned and not aligned.lower().endswith(".wav"):
        raise click.UsageError(f"{aligned}: the name has to end in .wav")
    if aligned and Path(aligned).resolve() in (Path(source).resolve(), Path(answer).resolve()):
        raise click.UsageError(f"{aligned}: this is what is judged; give -o another name")
    try:
        report = judge(source, answer, channel)
    except CaptureError as problem:
        raise click.ClickException(str(problem)) from None
    if as_json:
        click.echo(json.dumps(report.as_dict(), ensure_ascii=False, indent=1))
    else:
        _show(report)
    if aligned and report.trainable:
        write(report, aligned)
        click.echo(f"{aligned}: {report.seconds:.2f} s, in time with {source}", err=as_json)
    if not report.trainable:
        if not as_json:
            unwritten = f" {aligned} was not written." if aligned else ""
            click.echo(f"This pair cannot be trained on.{unwritten}", err=True)
        ctx.exit(1)


def _show(report: "Report") -> None:
    lines = [f"peaks        IN {report.input_peak:.1f} dBFS, OUT {report.output_peak:.1f} dBFS"]
    if report.noise_floor is not None:
        lines.append(f"noise floor  {report.noise_floor:.1f} dBFS rms")
    if report.latency is not None:
        lines.append(f"latency      {report.latency:.2f} samples at {report.rate} Hz "
                     f"({1000 * report.latency / report.rate:.3f} ms)"
                     + (f", {report.removed} removed" if report.removed is not None else ""))
        lines.append(f"drift        {report.drift:+.2f} ppm" if report.drift else "drift        none")
        lines.append(f"polarity     {'inverted' if report.polarity == -1 else 'as the input'}")
    if report.repeat_error is not None:
        lines.append(f"repeat       ESR {report.repeat_error:.2g}")
    if report.removed is not None:
        lines.append(f"in common    {report.seconds:.2f} s")
    click.echo("\n".join([*lines, *map(str, report.problems)]))
