"""What the tests of the rig share: servers, small amps."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
