"""Complaints: all are counted, few are said."""

import logging

import pytest
from neurig.interaction.complaints import INTERVAL, Complaints


def test_the_first_of_a_kind_is_said_at_once_and_others_seldom(caplog: pytest.LogCaptureFixture,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("neurig"), "propagate", True)
    now = 100.0
    complain = Complaints("osc", clock=lambda: now)
    for number in range(1000):
        complain("count", f"wrong {number}")
        complain("range", "too large")
        now += 0.025  # for 25 s
    assert [record.getMessage() for record in caplog.records] == [
        "osc: wrong 0", "osc: too large", "osc: wrong 400 (399 more like it before)",
        "osc: too large (399 more like it before)", "osc: wrong 800 (399 more like it before)",
        "osc: too large (399 more like it before)"]
    assert complain.counts == {"count": 1000, "range": 1000} and INTERVAL == 10
