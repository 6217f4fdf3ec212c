"""Lets people edit a value without seeing what is hidden in it: marks stand for that, and are exchanged for it again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from stepwell.web.prose import HIDDEN

Hides: TypeAlias = Callable[[object], bool]
"""Whether what has this name is hidden."""

_MARK: Final = f"{HIDDEN} "


def mark_of(path: tuple[str | int, ...]) -> str:
    """What stands for the hidden value that is there: `••• cards[0].token`. It says where from, as items may be moved."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return _MARK + text.removeprefix(".")


def masked(value: Any, hides: Hides, path: tuple[str | int, ...] = ()) -> Any:
    """The value, with marks for what is hidden."""
    if isinstance(value, Mapping):
        return {
            key: mark_of((*path, key)) if hides(key) and item is not None else masked(item, hides, (*path, key))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item, hides, (*path, place)) for place, item in enumerate(value)]
    return value


def restored(value: Any, original: Any, hides: Hides, path: tuple[str | int, ...] = ()) -> Any:
    """What was made of a masked value, with what its marks stand for in the original.

    A mark counts only under a name that is hidden: elsewhere it would show what it stands for.

    Raises:
        ValueError: a mark stands for nothing.
    """
    return _restored(value, dict(_marks(original, hides, path)), hides)


def _restored(value: Any, known: Mapping[str, Any], hides: Hides) -> Any:
    if isinstance(value, Mapping):
        return {key: _behind(item, known) if hides(key) and is_mark(item) else _restored(item, known, hides) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item, known, hides) for item in value]
    return value


def _behind(mark: str, known: Mapping[str, Any]) -> Any:
    if mark not in known:
        raise ValueError(f"there is no hidden value {mark!r}; write the value itself")
    return known[mark]


def without_hidden(text: str, value: Any, hides: Hides) -> str:
    """A text about a value, such as what is wrong with it, without what is hidden in that."""
    found = {part for _, hidden in _marks(value, hides, ()) for part in _texts(hidden)}
    for part in sorted(found, key=len, reverse=True):
        text = text.replace(part, HIDDEN)
    return text


def _texts(value: Any) -> Iterator[str]:
    """Texts and numbers, wherever they are in it; as they stand in a message, also one that quotes them."""
    match value:
        case Mapping():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
        case bool() | None:
            pass
        case _:
            yield from {str(value), repr(value)[1:-1] if isinstance(value, str) else ""} - {""}


def is_mark(value: Any) -> bool:
    """Whether it stands for something hidden."""
    return isinstance(value, str) and value.startswith(_MARK)


def _marks(value: Any, hides: Hides, path: tuple[str | int, ...]) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [
            pair
            for key, item in value.items()
            for pair in ([(mark_of((*path, key)), item)] if hides(key) and item is not None else _marks(item, hides, (*path, key)))
        ]
    if isinstance(value, list):
        return [pair for place, item in enumerate(value) for pair in _marks(item, hides, (*path, place))]
    return []
