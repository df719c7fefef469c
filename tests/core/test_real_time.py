"""Processing neither allocates nor locks, for every architecture, at every block size, with and without conversion."""

import subprocess
from pathlib import Path

import numpy as np

from core import models
from core.programs import build_step
from core.test_models import WAVENETS
from core.test_sequential import EVERY_KIND


def test_no_allocation_no_lock(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("standard", "gated", "odd sizes"):
        arrays = WAVENETS[name]
        file = models.model_file("WaveNet", {"layers": arrays}, models.wavenet_weights(arrays, rng))
        (tmp_path / f"{name} WaveNet.nam").write_text(file)
    config = {"input_size": 1, "hidden_size": 20, "num_layers": 2}
    (tmp_path / "LSTM.nam").write_text(models.model_file("LSTM", config, models.lstm_weights(20, 2, rng)))
    linear = models.model_file("Linear", {"receptive_field": 500, "bias": True}, rng.normal(0, 0.1, 501))
    (tmp_path / "Linear.nam").write_text(linear)
    for name, text in EVERY_KIND.items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "MDRNN.mdrnn").write_text(models.mdrnn_file(9, 64, 2, 5, rng))
    files = sorted(str(path) for path in tmp_path.iterdir())

    step, program = build_step(), tmp_path / "real_time"
    source = Path(__file__).with_name("real_time.cpp")
    include = [f"-I{folder}" for folder in step.INCLUDE]
    subprocess.run([*step.compiler(), "-std=gnu++17", "-O1", *include, str(source), *map(str, step.core()),
                    "-o", str(program), *step.LINK], check=True, timeout=240)  # fmt: skip
    done = subprocess.run([str(program), *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    modes = 5  # of the predictor's session; all other files are amps, and an impulse response is one
    assert done.stdout.count(": 0\n") == 1 + modes + 15 * len(files), done.stdout
