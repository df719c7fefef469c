"""What keeps a training over an interruption, a kill at any moment included."""

import io
import time
from abc import ABC, abstractmethod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from neurig.files import atomic
from neurig.training import TrainingError


class Resumable(ABC):
    """A training that stands in a file now and then. Those that derive from it say what that is."""

    def __init__(self, checkpoint: Path | None, identity: dict[str, Any], device: str = "cpu",
                 share: float = 0.05) -> None:
        """:param checkpoint: the file; ``None``: there is none
        :param identity: only a training that is equal in all of this goes on from another's checkpoint
        :param share: of the time that writing may take, at most
        """
        self.checkpoint, self.device = checkpoint, device
        self._identity, self._share = identity, share
        self._saved, self._saving = time.monotonic(), 0.0

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Where the training stands."""

    @abstractmethod
    def _restore(self, state: dict[str, Any]) -> None:
        """Goes to where another one stood."""

    def save(self) -> None:
        """Writes the checkpoint, if there is to be one: at any moment the file is the old one or the new one, whole.

        :raises OSError: where it cannot be written
        """
        if self.checkpoint is None:
            return
        began = time.monotonic()
        with atomic(self.checkpoint) as temporary:
            torch.save({"identity": self._identity, **self._state()}, temporary)
        self._saved = time.monotonic()
        self._saving = self._saved - began

    def save_now_and_then(self) -> None:
        if time.monotonic() - self._saved > max(1.0, self._saving / self._share):
            self.save()

    def resume(self) -> str:
        """Goes on from the checkpoint.

        :returns: empty where it does, else why the training begins anew
        :raises TrainingError: where the file is broken
        :raises OSError: where it cannot be read
        """
        if self.checkpoint is None or not self.checkpoint.exists():
            return f"{self.checkpoint or 'a checkpoint'} is missing"
        file = io.BytesIO(self.checkpoint.read_bytes())
        try:
            content = torch.load(file, map_location=self.device, weights_only=True)  # which admits no code
            if content["identity"] != self._identity:
                changed = [name for name, value in self._identity.items() if content["identity"].get(name) != value]
                return f"the one in {self.checkpoint} had another {' and '.join(changed)}"
            self._restore(content)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OSError, EOFError,
                UnpicklingError) as problem:
            reason = str(problem).partition("\n")[0].partition(". ")[0]
            raise TrainingError(f"{self.checkpoint}: this is no whole checkpoint ({reason}). --restart begins "
                                "anew") from None
        return ""
