"""Finds what is secret in texts: messages of errors, tracebacks, lines of log. Pure.

A text has no fields, so what is found is what looks like one: `password=…`, `"password": …`, `password: …`, a header with a token,
a URL with a password in it. What is written in another way is not found. Rather too much is hidden than too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "•••"

# Whatever may be repeated is bounded, or eaten for good: a run may say what it likes, and reading it takes no longer than it is long.
_NAME: Final = r"""
    (?:{parts})
    (?: [\w.\-\[\]]{{0,100}}+ (?P<bare>\s{{0,8}} (?: =>? (?!=) | : (?![=:]) ) \s{{0,8}})
      | [^"'\n=]{{0,100}}+ ["'] \s{{0,8}} (?: =>? (?!=) | : ) \s{{0,8}}
      | [\w.\-\[\]]{{0,100}}+ \n [ ]{{1,8}} [^\n]{{0,1000}}? input_value=
    )"""
"""A name and what comes before its value: bare, in quotes, or on the line before, as pydantic tells of a field."""

_CLASS: Final = re.compile(r"\b[A-Z]\w{0,100}?[a-z][A-Z]\w{0,100}\s{0,8}:\s{0,8}\Z")
"""`TokenExpired:` is the name of an error before its message."""

_DOUBLE: Final = r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)'
_SINGLE: Final = r"'(?:[^'\\]|\\.)*+(?:'|\\?\Z)"
_QUOTED: Final = re.compile(rf"(?:[bBrRuU]{{1,2}}|[\w.]{{1,60}}\()?(?:{_DOUBLE}|{_SINGLE}|(\\+[\"']).*?(?:\1|\Z))", re.DOTALL)
"""The last is within a text that is quoted itself."""

_UNQUOTED: Final = re.compile(r"""[^\s,;&)\]}"'<>]+""")
_BRACKETS: Final = re.compile(rf"[\[({{]|([\])}}])|{_DOUBLE}|{_SINGLE}", re.DOTALL)

_URL: Final = re.compile(r"""(?<=://)([^\s/?#:@\\"'<>]*:)?[^\s/?#\\"'<>]+@""")
"""Who asks, in a URL; the group is the user, where there is a password as well."""

_CUT_URL: Final = re.compile(
    r"""(?<=://)(?!\[)([^\s/?#:@\\"'<>]*:)(?!\d{1,5}(?:[.,;:!?)\]}]|\Z|…))[^\s/?#@\\"'<>…]+(?=…|\Z)""",
)
"""A user and the beginning of a password in a URL, where the text ends or was cut off. A port has digits alone."""

_CUT: Final = re.compile(r"(?<=characters\) …\n)[^\n]+")
"""The rest of a line whose beginning was cut out of a traceback: nobody knows what it is."""

_HEADER: Final = re.compile(r"\b(bearer|basic)(\s{1,8})(?=[\w.~+/-]*+(?<=[\w.~+/-]{8}))(?=[a-z.~+/_-]*\d)[\w.~+/-]+=*", re.IGNORECASE)
"""A header that says who asks. In a text about such a header there are words, which have no digits."""


class Prose:
    """Hides what is secret in texts.

    Args:
        names: parts of names, in small letters, of what is.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        parts = "|".join(re.escape(name) for name in self._names)
        self._name = re.compile(_NAME.format(parts=parts), re.IGNORECASE | re.VERBOSE) if parts else None

    def __call__(self, text: str) -> str:
        """The text, without what is hidden. It may have been cut off anywhere."""
        if self._name is None:
            return text
        text = _CUT.sub(HIDDEN, text)
        small = text.lower()  # most texts have nothing of all that in them, and this finds out fast
        if "://" in small:
            text = _URL.sub(lambda found: f"{found[1] or ''}{HIDDEN}@", text)
            text = _CUT_URL.sub(rf"\1{HIDDEN}", text)
        if "bearer" in small or "basic" in small:
            text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
        return _without_named(text, self._name) if any(name in small for name in self._names) else text


def _without_named(text: str, name: re.Pattern[str]) -> str:
    shown, place = [], 0
    while found := name.search(text, place):
        end = _end_of_value(text, found)
        shown.append(text[place : found.end()] + (HIDDEN if end > found.end() else ""))
        place = end
    return "".join([*shown, text[place:]])


def _end_of_value(text: str, name: re.Match[str]) -> int:
    """Where the value ends that is called so; where it would begin, if there is none."""
    begin = name.end()
    if text[begin : begin + 1] in ("[", "{", "("):
        return _end_of_brackets(text, begin)
    if quoted := _QUOTED.match(text, begin):
        return quoted.end()
    if name["bare"] and _CLASS.search(text, max(0, name.start() - 100), begin):
        return begin
    bare = _UNQUOTED.match(text, begin)
    return bare.end() if bare else begin


def _end_of_brackets(text: str, begin: int) -> int:
    depth = 0
    for found in _BRACKETS.finditer(text, begin):
        depth += -1 if found[1] else 1 if found[0] in "[({" else 0
        if depth == 0:
            return found.end()
    return len(text)
