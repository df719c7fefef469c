"""The compiled training kernel against PyTorch's autograd, and the exported files against the core that plays them."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from core.test_neon import EMULATOR, build
from training import gradients
from training.gradients import BATCHES, NETWORKS, batch, relative, untrained

import neurig
from neurig._core import ffi, lib
from neurig.training.kernel import fused
from neurig.training.networks import architectures, network

MOST = 1e-5  # relative error of a gradient


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# ---- Gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BATCHES, ids=lambda size: "{}x{}-{}".format(*size))
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient(name: str, size: tuple[int, int, int]) -> None:
    output, gradient = gradients.errors(name, *size)
    assert output < 3e-6
    assert gradient < MOST


def instructions() -> list[str]:
    """What this processor can do less than its best."""
    flags = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    return ["baseline"] * (" avx2 " in flags) + ["avx2"] * (" avx512vl " in flags)


@pytest.mark.parametrize("simd", instructions())
def test_gradient_with_fewer_instructions(simd: str) -> None:
    environment = os.environ | {"NEURIG_SIMD": simd, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, gradients.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == len(NETWORKS) * len(BATCHES)
    assert not [case for case in cases if not (case["output"] < 3e-6 and case["gradient"] < MOST)]


@pytest.fixture(scope="module")
def neon() -> Path:
    return build("learn")


NEON = ["feather with a knob", "gated nano with knobs", "a2-lite", "wavenet2", "lstm-16", "gru-40"]


@pytest.mark.parametrize("name", NEON)
def test_gradient_with_neon(name: str, neon: Path, tmp_path: Path) -> None:
    """As far as an emulator is a processor."""
    module = untrained(name)
    signals, outputs, threads = 3, 41, 2
    x, gradient = batch(module, signals, outputs)
    (tmp_path / "description").write_text(json.dumps(module.description()))
    given = torch.cat([module.weights.detach(), x.flatten(), gradient.flatten()]).numpy()
    given.tofile(tmp_path / "in")
    done = subprocess.run([EMULATOR, neon, tmp_path / "description", str(signals), str(x.shape[2]), str(threads),
                           tmp_path / "in", tmp_path / "out"], capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = torch.from_numpy(np.fromfile(tmp_path / "out", np.float32))
    module.double()
    exact = module(x.double())
    (wanted,) = torch.autograd.grad(exact, module.weights, gradient.double())
    assert relative(result[: exact.numel()].view_as(exact), exact.detach()) < 3e-6
    assert relative(result[exact.numel() :], wanted) < MOST


def passed(name: str, signals: int, outputs: int, threads: int) -> tuple[torch.Tensor, torch.Tensor]:
    module = untrained(name)
    x, gradient = batch(module, signals, outputs)
    y = fused(module, threads)(x)
    return y.detach(), torch.autograd.grad(y, module.weights, gradient)[0]


@pytest.mark.parametrize("name", ["standard", "a2-full", "gated nano with knobs", "wavenet2", "lstm-3x18", "gru-40"])
@pytest.mark.parametrize("signals", [16, 50])
def test_threads_agree(name: str, signals: int) -> None:
    """The outputs to the last bit, as nothing is summed in another order; the gradients as far as that goes."""
    output, gradient = passed(name, signals, 200, 1)
    for threads in (2, 3, 4, 7):
        for _ in range(2):
            other, other_gradient = passed(name, signals, 200, threads)
            assert torch.equal(other, output)
            assert relative(other_gradient, gradient) < MOST
        assert torch.equal(passed(name, signals, 200, threads)[1], other_gradient)


# ---- Files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_export_plays(name: str, tmp_path: Path) -> None:
    """The exported file in the core against PyTorch, from silence on."""
    module = untrained(name)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(module.export({"name": "a test", "sample_rate": 44100})))
    model = neurig.load(path)
    assert model.rate == 44100
    instance = model.instance(44100)
    knobs = [0.2 + 0.1 * n for n in range(module.inputs - 1)]
    for n, value in enumerate(knobs):
        instance.set(n, value)
    silence = 30000  # in which the state settles, and the knobs arrive
    signal = np.concatenate([np.zeros(silence), np.random.default_rng(0).normal(0, 0.3, 3000)]).astype(np.float32)
    got = instance.process(signal)[silence:]
    inputs = [signal, *(np.full_like(signal, value) for value in knobs)]
    with torch.no_grad():
        wanted = module.double()(torch.from_numpy(np.stack(inputs)).double()[None])[0, -len(got) :].numpy()
    assert np.sum((got - wanted) ** 2) < 1e-10 * np.sum(wanted**2)


# ---- Recurrent networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lstm-16", "lstm-3x18", "gru-40", "gru-2x5 with a knob"])
def test_truncated_back_propagation(name: str) -> None:
    module, run = untrained(name), None
    run = fused(module)
    x, gradient = batch(module, 18, 60)
    ours = theirs = None
    for part in (slice(0, 25), slice(25, 26), slice(26, 60)):
        y, ours = run.step(x[:, :, part], ours)
        (got,) = torch.autograd.grad(y, module.weights, gradient[:, part])
        exact, theirs = module.step(x[:, :, part], theirs)
        (wanted,) = torch.autograd.grad(exact, module.weights, gradient[:, part])
        theirs = theirs.detach()
        assert not ours.requires_grad
        assert relative(y, exact) < 1e-5
        assert relative(ours, theirs) < 1e-5
        assert relative(got, wanted) < MOST
    assert relative(run(x)[:, 26:], y) < 1e-6  # in one go


def test_state_is_left_alone() -> None:
    run = fused(untrained("lstm-16"))
    state = run.module.state(2)
    run.step(torch.ones(2, 1, 5), state)
    assert not state.any()


# ---- What can go wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["feather", "a2-lite", "relu lite", "wavenet2", "lstm-16", "gru-40"])
def test_no_number(name: str) -> None:
    """A signal with one in it is none where PyTorch's is none, the others are what they are, and the gradient tells."""
    module = untrained(name)
    x, gradient = batch(module, 5, 40)
    x[2, 0, 20] = torch.nan
    y = fused(module)(x)
    exact = module(x)
    assert torch.equal(y.isnan(), exact.isnan())
    assert y[2].isnan().any()
    assert torch.allclose(y[[0, 1, 3, 4]], exact[[0, 1, 3, 4]], rtol=1e-4, atol=1e-6)
    (got,) = torch.autograd.grad(y, module.weights, gradient)
    assert got.isnan().any()
    assert fused(module)(x[:2]).isfinite().all()


