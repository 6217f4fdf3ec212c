"""Who may do what: roles, and how a request shows whose it is. Whether a request was made on purpose is `security`'s."""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, TypeAlias
from unicodedata import category

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from stepwell.core.naming import MAX_NAME
from stepwell.errors import DefinitionError

log = logging.getLogger(__name__)

_HERE: Final = frozenset({"", "::1", "localhost", "testclient"})
"""Hosts of those who ask from this machine, or by no network at all; beside 127.0.0.0/8."""


_UNWRITABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Kinds of signs that a database or a line of log cannot have: control, half of one, and what ends a line."""


class Role(IntEnum):
    """What somebody may do. Each may do what those below it may."""

    VIEWER = 1
    """Look at everything but what is redacted."""
    OPERATOR = 2
    """Start, pause, resume, cancel and retry runs, and work with schedules."""
    ADMIN = 3
    """Delete runs, drain workers, pause workflows and queues."""

    @property
    def word(self) -> str:
        """As it is written."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Whoever has sent a request."""

    role: Role
    name: str | None = None
    """As it is kept with what the user does; None: nobody has said."""

    @property
    def actor(self) -> str:
        """Who acts, as it is kept with each deed."""
        return self.actor_by("web")

    def actor_by(self, way: str) -> str:
        """The same, of whoever has come by this way.

        Any name can be kept, and written into a log: it is as long as names may be, and on one line.
        """
        if self.name is None:
            return way
        return "".join("\ufffd" if category(sign) in _UNWRITABLE else sign for sign in f"{way}:{self.name}"[:MAX_NAME])

    def may(self, role: Role) -> bool:
        """Whether the user has this role, or a higher one."""
        return self.role >= role


Auth: TypeAlias = Callable[[Request], object]
"""Says whose a request is: a role (`"viewer"`, `"operator"`, `"admin"`), a `User`, or None for nobody. It may be an `async def`."""


class NotSignedIn(Exception):
    """Nobody knows whose the request is."""


class NotAllowed(Exception):
    """The user may not do that.

    Attributes:
        needed: who may.
    """

    def __init__(self, needed: Role) -> None:
        super().__init__(f"this takes the role {needed.word}")
        self.needed = needed


class AuthFailed(Exception):
    """The function that was given as `auth` has raised an error, or said what is no role and no user."""


class Access:
    """Finds out whose a request is.

    Args:
        auth: asked first; None: whoever has a token, or everybody is an admin where there are no tokens.
        tokens: roles by bearer token. Browsers send one as the password of whatever name.
        read_only: whether nobody may do more than look.
    """

    def __init__(self, auth: Auth | None, tokens: Mapping[str, Role], *, read_only: bool) -> None:
        self._auth = auth
        self._tokens = tokens
        self._read_only = read_only
        self._has_warned = False

    @property
    def is_open(self) -> bool:
        """Whether everybody gets in."""
        return self._auth is None and not self._tokens

    @property
    def in_words(self) -> str:
        """Who gets in, for people to read. It tells no token."""
        ways = [*(["as the host application says"] if self._auth else []), *(["by token"] if self._tokens else [])]
        return ("everybody, as admin" if self.is_open else " or ".join(ways)) + ("; read-only" if self._read_only else "")

    @property
    def asks_for_password(self) -> bool:
        """Whether a browser can be asked for a token."""
        return bool(self._tokens)

    async def user(self, request: Request) -> User:
        """Whose request it is. Raises NotSignedIn."""
        found = self._by_token(request) or await self._by_auth(request)
        if found is None and self.is_open:
            self._warn_of(request)
            found = User(role=Role.ADMIN)
        if found is None:
            raise NotSignedIn
        return User(role=min(found.role, Role.VIEWER), name=found.name) if self._read_only else found

    def _warn_of(self, request: Request) -> None:
        """Say once in the log that somebody from elsewhere has come in, whom nobody has asked who he is."""
        host = request.client.host if request.client is not None else ""
        if not self._has_warned and host not in _HERE and not host.startswith("127."):
            self._has_warned = True
            log.warning("%s came in as an admin, as everybody does who reaches the web interface; give create_app auth= or tokens=", host)

    async def _by_auth(self, request: Request) -> User | None:
        if self._auth is None:
            return None
        try:
            said = self._auth(request)
            if inspect.isawaitable(said):
                awaited: Awaitable[object] = said
                said = await awaited
            return None if said is None else _user(said)
        except HTTPException:
            raise  # such as a redirect to where one signs in
        except Exception as error:  # it is the user's code, and what it says of its inside is nothing for whoever asks
            raise AuthFailed("auth= of create_app could not say whose the request is") from error

    def has_token(self, headers: Headers) -> bool:
        """Whether a bearer token is shown that is one of ours."""
        kind, _, credentials = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._of_token(credentials.strip(), None) is not None

    def _by_token(self, request: Request) -> User | None:
        kind, _, credentials = request.headers.get("authorization", "").partition(" ")
        match kind.lower():
            case "bearer":
                return self._of_token(credentials.strip(), None)
            case "basic":
                try:
                    name, _, token = base64.b64decode(credentials, validate=True).decode().partition(":")
                except (binascii.Error, ValueError):
                    return None
                return self._of_token(token, name or None)
            case _:
                return None

    def _of_token(self, given: str, name: str | None) -> User | None:
        found = None
        for token, role in self._tokens.items():  # all of them, however early it is found: the time taken tells nothing
            if hmac.compare_digest(token.encode(), given.encode()):
                found = User(role=role, name=name)
        return found


def role_of(word: object) -> Role:
    """The role of that name. Raises DefinitionError: there is none."""
    for role in Role:
        if word is role or word == role.word:
            return role
    raise DefinitionError(f"a role is one of {', '.join(role.word for role in Role)}, not {word!r}")


def _user(said: object) -> User:
    return replace(said, role=role_of(said.role)) if isinstance(said, User) else User(role=role_of(said))
