"""Recordings written as WAV files."""

import errno
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray


def write(path: Path, samples: NDArray[np.floating], rate: int, subtype: str, comment: str = "") -> None:
    """Writes a mono WAV file.

    :param path: where a file may be made
    :param samples: shape (n,), full scale at 1
    :param rate: Hz
    :param subtype: ``"PCM_24"`` or ``"FLOAT"``
    :raises OSError: where the disk is full
    """
    try:
        with soundfile.SoundFile(path, "w", rate, 1, subtype, format="WAV") as file:
            if comment:
                file.comment = comment
            file.write(samples)
    except soundfile.LibsndfileError:  # it does not say why; but the file could be made
        reason = "the disk is full, or a file may not be that large here"
        raise OSError(errno.ENOSPC, reason, str(path)) from None
