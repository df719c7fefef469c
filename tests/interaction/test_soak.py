"""A short form of the long session in ``tests/bench/soak.py``."""

from pathlib import Path

from bench.soak import soak

from conftest import _run_jack


def test_no_event_is_lost_but_the_one_in_flight(tmp_path: Path) -> None:
    jack = _run_jack(tmp_path, 48000, 512, "--sync")
    try:
        report = soak(tmp_path, seconds=10, seed=1, jack=next(jack).env, life=(3, 5))
    finally:
        jack.close()
    assert report.events > 300 and report.lives >= 2
    assert report.lost <= report.killed + report.dropped
