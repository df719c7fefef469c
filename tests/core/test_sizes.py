"""Models that come in several sizes: containers of models, and WaveNets that are sliced."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurig
from core import models
from core.seeds import filled
from neurig.model import Model, parse

RATE = 48000
LIMITS = [0.3, 0.6, 1.0]
CHANNELS = [2, 3, 5]


def submodel(channels: int, rate: int = RATE) -> dict[str, Any]:
    """The file of a WaveNet that remembers 127 samples."""
    arrays = [models.layer_array(1, channels, 1, [1, 2, 4, 8, 16, 32], activation="ReLU")]
    weights = models.wavenet_weights(arrays, np.random.default_rng(channels), scale=0.5)
    return json.loads(models.model_file("WaveNet", {"layers": arrays}, weights, sample_rate=rate))


def container(**changes: Any) -> dict[str, Any]:
    entries = [{"max_value": limit, "model": submodel(n)} for limit, n in zip(LIMITS, CHANNELS, strict=True)]
    return {"version": "0.7.0", "architecture": "SlimmableContainer", "config": {"submodels": entries}, "weights": [],
            "sample_rate": RATE} | changes  # fmt: skip


def sliced(**changes: Any) -> dict[str, Any]:
    """A WaveNet of five channels, of which two or three suffice."""
    file = submodel(5)
    sizes = {"method": "slice_channels_uniform", "kwargs": {"allowed_channels": [2, 3, 5]}}
    file["config"]["layers"][0]["slimmable"] = sizes | changes
    return file


def model(file: dict[str, Any]) -> Model:
    return parse(json.dumps(file))


def sine(frames: int = 24000, level: float = 0.4) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 440 / RATE * np.arange(frames))).astype(np.float32)


def played(made: Model, slim: float, x: np.ndarray, rate: float = RATE) -> np.ndarray:
    instance = made.instance(rate)
    instance.slim = slim
    return instance.process(x)


# ---- Which size ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [48000, 44100])
def test_each_part_of_a_container_serves_its_range(rate: int) -> None:
    made, x = model(container()), sine(3000)
    assert made.sizes == 3 and made.info["sizes"] == 3
    alone = [model(submodel(channels)).instance(rate).process(x) for channels in CHANNELS]
    for slim, part in [(0, 0), (0.29, 0), (0.3, 1), (0.59, 1), (0.6, 2), (1, 2)]:
        assert np.array_equal(played(made, slim, x, rate), alone[part]), f"slim {slim}"


def test_the_largest_is_played_unless_asked_otherwise() -> None:
    x = sine(1000)
    for file in (container(), sliced()):
        made = model(file)
        assert made.instance().slim == 1
        assert np.array_equal(made.instance().process(x), played(made, 1, x))
        assert not np.array_equal(made.instance().process(x), played(made, 0, x))


def test_a_slice_is_the_first_channels() -> None:
    """What is cut off has no part in what is left, whatever its weights."""
    def kept(*shape: int, sliced: tuple[int, ...] = (0,)) -> np.ndarray:
        mask = np.zeros(shape, bool)
        mask[tuple(slice(2 if axis in sliced else None) for axis in range(len(shape)))] = True
        return mask.ravel()

    layer = [kept(5, 5, 3, sliced=(0, 1)), kept(5), kept(5, 1), kept(5, 5, sliced=(0, 1)), kept(5)]
    mask = np.concatenate([kept(5, 1), *layer * 6, kept(1, 5, sliced=(1,)), [True]])
    whole, x = sliced(), sine(1000)
    small = submodel(2)
    small["weights"] = [weight for weight, keep in zip(whole["weights"], mask, strict=True) if keep]
    assert np.array_equal(played(model(whole), 0, x), model(small).instance().process(x))


def test_a_slice_of_arrays_with_a_bottleneck() -> None:
    """What an array gives to the head is sliced to what the next one adds to it, which is its bottleneck."""
    def first(part: tuple[int, ...], whole: tuple[int, ...]) -> np.ndarray:
        mask = np.zeros(whole, bool)
        mask[tuple(slice(n) for n in part)] = True
        return mask.ravel()

    def arrays(channels: int, bottleneck: int) -> list[dict[str, Any]]:
        second = models.layer_array(channels, channels, 1, [3]) | {"bottleneck": bottleneck}
        return [models.layer_array(1, channels, bottleneck, [1]), second]

    sizes = {"method": "slice_channels_uniform", "kwargs": {"allowed_channels": [2, 4]}}
    whole = filled("WaveNet", {"layers": [array | {"slimmable": sizes} for array in arrays(4, 2)]})
    mask = np.concatenate([
        first((2, 1), (4, 1)), first((2, 2, 3), (4, 4, 3)), first((2,), (4,)), first((2, 1), (4, 1)),
        first((2, 2), (4, 4)), first((2,), (4,)), first((1, 2), (2, 4)),
        first((2, 2), (4, 4)), first((1, 2, 3), (2, 4, 3)), first((1,), (2,)), first((1, 1), (2, 1)),
        first((2, 1), (4, 2)), first((2,), (4,)), first((1, 1), (1, 2)), [True]])  # fmt: skip
    small = json.loads(models.model_file("WaveNet", {"layers": arrays(2, 1)}, np.array(whole["weights"])[mask]))
    x = sine(1000)
    assert np.array_equal(played(model(whole), 0, x), played(model(small), 1, x))


@pytest.mark.parametrize("changes", [{"kwargs": {}}, {"kwargs": None}, {}])
def test_any_number_of_channels_where_none_are_named(changes: dict[str, Any]) -> None:
    file, x = sliced(), sine(1000)
    del file["config"]["layers"][0]["slimmable"]["kwargs"]
    file["config"]["layers"][0]["slimmable"] |= changes
    made = model(file)
    assert made.sizes == 5
    for slim, place in ((0.2, 0), (0.4, 0.4), (1, 1)):
        assert np.array_equal(played(made, slim, x), played(model(sliced()), place, x))


def test_models_of_one_size_take_no_notice() -> None:
    made, x = model(submodel(3)), sine(1000)
    assert made.sizes == 1
    assert np.array_equal(played(made, 0, x), made.instance().process(x))


@pytest.mark.parametrize("slim", [-0.1, 1.1, float("nan")])
def test_sizes_out_of_range(slim: float) -> None:
    instance = model(container()).instance()
    with pytest.raises(ValueError, match="0 to 1"):
        instance.slim = slim
    assert instance.slim == 1


def test_reset_keeps_the_size() -> None:
    made, x = model(container()), sine(3000)
    instance = made.instance()
    instance.process(x)
    instance.slim = 0
    instance.process(x[:100])  # which is not yet heard
    instance.reset()
    assert np.array_equal(instance.process(x), played(made, 0, x))


# ---- Changing it while it plays -----------------------------------------------------------------------------------


def largest_step(y: np.ndarray) -> float:
    return float(np.max(np.abs(np.diff(y))))


def check_change(made: Model, slim: tuple[float, float], block: int, settled: int) -> None:
    """Goes from one size to another in the middle of a sine, and back, at several places of its period."""
    x = sine()
    alone = [played(made, size, x) for size in slim]
    own = max(largest_step(y[settled:]) for y in alone)
    for at in range(settled, settled + 110, 22):
        instance = made.instance()
        instance.slim = slim[0]
        parts = [instance.process(x[:at])]
        instance.slim = slim[1]
        parts += [instance.process(x[i : i + block]) for i in range(at, len(x), block)]
        y = np.concatenate(parts)
        assert largest_step(y[settled:]) <= own * 10 ** (0.5 / 20), f"change at {at}"
        assert np.array_equal(y[: at + 100], alone[0][: at + 100])  # it listens first
        end = y[at + RATE // 4 :]
        assert np.sum((end - alone[1][at + RATE // 4 :]) ** 2.0) <= 1e-8 * np.sum(end**2.0)


@pytest.mark.parametrize("block", [1000, 64, 13])
@pytest.mark.parametrize("slim", [(0, 1), (1, 0), (0.5, 1)])
@pytest.mark.parametrize("kind", [container, sliced])
def test_no_click(kind: Any, slim: tuple[float, float], block: int) -> None:
    check_change(model(kind()), slim, block, settled=500)


def test_a_change_taken_back_is_not_heard() -> None:
    made, x = model(container()), sine()
    instance = made.instance()
    parts = [instance.process(x[:1000])]
    for at in range(1000, 5000, 100):  # shorter than any of them listens
        instance.slim = (at // 100) % 3 / 2
        parts.append(instance.process(x[at : at + 100]))
    instance.slim = 1
    parts.append(instance.process(x[5000:]))
    assert np.array_equal(np.concatenate(parts), made.instance().process(x))


def test_the_last_of_many_changes_counts() -> None:
    made, x = model(container()), sine()
    instance = made.instance()
    rng = np.random.default_rng(1)
    start = 0
    while start < 12000:
        instance.slim = rng.uniform()
        block = int(rng.integers(1, 900))
        instance.process(x[start : start + block])
        start += block
    instance.slim = 0
    rest = instance.process(x[start:])
    assert np.array_equal(rest[5000:], played(made, 0, x)[start:][5000:])


# ---- Files that are wrong -----------------------------------------------------------------------------------------


def with_entry(index: int, **changes: Any) -> dict[str, Any]:
    file = container()
    file["config"]["submodels"][index] |= changes
    return file


def sizes_of(allowed: Any) -> dict[str, Any]:
    return sliced(kwargs={"allowed_channels": allowed})


WRONG = {
    "no list": (container(config={}), 'config has no "submodels"'),
    "an empty list": (container(config={"submodels": []}), "config.submodels must be a list of 1 to 64 models"),
    "no list of models": (container(config={"submodels": {"0": submodel(2)}}), "config.submodels must be a list"),
    "too many": (container(config={"submodels": container()["config"]["submodels"] * 22}), "1 to 64 models"),
    "a number for a model": (container(config={"submodels": [3]}), "config.submodels[0] is not a JSON object"),
    "no limit": (container(config={"submodels": [{"model": submodel(2)}]}), 'config.submodels[0] has no "max_value"'),
    "a limit in words": (with_entry(1, max_value="half"), "config.submodels[1].max_value must be a number"),
    "limits that fall": (with_entry(1, max_value=0.2), "[1].max_value must be larger than the one before"),
    "limits that stand": (with_entry(2, max_value=0.6), "[2].max_value must be larger than the one before"),
    "no model": (container(config={"submodels": [{"max_value": 1}]}), 'config.submodels[0] has no "model"'),
    "a container within": (with_entry(0, model=container()), "[0].model is a container itself"),
    "an unknown model within": (with_entry(1, model={"architecture": "X", "config": {}}), "submodels[1]: its arch"),
    "a broken model within": (with_entry(2, model=submodel(2) | {"weights": [1]}), "in config.submodels[2]: expected"),
    "other rates": (with_entry(1, model=submodel(3, 44100)), "config.submodels[1] has another sample rate"),
    "an unknown way of slicing": (sliced(method="at_random"), 'method "at_random" is not known'),
    "slices: none": (sizes_of([]), "allowed_channels must be a list of whole numbers"),
    "slices: of zero channels": (sizes_of([0, 5]), "allowed_channels is 0"),
    "slices: more than there are": (sizes_of([5, 6]), "allowed_channels is 6"),
    "slices: not rising": (sizes_of([3, 2, 5]), "allowed_channels must rise"),
    "slices: without the whole": (sizes_of([2, 3]), "allowed_channels must rise to the array's channels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_file(name: str) -> None:
    file, words = WRONG[name]
    with pytest.raises(neurig.ModelError) as refused:
        model(file)
    assert words in str(refused.value)


# ---- Against references -------------------------------------------------------------------------------------------

REFERENCES = ["BossWN-a2.nam", "slimmable_container.nam", "slimmable_wavenet.nam"]


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_renders_of_both_ends(name: str, data: Path) -> None:
    import soundfile

    x, rate = soundfile.read(data / "audio" / "guitar-48k.wav", dtype="float32")
    made = neurig.load(data / "amps" / name)
    for slim, suffix in ((1, "npy"), (0, "slim0.npy")):
        wanted = np.load(data / "amps" / f"{name}.{suffix}").astype(float)[24000:]
        got = played(made, slim, x, rate)[24000:]
        assert np.sum((got - wanted) ** 2) <= 1e-10 * np.sum(wanted**2), f"slim {slim}"


@pytest.mark.parametrize("name", REFERENCES)
def test_no_click_in_real_models(name: str, data: Path) -> None:
    made = neurig.load(data / "amps" / name)
    for slim in ((0, 1), (1, 0)):
        check_change(made, slim, 64, settled=8000)
