"""``neurig info`` and ``neurig convert``: what model files are, and how to change them into others."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from neurig.model import Model

_HOST_RATES = (44100, 48000, 96000)  # Hz, for which the latency is told


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="All of it, for programs.")
def info(model: str, as_json: bool) -> None:
    """Tell what MODEL is: an amp or a predictor, its sizes, its knobs, and what its maker noted."""
    from neurig.model import load

    loaded = load(model)
    about = {"path": model} | loaded.info
    if loaded.is_amp:
        about["latency"] = _latency(loaded)
    if as_json:
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
        return
    rows = list(_facts(about))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        line = f"{name:<{width}}  {value}"
        click.echo("".join(letter if letter.isprintable() else " " for letter in line))  # files may hold anything


def _latency(model: "Model") -> dict[str, int]:
    """By sample rate of the host in Hz, the samples by which an amp lags behind."""
    from neurig import ModelError

    latency = {}
    for rate in sorted({*_HOST_RATES, round(model.rate)}):
        with suppress(ModelError):  # too far from the model's own rate
            latency[str(rate)] = model.instance(rate).latency
    return latency


def _facts(about: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of what ``info`` shows, in words and units that are read without knowing the format."""
    for name in ("path", "kind", "family", "architecture"):
        yield name, about[name]
    if rate := about.get("sample_rate"):
        yield "sample rate", f"{rate:g} Hz"
    if "receptive_field" in about:
        frames = about["receptive_field"]
        length = f" ({1000 * frames / rate:.1f} ms)" if frames and rate else ""
        yield "receptive field", f"{_samples(frames)}{length}" if frames else "without end"
    for name in ("dimension", "units", "layers", "mixtures", "weights", "sizes"):
        if name in about:
            yield name, f"{about[name]:,}"
    if "macs" in about:
        yield "cost", f"{about['macs']:,} multiply-adds per {'sample' if about['kind'] == 'amp' else 'frame'}"
    if latency := about.get("latency"):
        rates = (f"{_samples(lag) if lag else 'none'} at {rate} Hz" for rate, lag in latency.items())
        yield "latency", ", ".join(rates) if any(latency.values()) else "none"
    if "self_check" in about:
        yield "self-check", f"ESR {about['self_check']:.1e} against the output that the file carries"
    if "warning" in about:
        yield "warning", about["warning"]
    for param in about.get("params", ()):
        yield f"knob {param['name']}", f"{param['low']:g} to {param['high']:g}, {param['default']:g} at first"
    metadata = about.get("metadata")
    for name, value in metadata.items() if isinstance(metadata, dict) else ():
        if name == "date" and isinstance(value, dict) and {"year", "month", "day"} <= value.keys():
            value = "{year}-{month}-{day}".format_map(value)
        if isinstance(value, (str, int, float)) and value != "" and value != about.get(name):
            text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
            yield name.replace("_", " "), text


def _samples(count: int) -> str:
    return f"{count} sample{'s' * (count != 1)}"


@click.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="[OUT]", required=False)
def convert(source: str, target: str | None) -> None:
    """Convert the model IN to OUT, whose name says the format. Without OUT a .mdrnn file is written beside IN.

    \b
    predictors    .mdrnn .h5 .keras .tflite              to  .mdrnn .h5 .keras .tflite .onnx
    amps of NAM   .nam                                   to  .onnx
    checkpoints   .ckpt (AmpEmulatorModel, PedalNetRT)   to  .json

    What is written as .h5, .keras or .tflite is for IMPSY, .onnx for onnxruntime and everything else that runs ONNX.
    Checkpoints take PyTorch; TensorFlow is never needed.
    """
    from neurig import convert

    written = Path(target) if target else Path(source).with_suffix(".mdrnn")
    if written.exists() and written.samefile(source):
        raise click.UsageError(f"{written}: this is the file that is to be converted; give OUT another name")
    done = convert.convert(source, written)
    for notice in done.notices:
        click.echo(f"{source}: {notice}", err=True)
    click.echo(f"{written}: {done.summary}")


@click.command(short_help="Write an amp for another program.")
@click.argument("model")
@click.option("--to", type=click.Choice(["nam", "wavenetva", "aidax", "onnx"]), required=True, help="For whom.")
@click.option("-o", "target", metavar="FILE", help="The new file.  [default: beside MODEL]")
def export(model: str, to: str, target: str | None) -> None:
    """Write the amp MODEL as a file that another program plays.

    \b
    nam        .nam    NAM's players: NAM's own, gated WaveNets, LSTMs
    wavenetva  .json   WaveNetVA, PedalNetRT, AmpEmulatorModel: gated WaveNets
    aidax      .aidax  AIDA-X, RTNeural: one layer of LSTM or GRU
    onnx       .onnx   onnxruntime: NAM's WaveNets, gated WaveNets, LSTMs, GRUs

    The new file is read again and played, and has to sound the same. Where MODEL cannot be played there, it is said
    why, and where it can be.
    """
    from neurig.convert.export import export as write

    done = write(model, to, target)
    for notice in done.notices:
        click.echo(f"{model}: {notice}", err=True)
    click.echo(f"{done.path}: sounds the same (ESR {done.error:.1e})")
