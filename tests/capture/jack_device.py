"""A device under JACK, for tests: a client ``NAME:in``, ``NAME:out`` that is as bad as it is told to be.

``gain G`` sets what it multiplies with; ``late S N`` lets it sleep S seconds in N blocks, at least a second apart, the
first as soon as something is heard. It ends with its standard input.
"""

import ctypes
import sys
import time

import numpy as np

jack = ctypes.CDLL("libjack.so.0")
for name in ("jack_client_open", "jack_port_register", "jack_port_get_buffer"):
    getattr(jack, name).restype = ctypes.c_void_p
client = ctypes.c_void_p(jack.jack_client_open(sys.argv[1].encode(), 1, None))
audio = b"32 bit float mono audio"
source, sink = (ctypes.c_void_p(jack.jack_port_register(client, word, audio, ctypes.c_ulong(flag), ctypes.c_ulong(0)))
                for word, flag in ((b"in", 1), (b"out", 2)))
gain, late, times, due = 1.0, 0.0, 0, 0.0


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)
def process(frames: int, _: int) -> int:
    global times, due
    x, y = (np.frombuffer((ctypes.c_float * frames).from_address(jack.jack_port_get_buffer(port, frames)), np.float32)
            for port in (source, sink))
    y[:] = np.clip(gain * x, -1, 1)
    if times and np.abs(x).max() > 0.01 and time.monotonic() > due:
        due, times = time.monotonic() + 1, times - 1
        time.sleep(late)
    return 0


jack.jack_set_process_callback(client, process, None)
jack.jack_activate(client)
print("ready", flush=True)
for line in sys.stdin:
    word, *numbers = line.split()
    if word == "gain":
        gain = float(numbers[0])
    else:
        late, times = float(numbers[0]), int(numbers[1])
    print("done", flush=True)
jack.jack_client_close(client)
