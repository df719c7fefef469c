"""The comparison of a model with its device as one file: figures, pictures and, in HTML, the sound.

It needs matplotlib: ``pip install neurig[train]``."""

import io
import math
import os
from base64 import b64encode
from html import escape
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap

import numpy as np
import soundfile

from neurig.evaluation import Evaluation, EvaluationError
from neurig.evaluation.spectra import Signal
from neurig.files import atomic, write_atomic

_SUFFIXES = (".html", ".htm", ".pdf")
_HEARD = 20  # seconds of sound in a report, so that it can be sent by mail
_LOUD = 0.9  # the peak that what is made louder gets
_QUIET = 0.5  # a difference below that peak can be heard louder, too

_FIGURES = {  # by the metrics' names: what to call them, and what they are
    "esr": ("ESR", "error-to-signal ratio: the error's energy over the target's"),
    "esr_preemphasis": ("ESR, pre-emphasised", "the same with highs emphasised: closer to the ear"),
    "mae": ("MAE", "mean absolute error, full scale at 1"),
    "mrstft": ("MR-STFT", "multi-resolution STFT loss: how far the spectra are apart"),
}


def require(path: str | os.PathLike[str]) -> None:
    """To be asked before the work begins.

    :raises EvaluationError: where no report can be made under that name, or matplotlib is not installed
    """
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise EvaluationError(f"{path}: a report's name ends in .html or .pdf, which says what it is")
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise EvaluationError(f"{path}: {'this is a folder' if Path(path).is_dir() else 'its folder does not exist'}")
    if find_spec("matplotlib") is None:
        raise EvaluationError("a report needs matplotlib, which is not installed: pip install 'neurig[train]'")


def write(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Writes the report. The file appears when it is complete.

    :param path: ends in ``.html``: one page that needs nothing else, with players for 20 seconds around the loudest
        point; or in ``.pdf``: the figures and pictures
    :raises EvaluationError: as :func:`require`
    :raises OSError: where the file cannot be written
    """
    require(path)
    if Path(path).suffix.lower() == ".pdf":
        _write_pdf(evaluation, path)
    else:
        write_atomic(path, _html(evaluation))


def facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was compared, for the head of a report: names and values."""
    rate = evaluation.model.rate
    return [
        ("model", f"{evaluation.name} ({evaluation.model.info['family']}{f', {rate:.0f} Hz' if rate else ''})"),
        ("input", evaluation.source.name),
        ("target", evaluation.recorded.name),
        ("compared", f"{evaluation.seconds:.2f} s at {evaluation.rate} Hz"),
        ("delay", f"{evaluation.delay:+.2f} samples"),
    ]


def in_words(evaluation: Evaluation) -> list[tuple[str, str, str, str]]:
    """The figures for people: what each is called, its value, for ratios of energy in per cent and dB, too, and what it
    is."""
    rows = []
    for name, (title, text) in _FIGURES.items():
        value = evaluation.metrics[name]
        ratio = f"{100 * value:.3g} %, {10 * math.log10(value):.1f} dB" if name.startswith("esr") and value else ""
        rows.append((title, f"{value:.3g}", ratio, text))
    return rows


def _title(evaluation: Evaluation) -> str:
    return f"How near {evaluation.name} comes to its device"


def _html(evaluation: Evaluation) -> str:
    from neurig.evaluation.pictures import pictures, style

    tiles = "\n".join(f'<div class="tile"><b>{title}</b><strong>{value}</strong><em>{ratio}</em>'
                      f"<span>{text}</span></div>"
                      for title, value, ratio, text in in_words(evaluation))
    head = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts(evaluation))
    notices = "\n".join(f'<p class="notice">{escape(notice)}</p>' for notice in evaluation.notices)
    sections = []
    with style():
        for picture in pictures(evaluation):
            drawn = io.BytesIO()
            picture.figure.savefig(drawn, format="svg", dpi=150, metadata={"Date": None})
            sections.append(
                f'<section id="{picture.name}">\n<h2>{escape(picture.title)}</h2>\n<p>{escape(picture.text)}</p>\n'
                f'<img alt="{escape(picture.title)}" src="{_data("image/svg+xml", drawn.getvalue())}">\n</section>')
    title = escape(_title(evaluation))
    return "\n".join([
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>",
        f"<dl>\n{head}\n</dl>", notices, f'<div class="tiles">\n{tiles}\n</div>', _players(evaluation), *sections,
        f"</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n",
    ])


