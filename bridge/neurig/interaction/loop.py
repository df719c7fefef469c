"""An event loop that is on time."""

import asyncio
import ctypes
import gc
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like ``asyncio.run``, but timers fire within some hundredths of a millisecond.

    ``select`` waits to the microsecond, where ``epoll``, asyncio's own choice, rounds up to whole milliseconds.
    """
    _set_timer_slack(1)
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(main)


def _set_timer_slack(nanoseconds: int) -> None:
    """Linux lets a waiting thread sleep 50 µs longer than it wanted, to wake up less often."""
    try:
        ctypes.CDLL(None).prctl(29, nanoseconds, 0, 0, 0)  # PR_SET_TIMERSLACK
    except (AttributeError, OSError, TypeError):  # another system
        pass


def settle() -> None:
    """To be called when all is in place: what exists now is no longer looked through for garbage, which takes some
    milliseconds each time."""
    gc.collect()
    gc.freeze()


async def aside(work: Callable[[], T]) -> T:
    """The result of ``work``, which another thread does. The program's end does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: Any, problem: BaseException | None) -> None:
        if not done.done():
            done.set_exception(problem) if problem else done.set_result(result)

    def do() -> None:
        result, problem = None, None
        try:
            result = work()
        except BaseException as caught:  # is raised again where it is waited for
            problem = caught
        try:
            loop.call_soon_threadsafe(finish, result, problem)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    threading.Thread(target=do, daemon=True).start()
    return await done
