"""A short form of the long session in ``tests/bench/soak.py``."""

from pathlib import Path

from bench.soak import soak


def test_no_event_is_lost_but_the_one_in_flight(tmp_path: Path) -> None:
    report = soak(tmp_path, seconds=10, seed=1, life=(3, 5))
    assert report.events > 100 and report.lives
    assert report.lost <= report.killed + report.dropped
