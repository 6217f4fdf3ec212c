"""Which database, namespace, time zone and retention an app has: from its arguments, the environment, or the project's pyproject.toml.

Reads files and the environment, and opens nothing. What is given goes before what is set, and that before what is written down.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from stepwell.core.cron import checked_zone
from stepwell.core.retention import Kept, Retention, parse_retention
from stepwell.errors import DefinitionError
from stepwell.store.postgres.target import is_postgres_url, target_of

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

DEFAULT_URL: Final = "sqlite:///stepwell.db"
DEFAULT_NAMESPACE: Final = "stepwell"
DEFAULT_TIMEZONE: Final = "UTC"

_KEYS: Final = ("database_url", "namespace", "timezone", "retention", "target", "web_tokens")
"""Of [tool.stepwell]; `target` is the command line's, `web_tokens` the pages'."""

_SHORTEST_TOKEN: Final = 16
"""Characters."""

_ROLES: Final = ("viewer", "operator", "admin")
"""Words that are no tokens, whoever writes them first."""

_PASSWORD_BEFORE_HOST = re.compile(r"//([^/@:]*):[^/]*@")
_PASSWORD = re.compile(r"([?&])((?:ssl)?password=)[^&]*")
_NAMESPACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_NAMESPACE: Final = 63
"""Bytes of a name in PostgreSQL."""

_URLS: Final = "sqlite:///file.db (a file beside the program), sqlite:////folder/file.db (anywhere), or sqlite:// (in memory)"
_SERVER: Final = "postgresql://user@host/database"


class Settings(NamedTuple):
    """Where an app keeps its runs, and for how long."""

    database_url: str
    path: str | None
    """Of the SQLite file; None: in memory, or on a server."""
    namespace: str
    timezone: str
    retention: Kept
    engine: Any = None
    """Of SQLAlchemy, if the app was given one."""

    @property
    def is_postgres(self) -> bool:
        """Whether they are in a database of PostgreSQL."""
        return is_postgres_url(self.database_url)


class Project(NamedTuple):
    """What a pyproject.toml says of Stepwell."""

    folder: Path
    table: Mapping[str, Any]


def settings_of(
    database_url: str | Engine | AsyncEngine | None = None,
    namespace: str | None = None,
    timezone: str | None = None,
    retention: Retention | None = None,
) -> Settings:
    """The settings of an app that was given these; None is not given.

    Raises:
        DefinitionError: one of them, wherever it comes from, is not what it should be.
        ValueError, TypeError: the retention that was given has a duration that is none.
    """
    project = project_settings() if None in (database_url, namespace, timezone, retention) else None
    engine = database_url if type(database_url).__module__.partition(".")[0] == "sqlalchemy" else None
    url = _setting("database_url", database_url if engine is None else _url_of(engine), project, DEFAULT_URL)
    path = _checked_path(url)
    if path is not None and project is not None and database_url is None and not os.environ.get(_variable("database_url")):
        # So that a program finds the same file wherever in its project it is started.
        path = str(project.folder / path) if "database_url" in project.table else path
    return Settings(
        database_url=url,
        path=path,
        namespace=_checked_namespace(_setting("namespace", namespace, project, DEFAULT_NAMESPACE)),
        timezone=_checked_timezone(_setting("timezone", timezone, project, DEFAULT_TIMEZONE)),
        retention=_retention(retention, project),
        engine=engine,
    )


def web_tokens() -> dict[str, str]:
    """Roles by token, for pages and the HTTP API: STEPWELL_WEB_TOKENS, `token=viewer,other=admin`, else a table in pyproject.toml.

    Raises:
        DefinitionError: they are written otherwise, or a token is shorter than 16 characters.
    """
    text = os.environ.get(_variable("web_tokens"))
    project = project_settings()
    said: Any = project.table.get("web_tokens", {}) if project is not None else {}
    if text:
        said = dict(_token_and_role(pair.strip()) for pair in text.split(","))
    if not isinstance(said, Mapping) or not all(isinstance(role, str) for role in said.values()):
        raise DefinitionError('web_tokens is a table of roles by token: web_tokens = { "a-long-random-text" = "viewer" }')
    return dict(checked_tokens(said))


def _token_and_role(pair: str) -> tuple[str, str]:
    token, equals, role = pair.rpartition("=")
    if not equals or token in _ROLES:
        raise DefinitionError(f"STEPWELL_WEB_TOKENS takes TOKEN=ROLE, with commas between several; ROLE is one of {', '.join(_ROLES)}")
    return token, role


def checked_tokens(tokens: Mapping[Any, T]) -> Mapping[str, T]:
    """The same. A token that is empty, or can be guessed, would let everybody in.

    Raises:
        DefinitionError: one is no text, or has fewer than 16 characters, or others than a header can hold.
    """
    for token in tokens:
        if token in _ROLES:
            raise DefinitionError(f"a token of the web interface is {token!r}, which is a role: the token comes first, then its role")
        if not isinstance(token, str) or len(token) < _SHORTEST_TOKEN:
            told = f"has {len(token)} characters" if isinstance(token, str) else f"is a {type(token).__name__}"
            raise DefinitionError(f"a token of the web interface {told}; take a random text of {_SHORTEST_TOKEN} characters or more")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise DefinitionError("a token of the web interface has characters that no header holds; take letters and digits")
    return tokens


def shown_url(url: str) -> str:
    """The URL without a password, for people."""
    return _PASSWORD.sub(r"\1\2***", _PASSWORD_BEFORE_HOST.sub(r"//\1@", url))


def project_settings() -> Project | None:
    """The table [tool.stepwell] of the nearest pyproject.toml that has one, in the current directory or above; None: there is none.

    Raises:
        DefinitionError: the file is no TOML, or the table has a key that is not known.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        table = _table(folder / "pyproject.toml")
        if table is not None:
            return Project(folder, table)
    return None


