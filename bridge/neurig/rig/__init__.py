"""The rig: nodes and predictors in a server of two processes, which any patch builds and steers over OSC.

===================  ==================================================================================
``nodes.py``         the types of node and their parameters, declared once
``state.py``         a rig as data
``config.py``        the file that ``neurig serve`` reads
``server.py``        the control process; with ``requests.py``, ``performer.py`` (predictors) and ``hands.py``
                     (their devices), ``subscriptions.py``, ``takes.py`` (recordings)
``supervisor.py``    its hold on the audio process; they talk in ``wire.py``'s words
``audio.py``         the audio process; with ``backends.py``, ``graph.py`` and ``recording.py``
``demo.py``          the rig that ``neurig demo`` plays
===================  ==================================================================================
"""

import logging
import sys
from pathlib import Path
from typing import Any


def serve(config: Path | None = None, **options: Any) -> int:
    """Runs a rig until Ctrl-C, SIGTERM or ``/rig/quit``.

    :param config: a config file (see ``config.py``); ``None``: an empty rig
    :param options: backend, host, port, rate, block: go before what the config file says
    :returns: an exit status
    """
    from neurig.rig.config import ConfigError, read

    _log_to_stderr()
    try:
        settings, rig = read(config, **options)
    except ConfigError as problem:
        print(f"neurig: {problem}", file=sys.stderr)
        return 2
    from neurig.rig.server import run

    def started(server: Any) -> None:
        ready = server.audio.ready
        print(f"neurig plays {len(rig.nodes)} nodes through {ready.why} ({ready.rate} Hz, {ready.block} frames), "
              f"OSC on {settings.host}:{server.osc.port}{settings.root}", flush=True)

    return run(settings, rig, started)


def demo(seconds: float | None = None, record: Path | None = None, **options: Any) -> int:
    """Plays the demo rig.

    :param seconds: end after so long; ``None``: at Ctrl-C
    :param record: a .wav file for what is played; replaced where it exists
    :param options: as for :func:`serve`
    :returns: an exit status
    """
    from neurig.rig.demo import play

    _log_to_stderr()
    return play(seconds, record, **options)


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="neurig: %(message)s")
