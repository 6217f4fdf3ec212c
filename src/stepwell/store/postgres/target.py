"""What a URL says of a PostgreSQL database: to libpq, to us, and to people, who are not shown the password."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from stepwell.errors import DefinitionError

POOL_SIZE: Final = 4
"""Connections that the workers and callers of a process share, at most."""

MAX_POOL_SIZE: Final = 1_000

_SCHEME: Final = re.compile(r"postgres(?:ql)?(?:\+\w+)?://")
"""With the driver that other libraries write into it."""

_PASSWORD: Final = re.compile(r"(?<=//)([^/@:]*):[^/]*@")
_OPTIONS: Final = ("pool_size", "hints", "prepare")


class Target(NamedTuple):
    """A database, as its URL names it."""

    url: str
    """For libpq; the password may be in it."""
    label: str
    """For people."""
    size: int
    """Connections that workers share, at most."""
    hints: bool
    """Whether processes tell each other what has changed."""
    prepare: bool
    """Whether statements are prepared, where that is possible."""


def is_postgres_url(url: str) -> bool:
    """Whether it names a database of PostgreSQL."""
    return _SCHEME.match(url) is not None


def target_of(url: str) -> Target:
    """What the URL says. Raises DefinitionError: it cannot be read, or an option of ours in it is not what it should be."""
    whole = _SCHEME.sub("postgresql://", url, count=1)
    if _is_misread(whole.partition("://")[2]):
        raise DefinitionError('write "@" as %40, "/" as %2F, ":" as %3A and "?" as %3F in the user and the password of database_url')
    base, _, query = whole.partition("?")
    given = [pair for pair in query.split("&") if pair]
    ours = {name: unquote(value) for name, _, value in (pair.partition("=") for pair in given) if name in _OPTIONS}
    others = "&".join(pair for pair in given if pair.partition("=")[0] not in _OPTIONS)
    return Target(
        url=f"{base}?{others}" if others else base,
        label=_PASSWORD.sub(r"\1@", base),
        size=_size(ours.get("pool_size", str(POOL_SIZE))),
        hints=_switch("hints", ours.get("hints", "on")),
        prepare=_switch("prepare", ours.get("prepare", "on")),
    )


def _is_misread(rest: str) -> bool:
    """Whether there is an `@` or `/` that must be of a password: libpq would take that to be shorter, and show the rest."""
    base, _, query = rest.partition("?")
    place, _, path = base.partition("/")
    names = "".join(pair.partition("=")[0] for pair in query.split("&"))
    return place.count("@") > 1 or "@" in path + names or "/" in names


def _size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_POOL_SIZE:
        raise DefinitionError(f"pool_size in database_url is a number from 1 to {MAX_POOL_SIZE}, not {text!r}")
    return int(text)


def _switch(name: str, text: str) -> bool:
    if text not in ("on", "off"):
        raise DefinitionError(f"{name} in database_url is on or off, not {text!r}")
    return text == "on"