def _table(file: Path) -> Mapping[str, Any] | None:
    try:
        table = tomllib.loads(file.read_text("utf-8")).get("tool", {}).get("stepwell")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (ValueError, OSError, AttributeError) as error:  # no UTF-8, no TOML, not to be read, `tool` is no table
        raise DefinitionError(f"{file} cannot be read: {error}") from error
    if table is None:
        return None
    if not isinstance(table, dict):
        raise DefinitionError(f"tool.stepwell in {file} is a table: [tool.stepwell]")
    unknown = sorted(table.keys() - set(_KEYS))
    if unknown:
        raise DefinitionError(f"[tool.stepwell] in {file} has {', '.join(unknown)}; known are {', '.join(_KEYS)}")
    return table


def _setting(name: str, given: object, project: Project | None, default: str) -> str:
    if given is None:
        given = os.environ.get(_variable(name)) or (project.table.get(name, default) if project is not None else default)
    if name == "database_url" and isinstance(given, os.PathLike):
        raise DefinitionError(f'database_url is a URL, not a path; write "sqlite:///{os.fspath(given)}"')
    if not isinstance(given, str):
        raise DefinitionError(f"{name} is a text, not {type(given).__name__}: {given!r}")
    return given


def _url_of(engine: Any) -> str:
    """The URL of an engine of SQLAlchemy."""
    dialect = getattr(getattr(engine, "dialect", None), "name", None)
    if dialect != "postgresql":
        raise DefinitionError(
            f"database_url takes an Engine or AsyncEngine of SQLAlchemy for PostgreSQL, not {type(engine).__name__}"
            + (f" for {dialect}; give its URL instead" if dialect else "")
        )
    url: str = engine.url.render_as_string(hide_password=False)
    return url


def _retention(given: Retention | None, project: Project | None) -> Kept:
    if given is not None:
        return parse_retention(given)
    variable = _variable("retention")
    text = os.environ.get(variable)
    source = variable if text else "[tool.stepwell]"
    said = text or (project.table.get("retention") if project is not None else None)
    try:
        return {} if said is None else parse_retention(said)
    except (ValueError, TypeError, DefinitionError) as error:
        raise DefinitionError(f"{error} (in {source})") from error


def _variable(name: str) -> str:
    return f"STEPWELL_{name.upper()}"


def _checked_path(url: str) -> str | None:
    """The file that a URL names; None: memory, or a server."""
    if not is_postgres_url(url):
        return _sqlite_path(url)
    target_of(url)  # what is wrong with it is said now, and not when it is opened
    return None


def _sqlite_path(url: str) -> str | None:
    """The file that a URL names; None: memory. Messages show nothing of a URL of another kind: it may have a password in it."""
    scheme, separator, rest = url.partition("://")
    if url.startswith("postgres"):
        raise DefinitionError(f'there is no such database; write "{_SERVER}", with this scheme and two slashes')
    if not separator:
        raise DefinitionError(f'database_url is a URL, not a file name; write "sqlite:///{url.removeprefix("sqlite:")}"')
    if scheme != "sqlite":
        raise DefinitionError(f"there is no database {scheme}://; known are {_URLS}, and {_SERVER}")
    if rest in ("", "/:memory:"):
        return None
    if not rest.startswith("/"):
        raise DefinitionError(f'{url!r} has too few slashes; write "sqlite:///{rest}" for a file beside the program')
    if rest == "/" or rest.endswith("/"):
        raise DefinitionError(f"{url!r} names no file; write {_URLS}")
    if "?" in rest or "\0" in rest:
        raise DefinitionError(f"{url!r} takes no options after a question mark; write {_URLS}")
    return rest[1:]


def _checked_namespace(namespace: str) -> str:
    if not _NAMESPACE.fullmatch(namespace) or len(namespace) > _MAX_NAMESPACE:
        raise DefinitionError(
            f"namespace is made of letters from a to z, digits and _, begins with no digit, and is no longer than {_MAX_NAMESPACE}: "
            f"{namespace!r} is not"
        )
    return namespace


def _checked_timezone(timezone: str) -> str:
    checked_zone(timezone)
    return timezone
