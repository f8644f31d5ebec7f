"""Running until a signal says to stop: for programs that are nothing but an engine.

Only here are signals touched, and only while it runs. The first SIGINT or SIGTERM stops in an
orderly way, a second one does not wait for what is in work.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

__all__ = ["run_until_signalled"]

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_until_signalled(
    running: AbstractAsyncContextManager[object],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Enter `running` in a loop of its own, and leave it when a signal comes.

    Raises what `running` raises, and RuntimeError outside of the main thread, which is the only
    one that is told of signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("signals come to the main thread only: use `async with` here")
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(running))


async def _serve(running: AbstractAsyncContextManager[object]) -> None:
    task = asyncio.current_task()
    assert task is not None, "coroutines run in tasks"
    stop = asyncio.Event()
    is_aborted = False

    def on_signal() -> None:
        nonlocal is_aborted
        if stop.is_set():
            is_aborted = True
            task.cancel()
        stop.set()

    try:
        with _handling(on_signal):
            async with running:
                await stop.wait()
                log.info("stopping")
    except asyncio.CancelledError:
        if not is_aborted:
            raise
        log.warning("stopped before what was in work had ended")


@contextmanager
def _handling(on_signal: Callable[[], None]) -> Iterator[None]:
    """Call `on_signal` for our signals; afterwards they mean what they meant before."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # else it was not set by Python, which then cannot set it
                signal.signal(number, handler)