@pytest.mark.parametrize("name", ["feather", "lstm-16"])
def test_empty_batch(name: str) -> None:
    module = untrained(name)
    y = fused(module)(torch.zeros(0, 1, 5000))
    assert y.shape == module(torch.zeros(0, 1, 5000)).shape
    y.sum().backward()
    assert not module.weights.grad.any()


def test_bad_input_is_refused() -> None:
    module = untrained("feather")
    run = fused(module)
    for x, words in [(torch.zeros(1, 1, 4092), "4092 samples are fewer than the 4093 of the receptive field"),
                     (torch.zeros(1, 2, 5000), r"must be \(batch, 1, samples\)"),
                     (torch.zeros(1, 5000), r"must be \(batch, 1, samples\)"),
                     (torch.zeros(1, 1, 5000).double(), "float64"),
                     (torch.zeros(1, 1, 5000, requires_grad=True), "no gradient for the input")]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            run(x)
    with pytest.raises(ValueError, match="has no state"):
        run.step(torch.zeros(1, 1, 5000), None)
    lstm = fused(untrained("lstm-16"))
    with pytest.raises(ValueError, match="detach"):
        lstm.step(torch.zeros(1, 1, 5), lstm.module.state(1).requires_grad_())
    with pytest.raises(ValueError, match="the state has shape"):
        lstm.step(torch.zeros(1, 1, 5), lstm.module.state(2))
    with pytest.raises(ValueError, match="0 samples are fewer"):
        lstm(torch.zeros(1, 1, 0))
    with pytest.raises(ValueError, match="threads must be 1 to 256"):
        fused(module, 1000)(torch.zeros(1, 1, 5000))


def test_what_cannot_be_fused_is_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        fused(untrained("nano").double())
    module = untrained("nano")
    for key, value in [("bottleneck", 2), ("activation", "SiLU"), ("gating_mode", "blended"), ("groups_input", 2),
                       ("conv_pre_film", {"active": True}), ("layer1x1", {"active": False})]:  # fmt: skip
        config = json.loads(json.dumps(module.config))
        config["layers"][0][key] = value
        changed = untrained("nano")
        changed.config = config
        with pytest.raises(ValueError, match="the compiled kernel cannot run this network: config.layers"):
            fused(changed)


def test_unknown_networks() -> None:
    for name in ("huge", "lstm", "lstm-0", "lstm-300", "gru-4x", "standard "):
        with pytest.raises(ValueError, match=name.strip()):
            network(name)
    with pytest.raises(ValueError, match=", ".join(architectures())):
        network("huge")
    with pytest.raises(ValueError, match="no option gated"):
        network("lstm-16", gated=True)
    with pytest.raises(ValueError, match="'Swish' is not known"):
        network("feather", activation="Swish")


def test_several_passes_at_once() -> None:
    """Each forward pass keeps its own memory until it is gone back through."""
    module = untrained("nano")
    run = fused(module)
    x, gradient = batch(module, 20, 50)
    parts = [run(x[:7]), run(x[7:])]
    (both,) = torch.autograd.grad(torch.cat(parts), module.weights, gradient)
    (whole,) = torch.autograd.grad(run(x), module.weights, gradient)
    assert relative(both, whole) < 1e-6


