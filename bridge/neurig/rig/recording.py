"""Recordings: from a recorder's ring on the audio thread into a file, by a thread of its own."""

import threading
import time
from collections.abc import Callable
from typing import Any

import soundfile

from neurig._core import ffi, lib
from neurig.files import unused
from neurig.rig.errors import RigError

_CHUNK = 16384  # samples
_LONGEST = (1 << 30) - (1 << 16)  # samples of a file: the lengths in a WAV's head have 32 bits, in bytes
_SAVED_EVERY = 1.0  # seconds: the file is whole up to then, whatever happens to the process


class Recording:
    """One recording; WAV, 32 bit float, one channel.

    :ivar path: of the file; where that is as long as a WAV can be, it goes on in others, with numbers added to the name
    :ivar frames: written so far, in this process
    :ivar problem: why it ended early, in plain words; empty where it did not
    """

    def __init__(self, kernel: Any, keep: Any, path: str, rate: int, length: float, resume: bool,
                 ended: Callable[["Recording"], None]) -> None:
        """:param keep: what keeps the kernel alive
        :param length: seconds; 0: until it is stopped
        :param resume: go on with the file where it ends
        :param ended: is called on the recording's thread when the file is closed
        :raises RigError: where the file cannot be written
        """
        self.path = path
        self.frames = 0
        self.problem = ""
        self._kernel, self._keep, self._ended = kernel, keep, ended
        try:
            self._file = self._open(path) if resume else self._make(path, rate)
        except (OSError, soundfile.LibsndfileError) as problem:
            reason = getattr(problem, "strerror", None) or getattr(problem, "error_string", None) or str(problem)
            raise RigError("bad_file", f"{path}: {reason}") from None
        lib.neurig_node_record(kernel, round(length * rate) if length else -1)
        self._thread = threading.Thread(target=self._run, name="recording")
        self._thread.start()

    def stop(self) -> None:
        """Ends the recording; ``ended`` is called soon."""
        lib.neurig_node_record_stop(self._kernel)

    def wait(self, seconds: float) -> None:
        """Until the file is closed."""
        self._thread.join(seconds)

    def _make(self, path: str, rate: int) -> soundfile.SoundFile:
        soundfile.SoundFile(path, "x", rate, 1, "FLOAT", format="WAV").close()
        return self._open(path)

    def _open(self, path: str) -> soundfile.SoundFile:
        file = soundfile.SoundFile(path, "r+")
        file.seek(0, soundfile.SEEK_END)
        return file

    def _run(self) -> None:
        try:
            self._write()
        except Exception as problem:  # a full disk shows in many ways
            lib.neurig_node_record_stop(self._kernel)
            self.problem = f"{type(problem).__name__} {problem}"
        lost = lib.neurig_node_record_lost(self._kernel)
        if lost and not self.problem:
            self.problem = f"the disk was too slow: {lost} samples are missing"
        self._ended(self)

    def _write(self) -> None:
        samples = ffi.new("float[]", _CHUNK)
        saved = time.monotonic()
        while True:
            more = lib.neurig_node_recording(self._kernel)  # asked first: what is recorded after is read next time
            count = lib.neurig_node_record_read(self._kernel, samples, _CHUNK)
            if self._file.frames + count > _LONGEST:
                self._file.close()
                self._file = self._make(unused(self.path), self._file.samplerate)
            self._file.buffer_write(ffi.buffer(samples, count * ffi.sizeof("float")), "float32")
            self.frames += count
            if not more and not count:
                break
            if time.monotonic() > saved + _SAVED_EVERY:
                self._file.close()  # writes the length into the file's head
                self._file = self._open(self._file.name)
                saved = time.monotonic()
            if count < _CHUNK:
                time.sleep(0.03)
        self._file.close()
