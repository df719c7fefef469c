"""What the tests of the evaluation share: the command, and an amp whose answers are known."""

from python.conftest import command, gain_model, mdrnn, mdrnn_file  # noqa: F401 - fixtures
