"""Compares the steps that a run has taken with those that a test expects, and says readably where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple, TypeAlias

from stepwell.core.naming import checked_name
from stepwell.core.records import StepRecord

Expected: TypeAlias = str | tuple[str, str]
"""A step's name or key; or that and the status of its last attempt."""

STATUSES: Final = ("running", "completed", "failed", "canceled")


class _Wanted(NamedTuple):
    """One expected step."""

    name: str
    status: str | None


def check_steps(what: str, records: Sequence[StepRecord], expected: Iterable[Expected]) -> None:
    """See `TestApp.assert_steps`. `what`: whose steps they are."""
    wanted = [_wanted(entry) for entry in _listed(expected)]
    taken = _last_attempts(records)
    # A step that is expected by its key is compared by its key, all others by their names.
    keys = {each.name for each in wanted} & {record.key for record in taken if record.key != record.name}
    names = [record.key if record.key in keys else record.name for record in taken]
    lines, is_equal = _compared(wanted, taken, names)
    if not is_equal:
        raise AssertionError("\n".join([f"{what} took other steps than expected (- expected, + taken):", "", *lines]))


def _listed(expected: Iterable[Expected]) -> Iterable[Expected]:
    if isinstance(expected, str) or not isinstance(expected, Iterable):
        raise TypeError(f'expected steps are given as a list, such as ["reserve", ("charge", "failed")]; not {expected!r}')
    return expected


def _wanted(entry: object) -> _Wanted:
    match entry:
        case str(name):
            return _Wanted(checked_name(name, "step"), None)
        case (str(name), str(status)) if status in STATUSES:
            return _Wanted(checked_name(name, "step"), status)
        case (str(name), str(status)):
            raise ValueError(f"a step is {', '.join(STATUSES[:-1])} or {STATUSES[-1]}; {name!r} is expected to be {status!r}")
    raise TypeError(f"an expected step is a name, or a name and a status; not {entry!r}")


def _last_attempts(records: Sequence[StepRecord]) -> list[StepRecord]:
    """One a step, in the order in which the steps were first started."""
    return list({record.key: record for record in records}.values())


def _compared(wanted: Sequence[_Wanted], taken: Sequence[StepRecord], names: Sequence[str]) -> tuple[list[str], bool]:
    lines: list[str] = []
    is_equal = True
    matcher = SequenceMatcher(None, [each.name for each in wanted], names, autojunk=False)
    for what, first, last, first_taken, last_taken in matcher.get_opcodes():
        if what == "equal":
            for each, record, name in zip(wanted[first:last], taken[first_taken:last_taken], names[first_taken:last_taken], strict=True):
                fits = each.status in (None, record.status)
                lines += [f"    {name}"] if fits else [f"  - {name} ({each.status})", f"  + {name} ({record.status}){_why(record)}"]
                is_equal = is_equal and fits
        else:
            is_equal = False
            lines += [f"  - {each.name}" if each.status is None else f"  - {each.name} ({each.status})" for each in wanted[first:last]]
            lines += [
                f"  + {name} ({record.status}){_why(record)}"
                for record, name in zip(taken[first_taken:last_taken], names[first_taken:last_taken], strict=True)
            ]
    return lines, is_equal


def _why(record: StepRecord) -> str:
    return "" if record.error is None else f": {record.error}"
