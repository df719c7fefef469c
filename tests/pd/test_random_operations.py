"""[neuralamp~] and [mdrnn] survive whatever is done to them; random_operations.py as a program is the long form."""

import pytest
from pd.random_operations import drive


@pytest.mark.parametrize("seed", [1, 2])
def test_random_operations(seed: int, pd: str) -> None:
    console = drive(200, seed, command=[pd])
    assert any(line.startswith("amps-told: loaded") for line in console)


def test_what_is_wrong_is_noticed() -> None:
    """So that the test above means something: Pd that ends too early, and objects that are not there."""
    with pytest.raises(AssertionError, match="pd ended with"):
        drive(20, 1, command=["env", "-u", "HOME", "false"])
    with pytest.raises(AssertionError, match="couldn't create"):
        drive(20, 1, objects="/nowhere")
