"""Amps written for other programs: what ``neurig export`` does.

============= ========= ======================================== ===================================================
to            file      played by                                what goes there
============= ========= ======================================== ===================================================
``nam``       .nam      NAM's players                            all of NAM; gated WaveNets; LSTMs without a skip
``wavenetva`` .json     WaveNetVA, PedalNetRT, AmpEmulatorModel  gated WaveNets
``aidax``     .aidax    AIDA-X, RTNeural                         one layer of LSTM or GRU, of certain sizes
``onnx``      .onnx     onnxruntime and others                   NAM's WaveNets and LSTMs; gated WaveNets; LSTMs, GRUs
============= ========= ======================================== ===================================================

Whatever is written is read again and played, and has to sound the same.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from neurig import ModelError
from neurig.convert import gated_wavenet, nam, recurrent
from neurig.files import atomic, share
from neurig.model import Model, load

TARGETS = {"nam": ".nam", "wavenetva": ".json", "aidax": ".aidax", "onnx": ".onnx"}
LARGEST_ERROR = 1e-9  # ESR
_SETTLED = 0.5  # seconds, after which it does not matter any more in which state a model begins
_HEARD = 1.5  # seconds of guitar, that the new file is tried with


@dataclass(frozen=True)
class Export:
    """What was written.

    :ivar path: of the file
    :ivar error: error-to-signal ratio of its answer to a guitar, against the original's
    :ivar notices: sentences about what the new file does not have
    """

    path: Path
    error: float
    notices: tuple[str, ...] = ()


def export(source: str | os.PathLike[str], to: str, target: str | os.PathLike[str] | None = None) -> Export:
    """Writes an amp for another program.

    :param to: one of :data:`TARGETS`
    :param target: the file; where it is None, beside ``source``, with the suffix that the other program expects
    :raises ModelError: where the one cannot be read, or the other has no place for it; the message is ``path: reason``,
        and says what it can be exported to
    :raises OSError: where the file cannot be written; an old file is still there then
    """
    source = Path(source)
    target = Path(target) if target else source.with_suffix(TARGETS[to])
    if target.suffix.lower() != TARGETS[to] and not (to == "aidax" and target.suffix.lower() == ".json"):
        raise ModelError(f"{target}: a file for {to} ends in {TARGETS[to]}")
    if target.exists() and target.samefile(source):
        raise ModelError(f"{target}: this is the model that is to be exported; give -o another name")
    amp = _Amp(source)
    with TemporaryDirectory(prefix="neurig-") as folder:
        try:
            made = Path(folder) / target.name
            notices = amp.write(to, made)
        except ValueError as problem:
            other = [name for name in TARGETS if name != to and amp.goes_to(name, Path(folder))]
            can = f"It can be exported to {_listed(other)}" if other else "There is none that it can be exported to"
            raise ModelError(f"{source}: no way to {to}: {problem}. {can}") from None
        error = _difference(amp.model, load(made))
        if not error <= LARGEST_ERROR:
            raise ModelError(f"{source}: not exported, since the new file sounds otherwise (ESR {error:.1e})")
        with atomic(target) as temporary:
            shutil.copyfile(made, temporary)
    return Export(target, error, notices)


class _Amp:
    """A model that is to be exported.

    :ivar model: as the core plays it
    """

    def __init__(self, source: Path) -> None:
        """:raises ModelError: where it is no amp of a kind that is exported"""
        self.model = load(source)
        self._source = source
        family = self.model.info["family"]
        if not self.model.is_amp:
            raise ModelError(f"{source}: this is a predictor; `neurig convert` writes those")
        if family in ("IR", "ONNX"):
            raise ModelError(f"{source}: {'an impulse response' if family == 'IR' else 'an ONNX graph'} is no network "
                             "whose weights could be written in another way")
        self._file: Mapping[str, Any] = json.loads(source.read_text(encoding="utf-8"))
        self._is_nam = family == "NAM"
        self._recurrent = recurrent.read(self._file, self.model.rate)

    def goes_to(self, to: str, folder: Path) -> bool:
        """Is there a way?"""
        try:
            self.write(to, folder / f"tried{TARGETS[to]}")
        except ValueError:
            return False
        return True

    def write(self, to: str, path: Path) -> tuple[str, ...]:
        """Returns sentences about what is lost.

        :raises ValueError: where there is no way
        """
        return getattr(self, f"_write_{to}")(path)

    def _write_nam(self, path: Path) -> tuple[str, ...]:
        if self._is_nam:
            shutil.copyfile(self._source, path)
        else:
            path.write_text(self._as_nam(), encoding="utf-8")
        return ("its knobs are inputs beside the signal there: few players have them",) if self.model.params else ()

    def _as_nam(self) -> str:
        if self._recurrent:
            return recurrent.to_nam(self._recurrent)
        if gated_wavenet.is_one(self._file):
            return json.dumps(gated_wavenet.to_nam(self._file, self.model.rate, self._metadata)) + "\n"
        raise ValueError(f"NAM has no network such as {self._name}")

    def _write_wavenetva(self, path: Path) -> tuple[str, ...]:
        if not gated_wavenet.is_one(self._file):
            raise ValueError(f"WaveNetVA plays gated WaveNets, and this is {self._name}")
        path.write_text(gated_wavenet.to_wavenetva(self._file, self.model.rate, self._metadata), encoding="utf-8")
        return ()

    def _write_aidax(self, path: Path) -> tuple[str, ...]:
        if not self._recurrent:
            raise ValueError(f"AIDA-X plays an LSTM or a GRU, and this is {self._name}")
        path.write_text(recurrent.to_aidax(self._recurrent), encoding="utf-8")
        return ()

    def _write_onnx(self, path: Path) -> tuple[str, ...]:
        if self._recurrent:
            recurrent.to_onnx(self._recurrent, self._source.name, path)
            return ()
        model = self._file if self._is_nam else json.loads(self._as_nam())
        notice = nam.write_model(model, self._source.name, path)
        return (notice,) if notice else ()

    @property
    def _metadata(self) -> Mapping[str, Any]:
        return self._file.get("metadata") or {}

    @property
    def _name(self) -> str:
        return f"{self.model.info['architecture']} of the family {self.model.info['family']}"


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _difference(one: Model, other: Model) -> float:
    """Error-to-signal ratio of two models' answers to a guitar."""
    from neurig.bench import signal

    rate = one.rate or 48000.0
    played = signal(share("models", "phrase.wav"), _HEARD)
    answers = [model.instance(rate, exact=True).process(played)[int(_SETTLED * rate) :].astype(float)
               for model in (one, other)]
    energy = float(np.sum(answers[0] ** 2))
    return float(np.sum((answers[0] - answers[1]) ** 2)) / energy if energy else float(np.any(answers[1]))
