"""What the tests of the rig share: servers, small amps, small predictors."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig.client import Client, Server


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(env={"XDG_DATA_HOME": str(tmp_path_factory.mktemp("data"))})
    yield server
    errors = server.stop()
    assert "Traceback" not in errors, errors


@pytest.fixture
def rig(shared_server: Server) -> Iterator[Client]:
    """A client of a server that the module's tests share; empty before each test."""
    client = Client(shared_server.port)
    yield client
    client.close()
    with_new_socket = Client(shared_server.port)
    for entry in with_new_socket.list():
        if entry[0] == "node":
            with_new_socket.do("/rig/free", entry[1])
    with_new_socket.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers, which are ended after the test."""
    servers: list[Server] = []

    def start(*arguments: Any, **options: Any) -> Server:
        options.setdefault("cwd", tmp_path)
        options["env"] = {"XDG_DATA_HOME": str(tmp_path / "data")} | options.get("env", {})
        servers.append(Server(*arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        assert "Traceback" not in server.stop()


@pytest.fixture(scope="session")
def amp_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a Linear amp and gives its path: the output is the input times a gain."""
    folder = tmp_path_factory.mktemp("amps")

    def write(name: str = "half.nam", gain: float = 0.5) -> Path:
        path = folder / name
        path.write_text(
            json.dumps(
                {
                    "version": "0.5.4",
                    "architecture": "Linear",
                    "config": {"receptive_field": 1, "bias": False},
                    "weights": [gain],
                    "sample_rate": 48000,
                }
            )
        )
        return path

    return write


@pytest.fixture(scope="session")
def predictor_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a small predictor with random weights and gives its path. It plays about `tempo` frames per second."""
    folder = tmp_path_factory.mktemp("predictors")

    def write(name: str = "small.mdrnn", dimension: int = 3, tempo: float = 20.0, seed: int = 1) -> Path:
        units, layers, mixtures, random = 8, 2, 2, np.random.default_rng(seed)
        weights = []
        for layer in range(layers):
            inputs = dimension if layer == 0 else units
            weights += [
                random.standard_normal((inputs, 4 * units)) * 0.2,
                random.standard_normal((units, 4 * units)) * 0.2,
                np.zeros(4 * units),
            ]
        mus = np.full((mixtures, dimension), 5.0)  # of tenths: the middle
        mus[:, 0] = 10.0 / tempo
        weights += [
            random.standard_normal((units, mixtures * dimension)) * 0.3,
            mus,
            np.zeros((units, mixtures * dimension)),
            np.full(mixtures * dimension, -0.5),
            np.zeros((units, mixtures)),
            np.zeros(mixtures),
        ]
        path = folder / name
        path.write_text(
            json.dumps(
                {
                    "architecture": "MDRNN",
                    "version": "1.0",
                    "config": {
                        "dimension": dimension,
                        "units": units,
                        "layers": layers,
                        "mixtures": mixtures,
                        "scale": 10,
                    },
                    "metadata": {},
                    "weights": np.concatenate([np.ravel(part) for part in weights]).tolist(),
                }
            )
        )
        return path

    return write
