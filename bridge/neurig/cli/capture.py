"""``neurig capture``: recordings of a device, to train an amp on."""

import json
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from neurig.capture.check import Report


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
