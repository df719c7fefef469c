"""WebSockets, with real clients."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from neurig.interaction import loop
from neurig.interaction.complaints import Complaints
from neurig.interaction.port import Update
from neurig.interaction.websocket import WebSocketPort, WebSocketSettings, from_words, to_words
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from interaction.cable import until

MAPPING = [["note_on", 1], ["control_change", 1, 42], ["pitch_bend", 16]]


def free_tcp_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Stand:
    """A port that serves, and those who connect to it."""

    def __init__(self, **table: Any) -> None:
        self.number = free_tcp_port()
        self.heard: list[list[tuple[int, float]]] = []
        self.complain = Complaints("websocket")
        table = {"server_ip": "127.0.0.1", "server_port": self.number, "input": MAPPING, "output": MAPPING} | table
        self.port = WebSocketPort(WebSocketSettings.from_table(table, 4), self._receive, self.complain)

    def _receive(self, update: Update) -> None:
        self.heard.append(list(update))

    async def client(self, path: str = "/", name: str = "127.0.0.1", **options: Any) -> ClientConnection:
        """:param name: by which the client believes to reach this machine"""
        return await connect(f"ws://{name}:{self.number}{path}", host="127.0.0.1", port=self.number, compression=None,
                             **options)


def with_stand(act: Callable[[Stand], Coroutine[Any, Any, None]], **table: Any) -> None:
    async def main() -> None:
        stand = Stand(**table)
        await stand.port.open()
        try:
            await act(stand)
        finally:
            await stand.port.close()

    loop.run(main())


async def lines(client: ClientConnection, count: int) -> list[str]:
    return [str(await asyncio.wait_for(client.recv(), 5)) for _ in range(count)]


def test_words_come_in_and_go_out() -> None:
    async def act(stand: Stand) -> None:
        client = await stand.client()
        await client.send("/channel/1/noteon/60/100")
        await client.send("/channel/1/cc/42/127")
        await client.send("/channel/1/noteoff/60/0")
        await client.send("/channel/16/pitchbend/16383")
        await until(lambda: len(stand.heard) == 3, "3 updates")
        assert stand.heard == [[(0, 60 / 127)], [(1, 1.0)], [(2, 1.0)]]
        stand.port.play([60 / 127, 0.5, 0.5])
        stand.port.play([61 / 127, 0.5, 0.6])
        assert await lines(client, 6) == [
            "/channel/1/noteon/60/127", "/channel/1/cc/42/64", "/channel/16/pitchbend/8192",
            "/channel/1/noteoff/60/0", "/channel/1/noteon/61/127", "/channel/16/pitchbend/9830"]
        stand.port.silence()
        assert await lines(client, 1) == ["/channel/1/noteoff/61/0"]
        assert not stand.complain.counts

    with_stand(act)


def test_json_comes_in_and_goes_out() -> None:
    async def act(stand: Stand) -> None:
        client = await stand.client("/json")
        await client.send('{"values": [0.25, null, 1]}')
        await client.send("/channel/1/cc/42/127")
        await until(lambda: len(stand.heard) == 2, "2 updates")
        assert stand.heard == [[(0, 0.25), (2, 1.0)], [(1, 1.0)]]
        stand.port.play([0.25, float("nan"), 1 / 3])
        assert json.loads((await lines(client, 1))[0]) == {"values": [0.25, None, 0.333333]}

    with_stand(act)


def test_words_are_midi() -> None:
    for message in (bytes([0x90, 60, 100]), bytes([0x8F, 0, 0]), bytes([0xB3, 127, 1]), bytes([0xE0, 1, 127])):
        assert from_words(to_words(message)) == message


@pytest.mark.parametrize("message", [
    "hello", "", "/", "/channel/0/noteon/60/100", "/channel/17/noteon/60/100", "/channel/1/noteon/128/100",
    "/channel/1/noteon/60", "/channel/1/noteon/sixty/100", "/channel/1/noteon/-1/100", "/channel/1/noteon/6.5/100",
    "/channel/1/pitchbend/16384", "/channel/1/pitchbend/1/2", "/channel/1/noteon/60/100/1", "channel/1/noteon/60/100",
    "/channel/²/noteon/60/100", "/channel/1/noteon/60/1000000000", "/channel/1/sysex/1/2",
    "{", "{}", '{"values": 1}', '{"values": [1, 2]}', '{"values": [true, 0, 0]}', '{"values": ["0.5", 0, 0]}',
    '{"values": [0.1, 0.2, 0.3, 0.4]}', "[0.1, 0.2, 0.3]", '{"values": [1' + "0" * 400 + ", 0, 0]}", "{" * 5000,
    b"\x90\x3c\x64",
])
def test_bad_messages_are_dropped_and_said(message: str | bytes) -> None:
    async def act(stand: Stand) -> None:
        client = await stand.client("/json")
        await client.send(message)
        assert "error" in json.loads((await lines(client, 1))[0])
        await client.send('{"values": [0.25, 0.5, 1.0]}')
        await until(lambda: stand.heard, "the good frame after it")
        assert stand.heard == [[(0, 0.25), (1, 0.5), (2, 1.0)]]
        assert stand.complain.counts == {"bad message": 1}

    with_stand(act)


def test_too_long_a_message_ends_the_connection_only() -> None:
    async def act(stand: Stand) -> None:
        other = await stand.client()
        client = await stand.client()
        with pytest.raises(ConnectionClosed):
            await client.send("x" * 100_000)
            await client.recv()
        await until(lambda: stand.complain.counts["too long"], "a complaint")
        await other.send("/channel/1/cc/42/127")
        await until(lambda: stand.heard, "what the other sends")

    with_stand(act)


def test_what_is_no_websocket_is_turned_away() -> None:
    async def act(stand: Stand) -> None:
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 5000, b"\r\n\r\n", b"GET"):
            reader, writer = await asyncio.open_connection("127.0.0.1", stand.number)
            writer.write(data)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
        client = await stand.client()
        await client.send("/channel/1/cc/42/127")
        await until(lambda: stand.heard, "what a client sends")

    with_stand(act)


class TestOrigins:
    @pytest.mark.parametrize(("origin", "host"), [
        ("http://localhost:8000", None), ("http://127.0.0.1", None), ("http://[::1]:3000", None),
        ("http://192.168.1.7:8080", None), ("http://raspberrypi.local:8000", "raspberrypi.local"),
        ("https://my.page", None),
    ])
    def test_welcome(self, origin: str, host: str | None) -> None:
        async def act(stand: Stand) -> None:
            client = await stand.client(origin=origin, name=host or "127.0.0.1")
            await client.send("/channel/1/cc/42/127")
            await until(lambda: stand.heard, "what it sends")

        with_stand(act, origins=["https://my.page"])

    @pytest.mark.parametrize(("origin", "host"), [
        ("https://evil.example", None), ("null", None), ("http://localhost.evil.example", None),
        ("https://evil.example", "evil.example"),  # a name that was bent to this machine
        ("http://8.8.8.8", None), ("http://[", None), ("https://my.page.evil.example", None),
    ])
    def test_turned_away(self, origin: str, host: str | None) -> None:
        async def act(stand: Stand) -> None:
            with pytest.raises(InvalidStatus) as refusal:
                await stand.client(origin=origin, name=host or "127.0.0.1")
            assert refusal.value.response.status_code == 403
            assert stand.complain.counts == {"origin": 1}

        with_stand(act, origins=["https://my.page"])

    def test_all_are_welcome_where_asked(self) -> None:
        async def act(stand: Stand) -> None:
            assert await stand.client(origin="null")

        with_stand(act, origins=["*"])


def test_many_clients_hear_the_same_and_a_new_one_hears_all() -> None:
    async def act(stand: Stand) -> None:
        clients = [await stand.client() for _ in range(20)]
        stand.port.play([0.5, 0.5, 0.5])
        assert [await lines(client, 3) for client in clients] == [await lines(await again(stand), 3)] * 20

    async def again(stand: Stand) -> ClientConnection:
        client = await stand.client()
        stand.port.play([0.5, 0.5, 0.5])  # nothing has changed; but this one has not heard it yet
        return client

    with_stand(act)


def test_there_is_a_limit_to_clients() -> None:
    async def act(stand: Stand) -> None:
        clients = [await stand.client() for _ in range(64)]
        with pytest.raises(InvalidStatus):
            await stand.client()
        await clients[0].close()
        assert await stand.client()

    with_stand(act)


def test_a_client_that_reads_nothing_holds_nobody_up_and_hears_the_newest() -> None:
    async def act(stand: Stand) -> None:
        lazy = socket.create_connection(("127.0.0.1", stand.number))
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall(b"GET /json HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        quick = await stand.client("/json")
        await until(lambda: len(stand.port._clients) == 2, "both clients")
        delays = []
        for number in range(4000):
            sent = time.perf_counter()
            stand.port.play([number / 4000, 0.5, 0.5])
            assert json.loads((await lines(quick, 1))[0])["values"][0] == number / 4000
            delays.append(time.perf_counter() - sent)
        assert sorted(delays)[2000] < 0.01
        assert stand.complain.counts["slow client"]
        waiting = sum(client.connection.transport.get_write_buffer_size() for client in stand.port._clients)
        assert waiting < 10_000
        lazy.setblocking(False)
        data = bytearray()

        def read() -> bool:
            try:
                data.extend(lazy.recv(65536))
            except BlockingIOError:
                pass
            return b"[0.99975," in data

        await until(read, "the newest frame")
        assert data.count(b"values") < 4000
        lazy.close()

    with_stand(act)


def test_a_client_that_floods_does_not_hold_the_others_up() -> None:
    async def act(stand: Stand) -> None:
        flood, other = await stand.client(), await stand.client()

        async def send() -> None:
            for number in range(5000):
                await flood.send(f"/channel/1/cc/42/{number % 128}")

        task = asyncio.create_task(send())
        gaps, last = [], time.thread_time()  # for which the others wait, however busy the machine is
        await other.send("/channel/1/noteon/60/1")
        while not task.done() or len(stand.heard) < 5001:
            await asyncio.sleep(0.001)
            gaps.append(time.thread_time() - last)
            last = time.thread_time()
        assert [(0, 60 / 127)] in stand.heard[:2000]
        values = [update[0][1] for update in stand.heard if update[0][0] == 1]
        assert values == [number % 128 / 127 for number in range(5000)]
        assert max(gaps) < 0.2

    with_stand(act)


def test_a_port_that_is_taken_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurig.interaction.websocket.RETRY_AFTER", 0.05)

    async def main() -> None:
        stand = Stand()
        with socket.create_server(("127.0.0.1", stand.number)):
            await stand.port.open()
            await asyncio.sleep(0.2)
            assert stand.complain.counts["port"] > 1
        await until(lambda: stand.port._server, "the port")
        client = await stand.client()
        await client.send("/channel/1/cc/42/127")
        await until(lambda: stand.heard, "what a client sends")
        await stand.port.close()

    loop.run(main())


def test_closing_ends_notes_and_takes_no_time() -> None:
    async def main() -> None:
        stand = Stand()
        await stand.port.open()
        client = await stand.client()
        deaf = socket.create_connection(("127.0.0.1", stand.number))  # never says a word
        stand.port.play([0.5, 0.5, 0.5])
        began = time.monotonic()
        await stand.port.close()
        assert time.monotonic() - began < 1
        await stand.port.close()
        assert (await lines(client, 4))[-1] == "/channel/1/noteoff/64/0"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        deaf.close()

    loop.run(main())


@pytest.mark.parametrize(("table", "reason"), [
    ({"server_ip": 3}, "server_ip: "), ({"server_port": 0}, "server_port: "),
    ({"server_port": "5001"}, "server_port: "), ({"origins": "*"}, "origins: "),
    ({"input": [["note_on", 99]]}, "input: entry 1"), ({"port": 5001}, "port: there is no"),
])
def test_wrong_settings_are_refused_with_the_reason(table: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as problem:
        WebSocketSettings.from_table(table, 4)
    assert str(problem.value).startswith(reason)
