"""``neurig run``: starts the predictors, and ends them."""

import asyncio
import errno
import logging
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neurig.interaction import loop
from neurig.interaction.complaints import Complaints
from neurig.interaction.config import Map, Settings
from neurig.interaction.live import View
from neurig.interaction.stage import UNSET, Stage
from neurig.osc import Client, OscSocket, resolve

log = logging.getLogger("neurig")

_LAST_WORDS = 0.15  # seconds that closing may take
_THIS_MACHINE = "127.0.0.1"


class CannotStart(Exception):
    """The message is one plain sentence."""


def run(settings: Settings, logs: Path) -> int:
    """Plays until Ctrl-C, or SIGTERM.

    :param logs: folder for the log files
    :returns: an exit status
    """
    try:
        return loop.run(Run(settings, logs).main())
    except CannotStart as problem:
        print(f"neurig: {problem}", file=sys.stderr)
        return 1


class Run:
    """All predictors of a config, and what they share."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self._settings = settings
        self._logs = logs
        self._stages: list[Stage] = []
        self._view = View(self._stages, settings.verbose)
        self._complain = Complaints("neurig")
        self._commands = OscSocket(self._command, self._refuse)
        self._sender = OscSocket(self._answer, self._refuse)  # for knobs and the monitor
        self._clients: dict[tuple[str, int], Client] = {}

    async def main(self) -> int:
        """:raises CannotStart:"""
        finished = asyncio.Event()
        running = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as SIGHUP under nohup
                running.add_signal_handler(number, finished.set)
        running.set_exception_handler(self._mistake)
        sys.setswitchinterval(0.0002)  # seconds that another thread may keep a due frame waiting
        logger = logging.getLogger("neurig")
        logger.addHandler(self._view)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            for warning in self._settings.warnings:
                log.warning("%s", warning)
            await self._open()
            loop.settle()
            self._view.start()
            await finished.wait()
        finally:
            for stage in self._stages:
                stage.silence()
            await asyncio.wait([asyncio.create_task(self._close())], timeout=_LAST_WORDS)
            self._view.stop()
            logger.removeHandler(self._view)
        return 0

    async def _open(self) -> None:
        settings = self._settings
        alone = len(settings.predictors) == 1
        now = asyncio.get_running_loop()
        self._stages += [Stage(one, now, self._logs, self._watch, self._turn, alone) for one in settings.predictors]
        by_name = {stage.settings.name: stage for stage in self._stages}
        for stage in self._stages:
            stage.feeds = [by_name[name] for name in stage.settings.feeds]
            for map_ in stage.settings.maps:
                await self._find(map_)
        await self._sender.open("0.0.0.0", 0)
        for stage in self._stages:
            try:
                await stage.open()
            except OSError as problem:
                osc = stage.settings.ports["osc"]
                advice = ("Is another neurig, or IMPSY, running? [osc] server_port chooses another port"
                          if problem.errno == errno.EADDRINUSE else
                          'server_ip has to be an address of this machine, or "0.0.0.0" for all that it has')
                raise CannotStart(f"{osc.server_ip}:{osc.server_port} cannot be listened to: "
                                  f"{problem.strerror or problem}. {advice}") from None
        try:
            await self._commands.open(_THIS_MACHINE, settings.command_port)
        except OSError as problem:
            log.warning("port %d, for commands, cannot be listened to (%s): [webui] command_port chooses another one",
                        settings.command_port, problem.strerror)
        for stage in self._stages:
            log.info("%s", stage)

    async def _find(self, map_: Map) -> None:
        try:
            self._clients[map_.host, map_.port] = (await resolve(map_.host, map_.port))[-1]
        except OSError:
            log.warning("%s is not known here: %s is not turned", map_.host, map_.address)

    async def _close(self) -> None:
        await asyncio.gather(*(stage.close() for stage in self._stages))
        self._commands.close()
        self._sender.close()

    def _mistake(self, _: Any, context: dict[str, Any]) -> None:
        """Something that nobody has thought of; playing goes on."""
        problem = context.get("exception")
        text = f"{type(problem).__name__}: {problem}" if problem else str(context.get("message"))
        if text not in self._complain.counts:
            log.error("this should not happen", exc_info=problem)
        self._complain(text, text)

    # -- what all predictors share

    def _watch(self, name: str, way: str, values: Sequence[float]) -> None:
        """A frame has come in, or gone out."""
        self._view.frame(name, way, values)
        address = f"/monitor/{way}" if len(self._stages) == 1 else f"/monitor/{name}/{way}"
        self._send((_THIS_MACHINE, self._settings.monitor_port), address,
                   [UNSET if math.isnan(value) else value for value in values])

    def _turn(self, map_: Map, value: float) -> None:
        client = self._clients.get((map_.host, map_.port))
        if client:
            self._send(client, map_.address, [map_.low + value * (map_.high - map_.low)])

    def _send(self, client: Client, address: str, arguments: Sequence[float]) -> None:
        try:
            self._sender.send(client, address, arguments)
        except (OSError, ValueError) as problem:
            self._complain("not sent", f"{client[0]}:{client[1]} cannot be reached: {problem}")

    def _answer(self, client: Client, address: str, arguments: Sequence[Any]) -> None:
        """What the knobs' owner says."""
        if address.endswith("/error"):
            self._complain("refused", f"{client[0]}:{client[1]} answers: {' '.join(map(str, arguments))[:200]}")

    def _command(self, client: Client, address: str, arguments: list[Any]) -> None:
        """``/impsy/word``, for all predictors, or ``/impsy/name/word``, for one."""
        *path, word = address.removeprefix("/impsy/").split("/")
        stages = [stage for stage in self._stages if not path or path == [stage.settings.name]]
        if not address.startswith("/impsy/") or not stages:
            names = ", ".join(stage.settings.name for stage in self._stages)
            return self._complain("unknown address", f"{address[:60]} is nothing that is listened to here: commands "
                                                     f"are /impsy/…, or /impsy/NAME/… for one of {names}")
        for stage in stages:
            stage.command(client, word, arguments)

    def _refuse(self, client: Client, problem: str) -> None:
        self._complain("not OSC", f"{problem}, from {client[0]}")
