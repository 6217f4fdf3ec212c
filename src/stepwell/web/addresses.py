"""Names that people have chosen, as parts of an address: they may hold slashes, percent signs, or nothing but dots. Pure."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor


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
