"""How long runs are kept when they have ended, by status: reads what an app or its configuration says. Deletes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Final, TypeAlias

from stepwell.core.duration import Duration, parse_duration
from stepwell.core.status import RunStatus
from stepwell.errors import DefinitionError

Retention: TypeAlias = Duration | Mapping[str, Duration | None] | Mapping[RunStatus, Duration | None]
"""One duration for all that have ended, or one by status: `{"completed": "7d", "failed": "90d"}`. A status left out, or None: for ever."""

Kept: TypeAlias = Mapping[RunStatus, timedelta]
"""For how long after their end runs of a status are kept; for ever, where the status is not in it."""

ENDS: Final = tuple(status for status in RunStatus if status.ended)


def parse_retention(value: object) -> Kept:
    """What is kept for how long. As a text, also by status: `completed=7d, failed=90d`.

    Raises:
        DefinitionError: it names what is no status of an ended run, or a duration of nothing.
        ValueError, TypeError: one of the durations is none.
    """
    if isinstance(value, str) and "=" in value:
        value = _by_name(value)
    if not isinstance(value, Mapping):
        return dict.fromkeys(ENDS, _age(value, "retention"))
    ages = {_end(name): age for name, age in value.items()}
    return {status: _age(age, f"retention of {status} runs") for status, age in ages.items() if age is not None}


def _by_name(text: str) -> dict[str, str]:
    ages: dict[str, str] = {}
    for part in text.split(","):
        name, separator, age = (each.strip() for each in part.partition("="))
        if not separator or name in ages:
            raise DefinitionError(f'retention names each status once, with a duration, such as "completed=7d, failed=90d"; not {text!r}')
        ages[name] = age
    return ages


def _end(name: object) -> RunStatus:
    for status in ENDS:
        if name == status:
            return status
    close = get_close_matches(str(name).lower(), ENDS, n=1)
    hint = f"; did you mean {str(close[0])!r}?" if close else "."
    raise DefinitionError(f"retention is of runs that have ended: {', '.join(ENDS)}; not {name!r}{hint}")


def _age(value: object, what: str) -> timedelta:
    age = parse_duration(value, what)
    if not age:
        raise DefinitionError(f'{what} is longer than zero, such as "1h": who awaits a result would not find it')
    return age
