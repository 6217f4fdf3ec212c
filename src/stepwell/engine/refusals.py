"""What the body of a workflow must not do, and what it is told to do instead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from stepwell.errors import NotInStep

if TYPE_CHECKING:
    from collections.abc import Callable

Loop = TypeVar("Loop", bound=asyncio.AbstractEventLoop)

_DOES: Final = {
    "run_in_executor": "hands work to a thread (asyncio.to_thread, run_in_executor)",
    "subprocess_shell": "starts a subprocess",
    "subprocess_exec": "starts a subprocess",
    "call_soon_threadsafe": "takes calls from another thread (call_soon_threadsafe)",
    "getaddrinfo": "looks up a host's address",
    "getnameinfo": "looks up a host's name",
    "create_server": "starts a server",
    "create_unix_server": "starts a server",
    "add_signal_handler": "handles a signal",
    "remove_signal_handler": "handles a signal",
    "set_task_factory": "sets a task factory (tasks of a body are made in an order that replays)",
    "set_exception_handler": "sets an exception handler",
} | dict.fromkeys(
    ("run_forever", "run_until_complete", "stop", "close", "shutdown_asyncgens", "shutdown_default_executor"),
    "drives the event loop itself",
)


def without_io(loop: type[Loop]) -> type[Loop]:
    """The class, with a refusal for whatever asyncio asks of a loop that it has no method of its own for."""
    for name, method in vars(asyncio.AbstractEventLoop).items():
        if callable(method) and not name.startswith("_") and name not in vars(loop):
            setattr(loop, name, _refusal(name))
    loop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    return loop


def _refusal(name: str) -> Callable[..., NoReturn]:
    does = _DOES.get(name, "opens or uses a connection")

    def refused(self: object, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG001  # whatever it is called with
        raise NotInStep(
            f"the body of a workflow {does}. On a replay that would happen again, and in another order. "
            'Put it into a step, where it runs once and its result is remembered: await step.run("name", function, ...)'
        )

    refused.__name__ = name
    return refused
