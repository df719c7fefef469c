"""OSC packets: what is read and written here is what python-osc reads and writes."""

import asyncio
import random
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from neurig.interaction import loop
from neurig.osc import OscSocket, decode_numbers, encode
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

Received = list[tuple[str, list[Any]]]


def message(address: str, *arguments: tuple[str, Any]) -> bytes:
    builder = OscMessageBuilder(address)
    for tag, value in arguments:
        builder.add_arg(value, tag)
    return bytes(builder.build().dgram)


def test_numbers_are_read_as_python_osc_reads_them() -> None:
    dice = random.Random(1)
    kinds = {"f": lambda: dice.uniform(-1e3, 1e3), "d": dice.random, "i": lambda: dice.randrange(-2**31, 2**31),
             "h": lambda: dice.randrange(-2**63, 2**63)}
    for _ in range(500):
        address = "/" + "x" * dice.randrange(1, 9)
        data = message(address, *[(tag, kinds[tag]()) for tag in dice.choices("fdih", k=dice.randrange(9))])
        expected = OscMessage(data)
        assert decode_numbers(data) == (expected.address, expected.params)


@pytest.mark.parametrize("data", [
    b"", b"\0", b",", b",f\0\0", b"/a", b"/a\0\0", b"/a\0\0,f\0\0", b"/a\0\0,f\0\0\0\0\0", b"/a\0\0,f\0\0" + bytes(8),
    message("/a", ("s", "text")), message("/a", ("f", 1.0), ("s", "x")), message("/a", ("T", True)),
    message("/a", ("b", b"1234")), b"a\0\0\0,f\0\0\0\0\0\0", b"/\xff\0\0,f\0\0\0\0\0\0", b"/ab\0,f\0\0" + b"\0" * 5,
])
def test_all_else_is_left_to_python_osc(data: bytes) -> None:
    assert decode_numbers(data) is None


def test_noise_does_no_harm() -> None:
    dice = random.Random(2)
    good = encode("/interface", [0.1, 0.2, 0.3])
    for _ in range(20000):
        data = bytearray(good)
        for _ in range(dice.randrange(1, 5)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        decode_numbers(bytes(data[: dice.randrange(len(data) + 1)]))


@pytest.mark.parametrize("arguments", [[], [0.5], [0.1] * 64, [1, 2.5, "three", -2**31, 2**40, True], ["\ud800"]])
def test_what_is_written_python_osc_reads(arguments: list[Any]) -> None:
    read = OscMessage(encode("/impsy", arguments))
    assert read.address == "/impsy"
    assert read.params == [pytest.approx(float(value)) if not isinstance(value, str) else value.replace("\ud800", "?")
                           for value in arguments]


def test_a_number_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        encode("/impsy", [1e39])


def with_socket(send: Callable[[Callable[[bytes], int]], None], seconds: float) -> tuple[Received, list[str]]:
    """What a socket receives, and refuses, of what ``send`` sends."""
    received: Received = []
    refused: list[str] = []

    async def main() -> None:
        osc = OscSocket(lambda client, address, arguments: received.append((address, arguments)),
                        lambda client, problem: refused.append(problem))
        await osc.open("localhost", 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hand:
            send(lambda data: hand.sendto(data, ("127.0.0.1", osc.port)))
            await asyncio.sleep(seconds)
        osc.close()

    loop.run(main())
    return received, refused


def test_bundles_come_at_their_time() -> None:
    def bundle(when: float, number: int) -> bytes:
        builder = OscBundleBuilder(when)
        one = OscMessageBuilder("/a")
        one.add_arg(number)
        builder.add_content(one.build())
        return bytes(builder.build().dgram)

    def send(hand: Callable[[bytes], int]) -> None:
        now = time.time()
        for when, number in ((now + 0.2, 4), (now + 0.1, 3), (IMMEDIATELY, 1), (now - 10, 2), (now + 7200, 5)):
            hand(bundle(when, number))

    received, refused = with_socket(send, 0.5)
    assert received == [("/a", [number]) for number in (1, 2, 3, 4)]
    assert len(refused) == 1 and "ahead" in refused[0]


def test_a_burst_is_received_whole_and_in_order() -> None:
    def send(hand: Callable[[bytes], int]) -> None:
        for number in range(1500):
            hand(encode("/a", [number]))

    received, refused = with_socket(send, 0.5)
    assert received == [("/a", [number]) for number in range(1500)] and not refused


def test_bundles_within_bundles_do_no_harm() -> None:
    data = encode("/a", [1.0])
    for _ in range(300):
        data = b"#bundle\0" + struct.pack(">QI", 1, len(data)) + data

    def send(hand: Callable[[bytes], int]) -> None:
        hand(data)
        hand(encode("/b", []))

    received, _ = with_socket(send, 0.2)
    assert received[-1] == ("/b", [])
