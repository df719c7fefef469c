"""Who is told of values: clients go without a word, and others come, for months."""

import pytest
from neurig.rig.errors import RigError
from neurig.rig.subscriptions import Subscriptions


def test_clients_that_are_gone_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("neurig.rig.subscriptions.monotonic", lambda: now)
    subscriptions = Subscriptions(lambda *_: None)
    lives = ("127.0.0.1", 1000)
    subscriptions.add(lives, "/rig/amp/gain", 30)
    for port in range(2001, 2001 + 4095):
        now += 0.01
        subscriptions.add(("127.0.0.1", port), "/rig/amp/gain", 30)
    with pytest.raises(RigError, match="4096 subscriptions already"):  # all of them may be there
        subscriptions.add(("127.0.0.1", 9000), "/rig/amp/gain", 30)
    now += 60
    subscriptions.hear(lives)
    for port in range(10_000, 10_100):
        subscriptions.add(("127.0.0.1", port), "/rig/amp/out", 30)
    subscriptions.remove(lives, "/rig/amp/gain")
    with pytest.raises(RigError, match="not subscribed"):
        subscriptions.remove(("127.0.0.1", 2001), "/rig/amp/gain")
