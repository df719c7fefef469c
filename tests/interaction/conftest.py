"""What the tests of ``neurig run`` share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from interaction.instrument import Instrument

CONFIG = """
[interaction]
mode = "callresponse"
threshold = 0.1
[model]
file = "small.mdrnn"
[osc]
server_ip = "127.0.0.1"
server_port = PORT
client_ip = "127.0.0.1"
client_port = EAR
[webui]
monitor_port = MONITOR
command_port = COMMANDS
"""


@pytest.fixture
def instrument(tmp_path: Path, predictor_file: Callable[..., Path],
               free_port: Callable[[], int]) -> Iterator[Callable[..., Instrument]]:
    """Starts instruments with a small predictor of three values (small.mdrnn), and ends them after the test."""
    started: list[Instrument] = []
    source = predictor_file("four.mdrnn", dimension=4)

    def start(config: str = CONFIG, *arguments: Any, **options: Any) -> Instrument:
        (tmp_path / "small.mdrnn").write_bytes(source.read_bytes())
        started.append(Instrument(tmp_path, config, *arguments, free_port=free_port, **options))
        return started[-1]

    yield start
    for one in started:
        said = one.stop()
        print(said)  # beside a failure
        assert "Traceback" not in said and "should not happen" not in said, said
