"""What can be said of times, what is answered to the rest, and how it reads in words."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from cron_descriptor import ExpressionDescriptor  # type: ignore[import-untyped]  # it has no py.typed
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.cron import Cron, in_words
from stepwell.core.expression import ALIASES, checked_expression
from stepwell.errors import DefinitionError
from tests.core.counted import shown
from tests.core.expressions import expressions

NO_EXPRESSION = "has neither five fields (minute, hour, day, month, weekday) nor six with seconds first, and is none of @hourly, @daily,"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("60 * * * *", "schedule expression '60 * * * *': the minute field cannot be '60'; it takes 0-59, such as 0, */15 or 5,35"),
        ("60 * * * * *", "the second field cannot be '60'; it takes 0-59"),
        ("0 24 * * *", "the hour field cannot be '24'; it takes 0-23, such as 9, 9-17 or */6"),
        ("0 0 0 * *", "the day-of-month field cannot be '0'; it takes 1-31, L for the last day or LW"),
        ("0 0 1 13 *", "the month field cannot be '13'; it takes 1-12 or JAN-DEC"),
        ("0 0 * * 8", "the day-of-week field cannot be '8'; it takes 0-7 (0 and 7 are Sunday) or SUN-SAT"),
        ("0 0 * * SAT-SUN", "the day-of-week field cannot be 'SAT-SUN'; it takes"),
        ("0 22-4 * * *", "cannot be '22-4'; it takes 0-23, such as 9, 9-17 or */6. A range goes up: 22-4 is 22,23,0-4, and SAT-SUN is 6-7"),
        ("*/0 * * * *", "the minute field cannot be '*/0'"),
        ("-5 * * * *", "the minute field cannot be '-5'"),
        ("1.5 * * * *", "the minute field cannot be '1.5'"),
        ("* * ? * *", "the day-of-month field cannot be '?'"),
        ("* * * * 1#6", "the day-of-week field cannot be '1#6'"),
        ("* * * * L", "the day-of-week field cannot be 'L'"),
        ("* L * * *", "the hour field cannot be 'L'"),
        ("* * 15W * *", "the day-of-month field cannot be '15W'"),
        ("٣ * * * *", "the minute field cannot be '٣'"),
        ("* * * * fr\u0131", "the day-of-week field cannot be"),  # becomes FRI in capitals
        ("0 0 * JAN-MON/2 *", "the month field cannot be 'JAN-MON/2'"),
        ("1,,2 * * * *", "the minute field cannot be '1,,2'"),
        (
            "0 0 31 2 *",
            "'0 0 31 2 *' never comes: no date fits its day-of-month, month and day-of-week together; the last day of any month",
        ),
        ("0 0 30,31 FEB *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("0 0 */30 * MON#2", "never comes"),
        ("0 0 */28 2 TUE#2", "never comes"),
        ("* * * *", f"'* * * *' {NO_EXPRESSION}"),
        ("* * * * * * *", NO_EXPRESSION),
        ("", f"'' {NO_EXPRESSION}"),
        ("   ", NO_EXPRESSION),
        ("@never", f"'@never' {NO_EXPRESSION}"),
        ("@DAILY", NO_EXPRESSION),
        ("every day", NO_EXPRESSION),
        ("1" * 5_000 + " * * * *", "… is longer than 1,000 characters; write ranges and steps"),
        (b"* * * * *", 'the expression of a schedule is a text such as "0 2 * * *", not bytes'),
        (None, "not NoneType: None"),
    ],
)
def test_what_is_wrong_with_an_expression_is_said(expression: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(message)):
        Cron(expression, "UTC")


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 29 2 *",
        "0 0 29 2 SUN#5",
        "0 0 */28 2 MON",
        "0 0 31 2 MON",
        "0 0 31 2,3 *",
        "0 0 L 2 *",
        "0 0 31,L 2 *",
        "59 59 23 31 12 0-7",
        "*/59 */100 5/7 LW/3 jan-Dec mon,5L",
        ",".join(map(str, range(60))) + " * * * *",
    ],
)
def test_an_expression_that_comes_at_all_can_be(expression: str) -> None:
    assert checked_expression(f" {expression}\n") == expression
    assert Cron(expression, "Europe/Paris").after(0) is not None


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("5-5/10 2 * * *", "5 2 * * *"),
        ("0 02-2/3,4 * * *", "0 2,4 * * *"),
        ("0 0 1-1/1 * *", "0 0 1 * *"),
        ("0 0 1 jan-1/2,mar-MAR/2 *", "0 0 1 1,3 *"),
        ("0 0 * * Mon-1/2,3-5/2,7-7/2", "0 0 * * 0,1,3,5"),
        ("0 0 * * 0-00/2", "0 0 * * 0"),
    ],
)
def test_a_range_of_one_is_that_one_whatever_its_steps(expression: str, same: str) -> None:
    assert checked_expression(expression) == expression
    assert list(Cron(expression, "UTC").between(0, 4e7)) == list(Cron(same, "UTC").between(0, 4e7))


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_the_fields_that_it_stands_for(alias: str) -> None:
    slots = Cron(alias, "Asia/Kolkata").between(1_767_200_000, 1_830_000_000)

    assert list(slots) == list(Cron(ALIASES[alias], "Asia/Kolkata").between(1_767_200_000, 1_830_000_000))
    assert checked_expression(alias) == alias


def test_a_week_begins_with_sunday_and_a_year_with_its_first_day() -> None:
    firsts = [Cron(alias, "UTC").after(1_767_312_000) for alias in ("@weekly", "@monthly", "@yearly")]  # 2026-01-02, a Friday

    assert [text[:16] for text in shown([first for first in firsts if first is not None], "UTC")] == [
        "2026-01-04 00:00",
        "2026-02-01 00:00",
        "2027-01-01 00:00",
    ]


@given(st.one_of(st.text(), st.lists(st.text("0123456789*/,-#LWMONJAN@?", max_size=5), min_size=5, max_size=6).map(" ".join)))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        cron = Cron(text, "Europe/Paris")
    except DefinitionError as error:
        assert "schedule expression" in str(error)
        assert in_words(text) == text
    else:
        assert cron.after(0) is not None
        assert in_words(text)


# --------------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 * * 1-5", "At 09:00, Monday through Friday"),
        (" 0 9 * * mon-fri ", "At 09:00, Monday through Friday"),
        ("@hourly", "Every hour"),
        ("@daily", "At 00:00, every day"),
        ("@weekly", "At 00:00, only on Sunday"),
        ("@monthly", "At 00:00, on day 1 of the month"),
        ("@yearly", "At 00:00, on day 1 of the month, only in January"),
        ("* * * * *", "Every minute"),
        ("* * * * * *", "Every second"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("0-59/15 * * * *", "Every 15 minutes, minutes 0 through 59 past the hour"),
        ("5/15 * * * *", "Every 15 minutes, starting at 5 minutes past the hour"),
        ("*/5 9-17 * * 1-5", "Every 5 minutes, between 09:00 and 17:59, Monday through Friday"),
        ("0 */6 * * *", "Every 6 hours"),
        ("30 17 * * *", "At 17:30, every day"),
        ("0 9,17 * * *", "At 09:00 and 17:00, every day"),
        ("007 09 */1 * */1", "At 09:07, every day"),
        ("0 0 * * 7", "At 00:00, only on Sunday"),
        ("0 0 * * 5-7", "At 00:00, Friday through Sunday"),
        ("0 0 * * 0,6", "At 00:00, only on Sunday and Saturday"),
        ("0 0 L * *", "At 00:00, on the last day of the month"),
        ("0 0 lw * *", "At 00:00, on the last weekday of the month"),
        ("0 0 * * 5L", "At 00:00, on the last Friday of the month"),
        ("0 0 * * 7L", "At 00:00, on the last Sunday of the month"),
        ("0 0 * * MON#1", "At 00:00, on the first Monday of the month"),
        ("0 0 * * 7#5", "At 00:00, on the fifth Sunday of the month"),
        ("0 0 13 * FRI", "At 00:00, on day 13 of the month, or on Friday"),
        ("0 0 1 */3 *", "At 00:00, on day 1 of the month, every 3 months"),
        ("0 0 1,15 JAN,JUL *", "At 00:00, on day 1 and 15 of the month, only in January and July"),
        ("30 0 2 * * *", "At 02:00:30, every day"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("*/10 0 9 * * *", "Every 10 seconds, at 0 minutes past the hour, between 09:00 and 09:59"),
    ],
)
def test_an_expression_reads_as_a_sentence(expression: str, words: str) -> None:
    assert in_words(expression) == words


@pytest.mark.parametrize(
    "expression",
    [
        "*/40 * * * *",  # at 0 and 40, not every 40 minutes
        "*/90 * * * *",
        "25/20 * * * *",
        "0 */5 * * *",
        "0 0 */2 * *",  # on the 31st, and again on the 1st
        "0 0 * */5 *",
        "0 0 * */3 *",  # on every day of such a month
        "0 0 * * */2",
        "0 0 * * 5/2",  # Friday and Sunday, not every second week
        "0 0 * * 1,3/2",
        "0 0 10 * 1-5",  # either, not both
        "0 0 */5 * MON",  # both, not either
        "0 0 * * MON#1,FRI#2",
        "0 0 1,L * *",
        "0 0 * * 0-7",
        "* 1,3 * * *",  # the whole of both hours
        "*/10 */2 * * *",
        "0 1,12-15 * * *",  # not to the end of the last
        "* */5 * * * *",
        "5,10-20/5 * * * *",
    ],
)
def test_words_that_would_mean_something_else_are_not_said(expression: str) -> None:
    assert in_words(expression) == expression


@given(expressions())
def test_any_expression_reads_as_something(expression: str) -> None:
    assert in_words(expression)


@pytest.mark.parametrize("text", ["", "nonsense", "60 * * * *", "0 0 31 2 *", "* * * * * 2026", "0 0 1 1 * 2026 ", "@reboot", "\0"])
def test_what_is_no_expression_is_shown_as_it_is(text: str) -> None:
    assert in_words(text) == text


@pytest.mark.parametrize("answer", ["", None])
def test_without_words_an_expression_stands_for_itself(monkeypatch: pytest.MonkeyPatch, answer: str | None) -> None:
    monkeypatch.setattr(ExpressionDescriptor, "get_description", lambda self: answer)

    assert in_words("0 9 * * *") == "0 9 * * *"


def test_words_that_cannot_be_found_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> str:
        raise FileNotFoundError("en_US.mo")

    monkeypatch.setattr(ExpressionDescriptor, "get_description", fail)

    assert in_words("@daily") == "@daily"


def test_words_are_english_wherever_the_machine_is() -> None:
    program = "import warnings; warnings.simplefilter('error'); from stepwell.core.cron import in_words; print(in_words('0 21 * * *'))"
    for language in ("C", "de_DE.UTF-8"):
        environment = {"LANG": language, "LC_ALL": language, "PYTHONPATH": ":".join(sys.path)}
        assert subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=55, check=True
        ).stdout == ("At 21:00, every day\n")


def test_words_cost_nothing_until_they_are_asked_for() -> None:
    program = "import sys, stepwell; print('cron_descriptor' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=55,
        check=True,
    )

    assert (said.stdout, said.stderr) == ("False\n", "")