def _players(evaluation: Evaluation) -> str:
    """The section with the sound: the part around the loudest point, all as loud against each other as they are."""
    length = min(len(evaluation.target), _HEARD * evaluation.rate)
    loudest = int(np.argmax(np.abs(evaluation.target)))
    first = min(max(0, loudest - length // 2), len(evaluation.target) - length)
    part = slice(first, first + length)
    target, prediction = evaluation.target[part], evaluation.prediction[part]
    error = prediction - target
    heard = [("target", "what the device made", target), ("prediction", "what the model made", prediction),
             ("difference", "prediction less target, as loud as it is", error)]
    gain = min(1.0, _LOUD / max(float(np.abs(signal).max()) for _, _, signal in heard))
    heard = [(name, text, signal * gain) for name, text, signal in heard]
    peak = float(np.abs(error).max()) * gain
    if 0 < peak < _QUIET:
        raised = _LOUD / peak
        text = f"the same, raised by {20 * np.log10(raised):.0f} dB"
        heard.append(("difference, louder", text, error * gain * raised))
    lowered = f" All are lowered by {-20 * np.log10(gain):.1f} dB, so that nothing clips." if gain < 1 else ""
    players = "\n".join(
        f'<div class="player"><b>{name}</b><span>{text}</span>'
        f'<audio controls preload="metadata" src="{_data("audio/flac", _flac(signal, evaluation.rate))}"></audio></div>'
        for name, text, signal in heard)
    span = f"{first / evaluation.rate:.1f} to {(first + length) / evaluation.rate:.1f} s of the recording."
    return (f'<section id="listen">\n<h2>Listen</h2>\n<p>{span} Press play on another one, and it goes on where the '
            f"first one was: so the ear compares.{lowered}</p>\n{players}\n</section>")


def _flac(signal: Signal, rate: int) -> bytes:
    written = io.BytesIO()
    soundfile.write(written, signal.clip(-1, 1), rate, "PCM_16", format="FLAC")
    return written.getvalue()


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _write_pdf(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    from neurig.evaluation.pictures import pictures, style

    with style(), atomic(path) as temporary, PdfPages(temporary, metadata={"Title": evaluation.name}) as pages:
        front = Figure(figsize=(10.5, 5))
        front.text(0.06, 0.88, _title(evaluation), size=18, weight="bold", parse_math=False)
        y = 0.78
        for name, value in facts(evaluation):
            front.text(0.06, y, name, color="#868e96")
            front.text(0.18, y, value, parse_math=False)
            y -= 0.05
        y -= 0.04
        for title, value, ratio, text in in_words(evaluation):
            front.text(0.06, y, title, weight="bold")
            front.text(0.25, y, value, weight="bold", color="#20639b")
            front.text(0.36, y, ratio)
            front.text(0.54, y, text, color="#868e96")
            y -= 0.06
        for line in (line for notice in evaluation.notices for line in wrap(notice, 120)):
            front.text(0.06, y, line, color="#b7791f", parse_math=False)
            y -= 0.045
        pages.savefig(front)
        for picture in pictures(evaluation):
            picture.figure.suptitle(picture.title, size=13, weight="bold", x=0.01, ha="left")
            pages.savefig(picture.figure, dpi=150)


_CSS = """
body { margin: 0; background: #f1f3f5; color: #343a40; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 28px; margin: 8px 0 12px; }
h2 { font-size: 19px; margin: 0 0 2px; }
p { margin: 0 0 12px; color: #495057; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0 0 18px; }
dt { color: #868e96; }
dd { margin: 0; overflow-wrap: anywhere; }
section, .tile { background: white; border-radius: 10px; box-shadow: 0 1px 3px #0001; }
section { padding: 18px 20px; margin: 18px 0; }
section img { width: 100%; height: auto; display: block; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 14px; }
.tile { padding: 14px 18px; display: flex; flex-direction: column; }
.tile strong { font-size: 25px; line-height: 1.35; color: #20639b; }
.tile em { font-style: normal; }
.tile span { font-size: 14px; color: #868e96; }
.notice { background: #fff3bf; border-left: 4px solid #f08c00; border-radius: 4px; padding: 8px 14px; }
.player { display: grid; grid-template-columns: 170px minmax(0, 1fr) minmax(240px, 400px); gap: 14px;
  align-items: center; padding: 4px 0; }
.player span { color: #868e96; }
.player audio { width: 100%; height: 40px; }
@media (max-width: 700px) { .player { grid-template-columns: 1fr; gap: 0; } }
@media print {
  body { background: white; }
  section { break-inside: avoid; box-shadow: none; }
  #listen { display: none; }
}
"""

_SCRIPT = """
const players = [...document.querySelectorAll("audio")];
let heard = null;  // the one that played last
for (const player of players) player.addEventListener("play", () => {
  if (heard && heard !== player) { player.currentTime = heard.ended ? 0 : heard.currentTime; heard.pause(); }
  heard = player;
});
"""
