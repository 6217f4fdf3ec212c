"""What an expression of cron may say, and the same in words. Knows fields and dates; time zones and slots are the module `cron`'s."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from cronsim import CronSim, CronSimError

from stepwell.errors import DefinitionError

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "@hourly": "0 * * * *",
        "@daily": "0 0 * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
    }
)
ANY_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
"""What a clock shows: the library reads an expression from some time on."""

_FIELDS: Final = (
    ("second", "0-59, such as 0, */10 or 5,35"),
    ("minute", "0-59, such as 0, */15 or 5,35"),
    ("hour", "0-23, such as 9, 9-17 or */6"),
    ("day-of-month", "1-31, L for the last day or LW for the last weekday, such as 1, 1-7 or 1,15"),
    ("month", "1-12 or JAN-DEC, such as 1, JAN,JUL or */3"),
    (
        "day-of-week",
        "0-7 (0 and 7 are Sunday) or SUN-SAT, such as MON-FRI, MON#1 for the first Monday of a month or 5L for its last Friday",
    ),
)
_KEPT: Final = 20_000
"""Texts that were found right, or could be read: as many schedules as there may well be, each of which is declared and then timed."""

_LONGEST_TEXT: Final = 1_000  # every second, minute, hour and day, each named, is shorter

_NUMBERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: str(number)
        for first, names in ((1, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"), (0, "SUN MON TUE WED THU FRI SAT"))
        for number, name in enumerate(names.split(), first)
    }
)
_VALUE: Final = r"(?:\d+|[A-Z]{3})"
_SPAN: Final = rf"{_VALUE}(?:-{_VALUE})?"
_VALUES: Final = re.compile(rf"{_VALUE}(?:,{_VALUE})*")
_SPANS: Final = re.compile(rf"{_SPAN}(?:,{_SPAN})*")
_STEPS_OF_SPAN: Final = re.compile(rf"({_VALUE})-({_VALUE})/\d+")
_STEPS: Final = re.compile(r"(\*|\d+)/(\d+)")
_ONE_OF_MONTH: Final = re.compile(rf"{_VALUE}#\d|\dL")
_WHOLE_WEEK: Final = re.compile(r"(0|SUN)-7")


def checked_expression(expression: object) -> str:
    """The expression as it was written, without the space around it.

    Raises:
        DefinitionError: it is no text, cannot be read, or never comes.
    """
    if not isinstance(expression, str):
        raise DefinitionError(
            f'the expression of a schedule is a text such as "0 2 * * *", not {type(expression).__name__}: {expression!r}'
        )
    return _checked(expression.strip())


@lru_cache(maxsize=_KEPT)
def _checked(expression: str) -> str:
    if len(expression) > _LONGEST_TEXT:
        raise DefinitionError(
            f"schedule expression {expression[:50]!r}… is longer than {_LONGEST_TEXT:,} characters; write ranges and steps"
        )
    fields = ALIASES.get(expression, expression).split()
    if len(fields) not in {len(_FIELDS) - 1, len(_FIELDS)}:
        raise DefinitionError(
            f"schedule expression {expression!r} has neither five fields (minute, hour, day, month, weekday) nor six with seconds first, "
            f"and is none of {', '.join(ALIASES)}"
        )
    for number, field in enumerate(fields, len(_FIELDS) - len(fields)):
        if not _readable(field, number):
            name, takes = _FIELDS[number]
            hint = ". A range goes up: 22-4 is 22,23,0-4, and SAT-SUN is 6-7" if "-" in field else ""
            raise DefinitionError(f"schedule expression {expression!r}: the {name} field cannot be {field!r}; it takes {takes}{hint}")
    if not _comes(spelled_out(expression)):
        raise DefinitionError(
            f"schedule expression {expression!r} never comes: no date fits its day-of-month, month and day-of-week together; "
            "the last day of any month is L"
        )
    return expression


def spelled_out(expression: str) -> str:
    """The expression as the library understands it: fields for an alias, and capitals.

    In `5-5/10` it takes the 5 for a beginning, as in `5/10`. A range of one is written as that one.
    """
    return _STEPS_OF_SPAN.sub(_without_steps_of_one, ALIASES.get(expression, expression).upper())


def in_words(expression: str) -> str:
    """The expression in English, for people to read beside it: `At 09:00, every day`, `At 09:00, Monday through Friday`.

    Where no words are known that say the same, and for a text that is no expression, the answer is the text itself.
    """
    try:
        fields = spelled_out(checked_expression(expression)).split()
    except DefinitionError:
        return expression
    if len(fields) < len(_FIELDS):
        fields = ["0", *fields]
    fields = [_plain(field) for field in fields]
    said = _described(" ".join(fields)) if _describable(*fields) else ""
    is_daily = said.startswith("At ") and fields[2] != "*" and fields[3:] == ["*", "*", "*"]
    return f"{said}, every day" if is_daily else said or expression


@lru_cache(maxsize=_KEPT)
def _readable(field: str, number: int) -> bool:
    """Whether the field can be, at its place among six and with any others."""
    if not field.isascii():  # the library writes it in capitals first, and by that some other letters become ours
        return False
    alone = ["*"] * len(_FIELDS)
    alone[number] = field
    try:
        CronSim(" ".join(alone), ANY_TIME)
    except CronSimError:
        return False
    return True


def _comes(expression: str) -> bool:
    # The rarest, a leap day that is a certain weekday, comes again within forty years; the library looks fifty ahead.
    try:
        return next(CronSim(expression, ANY_TIME), None) is not None
    except CronSimError:
        return False


def _without_steps_of_one(found: re.Match[str]) -> str:
    low, high = (_NUMBERS.get(value, value).lstrip("0") for value in found.groups())
    return found[1] if low == high else found[0]


def _plain(field: str) -> str:
    """Without zeros in front and steps of one, over which the words would stumble."""
    field = re.sub(r"\b0+(?=\d)", "", field)
    return "*" if field == "*/1" else field


def _describable(second: str, minute: str, hour: str, day: str, month: str, weekday: str) -> bool:
    """Whether the library's words say what the expression means. What they say was read for all that is let through here."""
    return (
        _evenly(second, 60)
        and _evenly(minute, 60)
        and _evenly(hour, 24)
        and not (_repeats(second) and _scattered(minute))
        and not (_repeats(minute) and _scattered(hour))
        and not ("," in hour and "-" in hour)  # its ranges would last to the end of the hour
        and _dates(day, weekday)
        and _months(month, day, weekday)
    )


