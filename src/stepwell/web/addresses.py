"""Names that people have chosen, as parts of an address, which may hold slashes, percent signs or only dots; and its prefix. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor


def prefix_of(scope: Mapping[str, Any]) -> str:
    """Where the application is mounted, as addresses, headers and cookies have it; empty: under no prefix."""
    return quote(str(scope.get("root_path", "")).rstrip("/"))


class NameConvertor(Convertor[str]):
    """A name, as one part of a path: `{workflow:name}`.

    A server decodes a path before anybody can tell a slash of a name from one between two names, so such signs are encoded once more.
    """

    regex: ClassVar[str] = "[^/]+"

    def convert(self, value: str) -> str:
        """The name."""
        return unquote(value)

    def to_string(self, value: str) -> str:
        """As it stands in a path that is yet to be encoded."""
        return _segment(value).replace("/", "%2F")


class NamesConvertor(Convertor[str]):
    """A name, as all the rest of a path: `{name:names}`. Its slashes stay as they are, since those of `*/5` are common."""

    regex: ClassVar[str] = ".+"

    def convert(self, value: str) -> str:
        """The name."""
        return unquote(value)

    def to_string(self, value: str) -> str:
        """As it stands in a path that is yet to be encoded."""
        return "/".join(_segment(part) for part in value.split("/"))


def _segment(text: str) -> str:
    """Dots alone would mean a folder, and a browser would go there. At a line break the pattern of a route would end."""
    return text.replace(".", "%2E") if text in {".", ".."} else text.replace("%", "%25").replace("\n", "%0A")


def register() -> None:
    """Make `name` and `names` known to routes that are made from now on. More often changes nothing."""
    register_url_convertor("name", NameConvertor())
    register_url_convertor("names", NamesConvertor())
