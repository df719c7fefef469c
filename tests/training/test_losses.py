"""The losses are what the metrics of the same names are, and can be learned from."""

import numpy as np
import pytest
import torch

from neurig.evaluation import metrics
from neurig.training import TrainingError, losses


@pytest.fixture
def signals() -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and target, a segment each."""
    random = torch.Generator().manual_seed(1)
    target = 0.1 * torch.randn(1, 6000, generator=random)
    return target + 0.02 * torch.randn(1, 6000, generator=random) + 0.01, target


@pytest.mark.parametrize("name, metric", [("mrstft", metrics.mrstft), ("esr", metrics.esr_preemphasis)])
def test_they_are_the_metrics(signals: tuple[torch.Tensor, torch.Tensor], name: str, metric: object) -> None:
    prediction, target = signals
    expected = metric(target[0].numpy(), prediction[0].numpy())
    assert losses.ALL[name](prediction, target).item() == pytest.approx(expected, rel=2e-3)


def test_by_hand() -> None:
    target, prediction = torch.tensor([[1.0, -1.0], [2.0, 0.0]]), torch.tensor([[1.5, -1.0], [2.0, 1.0]])
    assert losses.mse(prediction, target).item() == pytest.approx((0.25 + 1) / 4)
    assert losses.dc(prediction, target).item() == pytest.approx((0.25**2 + 0.5**2) / 2 / 1.5)
    assert losses.esr(prediction, target, preemphasis=0).item() == pytest.approx(1.25 / 6)
    assert losses.segment_esr(prediction, target).item() == pytest.approx((0.25 / 2 + 1 / 4) / 2, rel=1e-4)
    emphasised = (-1 - 0.95 * 1.5 - (-1 - 0.95)) ** 2 + (1 - 0.95 * 2 - (0 - 0.95 * 2)) ** 2
    assert losses.esr(prediction, target).item() == pytest.approx(emphasised / (1.95**2 + 1.9**2))


def test_a_soft_segment_counts_like_a_loud_one() -> None:
    random = torch.Generator().manual_seed(1)
    target = torch.randn(2, 100, generator=random) * torch.tensor([[1.0], [0.01]])
    error = torch.randn(2, 100, generator=random) * 0.1 * target
    loud, soft = (losses.segment_esr(target + error * part, target).item() for part in torch.eye(2)[:, :, None])
    assert soft == pytest.approx(loud, rel=0.5)
    assert losses.segment_esr(torch.full((1, 100), 1e-4), torch.zeros(1, 100)).item() < 0.01, "silence counts less"


@pytest.mark.parametrize("name", losses.ALL)
def test_they_lead_to_the_target(signals: tuple[torch.Tensor, torch.Tensor], name: str) -> None:
    prediction, target = signals[0].clone().requires_grad_(), signals[1]
    loss = losses.Loss({name: 1.0})
    before = loss(prediction, target)
    before.backward()
    slope = prediction.grad
    assert slope is not None and slope.isfinite().all()
    after = loss(prediction.detach() - 1e-4 * slope / slope.norm(), target)
    assert after < before and loss(target, target) == 0


def test_weights_and_silence(signals: tuple[torch.Tensor, torch.Tensor]) -> None:
    both = losses.Loss({"mse": 2.0, "dc": 0.5, "esr": 0.0})
    expected = 2 * losses.mse(*signals) + 0.5 * losses.dc(*signals)
    assert both.weights == {"mse": 2.0, "dc": 0.5} and both(*signals) == pytest.approx(expected)
    silence = torch.zeros(2, 4000)
    everything = losses.Loss(dict.fromkeys(losses.ALL, 1.0))
    assert np.isfinite(everything(silence, silence).item())


@pytest.mark.parametrize("weights, word", [({"esrr": 1}, "there is no loss 'esrr'"), ({"mse": -1}, "0 or more"),
                                           ({"mse": float("nan")}, "0 or more"), ({"mse": 0}, "no loss"),
                                           ({}, "no loss")])
def test_refusals(weights: dict[str, float], word: str) -> None:
    with pytest.raises(TrainingError, match=word):
        losses.Loss(weights)
    with pytest.raises(TrainingError, match="longer --segment"):
        losses.mrstft(torch.zeros(1, 512), torch.zeros(1, 512))