def test_once_only() -> None:
    module = untrained("nano")
    loss = fused(module)(batch(module, 1, 10)[0]).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="gone back through already"):
        loss.backward()


def test_alone_it_has_the_threads() -> None:
    fused_ = fused(network("feather"))
    torch.set_num_threads(3)
    with pytest.raises(KeyError), fused_.alone():
        assert (torch.get_num_threads(), fused_.thread_count()) == (1, 3)
        raise KeyError
    assert (torch.get_num_threads(), fused_.thread_count(), fused_.threads) == (3, 3, None)


def test_memory_is_used_again() -> None:
    """Also that of a pass which nobody goes back through, and where the loss of the last step is still there."""
    module = untrained("nano")
    run = fused(module)
    x, _ = batch(module, 4, 30)
    made = []
    borrow = run.borrow

    def counted() -> object:
        made.append(not run._free)
        return borrow()

    run.borrow = counted
    for _ in range(5):
        loss = run(x).sum()
        loss.backward()
    with torch.no_grad():
        run(x)
    run(x).sum()
    gc.collect()
    run(x)
    assert sum(made) == 1


# ---- What it takes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "times"), [("feather", 4), ("standard", 2), ("lstm-16", 1.5)])
def test_quicker_than_pytorch(name: str, times: float) -> None:
    """By the CPU time of the quickest of a few steps, in turn; it is two to three times what is asked for."""
    module = untrained(name)
    run = fused(module)
    x, gradient = batch(module, 16, 2048)
    best = {}
    for _ in range(4):
        for who in (run, module):
            began = time.process_time()
            torch.autograd.grad(who(x), module.weights, gradient)
            best[who] = min(best.get(who, np.inf), time.process_time() - began)
    print(f"{name}: {best[run] * 1e3:.1f} ms a step, PyTorch {best[module] * 1e3:.1f} ms")
    assert times * best[run] < best[module]


def test_memory() -> None:
    """All of a training of the largest network, PyTorch among it."""
    program = """
import re, torch
from pathlib import Path
from neurig.training.kernel import fused
from neurig.training.networks import network
module = network("standard")
run = fused(module)
for _ in range(2):
    run(torch.zeros(16, 1, module.receptive_field - 1 + 8192)).sum().backward()
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1 << 20  # KiB


def spoiled(description: object, random: np.random.Generator) -> object:
    """A copy with something else in one place."""
    if isinstance(description, (dict, list)) and description and random.random() < 0.9:
        copy = json.loads(json.dumps(description))
        key = random.choice(list(copy)) if isinstance(copy, dict) else int(random.integers(len(copy)))
        copy[key] = spoiled(copy[key], random)
        return copy
    others = [None, True, -1, 0, 2, 1024, 10**9, 10**30, 0.5, "", "Tanh", "no", [], {}, [1], [[]], {"active": True}]
    return others[random.integers(len(others))]


@pytest.mark.parametrize("name", ["feather", "a2-lite", "wavenet2", "wavenet2 with a knob", "lstm-3x18", "gru-40"])
def test_wrong_descriptions(name: str) -> None:
    """Whatever is wrong with it: one line that says so, or a network that runs."""
    module, random = untrained(name), np.random.default_rng(3)
    description, refused, run = module.description(), 0, 0
    for _ in range(300):
        wrong = json.dumps(spoiled(description, random)).encode()
        error = ffi.new("char[]", 512)
        learner = lib.neurig_learner_new(wrong, error, 512)
        if learner == ffi.NULL:
            refused += 1
            said = ffi.string(error).decode()
            assert said
            assert "json.exception" not in said, wrong
            continue
        learner = ffi.gc(learner, lib.neurig_learner_free)
        count, field = lib.neurig_learner_weights(learner), lib.neurig_learner_receptive_field(learner)
        inputs, samples = lib.neurig_learner_inputs(learner), field + 2
        if count > 20000 or samples > 20000:
            continue
        weights, x = (np.full(size, 0.01, np.float32) for size in (count, inputs * samples))
        y, gradients = np.full(3, np.nan, np.float32), np.full(count, np.nan, np.float32)
        one_pass = ffi.gc(lib.neurig_pass_new(learner, error, 512), lib.neurig_pass_free)
        w, given, taken, changes = (ffi.from_buffer("float[]", array) for array in (weights, x, y, gradients))
        assert lib.neurig_pass_forward(one_pass, w, given, 1, samples, ffi.NULL, taken, 2, error, 512) == 0
        assert lib.neurig_pass_backward(one_pass, taken, changes, 2, error, 512) == 0
        assert np.isfinite(y).all() and np.isfinite(gradients).all()
        run += 1
    assert refused > 100
    assert run > 3