def _evenly(field: str, size: int) -> bool:
    """Steps that begin anew in each hour or day are no `every 40 minutes`."""
    if field == "*" or _SPANS.fullmatch(field) or _STEPS_OF_SPAN.fullmatch(field):
        return True
    steps = _STEPS.fullmatch(field)
    if steps is None:
        return False
    start, step = int(steps[1].replace("*", "0")), int(steps[2])
    return start < step < size and size % step == 0


def _repeats(field: str) -> bool:
    return field == "*" or "/" in field


def _scattered(field: str) -> bool:
    """`Every minute, at 01:00 and 03:00` does not say that the whole hours are meant."""
    return "," in field or "/" in field


def _dates(day: str, weekday: str) -> bool:
    if weekday != "*" and day != "*":
        # Either may fit. The words say so of single days, and of a range as if both had to.
        return _days(day) and _VALUES.fullmatch(weekday) is not None
    return _days(day) and (
        weekday == "*"
        or _ONE_OF_MONTH.fullmatch(weekday) is not None
        or (_SPANS.fullmatch(weekday) is not None and _WHOLE_WEEK.search(weekday) is None)
    )


def _days(day: str) -> bool:
    return day in {"*", "L", "LW"} or _SPANS.fullmatch(day) is not None


def _months(month: str, day: str, weekday: str) -> bool:
    if _STEPS.fullmatch(month):
        # Else `every 3 months` would stand where every day of such a month is meant.
        return month.startswith("*") and _evenly(month, 12) and day != "*" and weekday == "*"
    return month == "*" or _SPANS.fullmatch(month) is not None


def _described(fields: str) -> str:
    """In the library's words; empty where it has none."""
    # Not until somebody asks: most programs never do, and its import takes time.
    from cron_descriptor import ExpressionDescriptor, Options  # type: ignore[import-untyped]  # noqa: PLC0415  # it has no py.typed

    # Its own choice of a language would follow the machine's, and warn where that has none.
    options = Options(locale_code="en_US", use_24hour_time_format=True, verbose=False)
    try:
        return str(ExpressionDescriptor(fields, options).get_description() or "")
    except Exception:  # noqa: BLE001  # words are a courtesy: without them, the expression stands for itself
        return ""
