"""Names: of workflows in snake_case, of steps as keys, of branches as paths.

A key names one step of one run: `branch/name:occurrence`. The main branch is empty and a first occurrence bare, so most keys
are simply the step's name: `charge`, `charge:1`, `@0.1/charge`. Nothing here knows of asyncio: a branch is where in a run
something happens, and the engine has one for each task of a body.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

from stepwell.errors import DefinitionError

MAX_NAME: Final = 200
"""Characters in the name of a workflow, a step or a queue."""

TIMER: Final = "~timer"
"""Under this name the timers of asyncio (`sleep`, `timeout`, `wait_for`) are counted; no step's name can start with a tilde."""

BODY: Final = "~body"
"""The key of failed attempts of a body as a whole."""

_SIGNS = re.compile(r"[%/:]|^[@~]")


def snake_case(name: str) -> str:
    """`sendWelcomeEmail` → `send_welcome_email`, `HTTPPing2` → `http_ping2`."""
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words)
    return words.lower()


def checked_name(name: object, what: str) -> str:
    """The name itself, when it can be one.

    Raises:
        DefinitionError: it is no string, empty, longer than `MAX_NAME`, or has characters that databases refuse.
    """
    if not isinstance(name, str):
        raise DefinitionError(f"the name of a {what} is a string, not {type(name).__name__}: {name!r}")
    if not name.strip():
        raise DefinitionError(f"the name of a {what} is empty; give it one")
    if len(name) > MAX_NAME:
        raise DefinitionError(f"the name of a {what} has at most {MAX_NAME} characters; {name[:40]!r}… has {len(name)}")
    if not can_be_kept(name):
        raise DefinitionError(f"the name of a {what} is text without NUL and lone surrogates; {name!r} has one")
    return name


def can_be_kept(text: str) -> bool:
    """Whether every database takes it: some have no NUL in texts, and a lone surrogate is no character."""
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def checked_signal(name: object) -> str:
    """The name of a signal, when it can be one. Raises DefinitionError: it cannot, or it begins with a tilde, as Stepwell's own do."""
    checked = str.__str__(checked_name(name, "signal"))
    if checked.startswith("~"):
        raise DefinitionError(f"the name of a signal does not begin with a tilde, as those of Stepwell itself do; {checked!r} does")
    return checked


def function_name(function: Any, what: str) -> str:
    """The name of a function or method, for a workflow or step that was not given one.

    Raises:
        DefinitionError: it is a lambda, or an object without a name.
    """
    function = getattr(function, "func", function)  # of a functools.partial
    name = getattr(function, "__name__", None) or getattr(type(function), "__name__", "")
    if name == "<lambda>":
        raise DefinitionError(f"a lambda has no name to call the {what} by; give one: {_example(what)}")
    return checked_name(name, what)


def _example(what: str) -> str:
    return '@workflow(name="…")' if what == "workflow" else 'step.run("name", lambda: …)'


def key_name(name: str) -> str:
    """A step's name as it stands in a key: signs that mean something there are percent-encoded.

    Raises:
        DefinitionError: it cannot be a name.
    """
    if type(name) is str and len(name) <= MAX_NAME and name.isidentifier():
        return name
    checked_name(name, "step")
    return _SIGNS.sub(lambda sign: f"%{ord(sign[0]):02X}", name)


def name_of(key: str) -> str:
    """The step's name in a key: `@0.1/send%2Fmail:3` → `send/mail`."""
    name = key.rpartition("/")[2].partition(":")[0]
    return unquote(name) if "%" in name else name


class Branch:
    """Where in a run something happens. It counts what is named in it, so that equal code gives equal keys."""

    __slots__ = ("_children", "_names", "path")

    def __init__(self, path: str = "") -> None:
        self.path = path
        self._children = 0
        self._names: dict[str, int] | None = None  # made when the first step is named: most branches of a gather have one

    def key(self, name: str) -> str:
        """The next key of this (escaped) name here."""
        names = self._names
        if names is None:
            self._names = {name: 1}
        else:
            count = names.get(name, 0)
            names[name] = count + 1
            if count:
                name = f"{name}:{count}"
        return f"{self.path}/{name}" if self.path else name

    def child(self, number: int | None = None) -> Branch:
        """The branch of the next task created here, or of one whose number was reserved."""
        if number is None:
            number = self.reserve(1)
        return Branch(f"{self.path}.{number}" if self.path else f"@{number}")

    def reserve(self, count: int) -> int:
        """Keep the next `count` child numbers for tasks that will be created in another order; the first of them."""
        first = self._children
        self._children = first + count
        return first
