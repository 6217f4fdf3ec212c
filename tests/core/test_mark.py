import collections
import copy
import dataclasses
import datetime as dt
import enum
import itertools
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr
from pydantic.dataclasses import dataclass as pydantic_dataclass

from stepwell.core import mark
from stepwell.core.mark import MAX_OBJECTS, mark_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.StrEnum):
    SMALL = "small"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: Any


class Text(str):
    __slots__ = ()


class Order(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)
    price: Any = 1
    _connection: Any = PrivateAttr(None)


class Refund(BaseModel):
    price: Any = 1


@dataclasses.dataclass
class Parcel:
    weight: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    text: Any


@pydantic_dataclass
class Letter:
    text: Any


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.uuids()
) | (st.decimals(allow_nan=False) | st.timedeltas() | st.sampled_from(Colour) | st.sets(st.text()) | st.frozensets(st.integers()))
data = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.text(), inner),
        st.builds(Order, price=inner),
        st.builds(Parcel, inner),
        st.builds(Label, inner),
        st.builds(Letter, inner),
        st.builds(Point, inner),
    ),
    max_leaves=10,
)


@given(data)
def test_equal_arguments_have_equal_marks(value: Any) -> None:
    one = mark_of("send", (value,), {"to": value})

    assert mark_of("send", (copy.deepcopy(value),), {"to": copy.deepcopy(value)}) == one
    assert 0 < one < 2**32


@given(data, data)
def test_other_arguments_have_other_marks(one: Any, other: Any) -> None:
    assume(repr(one) != repr(other))
    assume(one != other)

    assert mark_of("send", (one,), {}) != mark_of("send", (other,), {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ([1], (1,)),
        (Order(price=1), Refund(price=1)),
        (Order(price=1), Order.model_validate({"price": 1, "more": 2})),
        (Order(price=1), {"price": 1}),
        (Parcel(1), Letter(1)),
        (Colour.RED, Colour.BLUE),
        (Rights.READ, Rights.READ | Rights.WRITE),
        (Size.SMALL, Colour.RED),
        ([Point(1), Order()], [Point(2), Order()]),
        ([{1, 2}, Order()], [{1, 3}, Order()]),
        ([bytearray(b"a"), Order()], [bytearray(b"b"), Order()]),
        (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, 1, tzinfo=dt.UTC)),
        (dt.time(1), dt.time(2)),
        (Decimal("1.0"), Decimal("1.00")),
        (PurePosixPath("a"), PurePosixPath("b")),
        (Text("a"), Text("b")),
    ],
)
def test_what_is_told_apart(one: Any, other: Any) -> None:
    assert mark_of("send", (one,), {}) != mark_of("send", (other,), {})
    assert mark_of("send", (one,), {}) == mark_of("send", (copy.deepcopy(one),), {}) != 0


def test_name_position_and_keyword_count() -> None:
    marks = [
        mark_of("a", (1,), {}),
        mark_of("b", (1,), {}),
        mark_of("a", (), {"x": 1}),
        mark_of("a", (), {"y": 1}),
        mark_of("a", (1, 1), {}),
    ]

    assert len(set(marks)) == len(marks)


def test_a_uuid_and_its_text_are_told_apart() -> None:
    assert mark_of("send", (uuid.UUID(int=5),), {}) != mark_of("send", (str(uuid.UUID(int=5)),), {})


def test_without_arguments_there_is_no_mark() -> None:
    assert mark_of("send", (), {}) == 0


def test_a_mark_is_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mark, "crc32", lambda _: 0)

    assert mark_of("send", (1,), {}) == 1
    assert mark_of("send", (Order(),), {}) == 1


def test_strings_that_python_shares_and_those_that_it_does_not_have_equal_marks() -> None:
    shared = "tenant"
    made, again = shared.upper().lower(), shared.upper().lower()

    assert made is not again
    assert mark_of("send", (shared, shared, {"a": shared}), {}) == mark_of("send", (made, again, {"a": made}), {})
    assert mark_of("send", ([(1, made)] * 2,), {}) == mark_of("send", ([(1, made), (1, again)],), {})


# --------------------------------------------------------------------------------------------------------- nothing is touched


class Connection:
    """Whatever is asked of it, it talks to a server."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("it was read")

    __str__ = __repr__ = __len__ = __hash__ = __iter__  # type: ignore[assignment]


@dataclasses.dataclass
class Record:
    """As a mapper of tables makes it: what is not loaded yet is loaded when it is asked for."""

    id: int
    name: str = ""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was loaded")


class Sneaky(dict):  # type: ignore[type-arg]
    def items(self, *_: Any) -> Any:
        raise AssertionError("its own method was called")

    __iter__ = __len__ = __getitem__ = keys = values = items


makers: list[Callable[[], Iterator[int]]] = [
    lambda: (number for number in range(3)),
    lambda: iter([0, 1, 2]),
    lambda: map(int, "012"),
    lambda: reversed([0, 1, 2]),
    itertools.count,
]
places: list[Callable[[Any], Any]] = [
    lambda it: it,
    lambda it: [it],
    lambda it: {"a": ({"b": it},)},
    lambda it: Order.model_construct(price=it),
    lambda it: Order.model_construct(price=[Parcel(it)]),
    lambda it: Label((it, Order())),
    lambda it: {it, 1},
]


@pytest.mark.parametrize("make", makers)
@pytest.mark.parametrize("place", places)
def test_an_iterator_is_never_read_and_has_no_mark(make: Callable[[], Iterator[int]], place: Callable[[Any], Any]) -> None:
    iterator = make()

    assert mark_of("send", (place(iterator),), {}) == 0
    assert mark_of("send", (), {"items": place(iterator)}) == 0
    assert next(iterator) == next(make())


@pytest.mark.parametrize(
    "make",
    [
        Connection,
        lambda: [Connection()],
        lambda: Order.model_construct(price=Connection()),
        lambda: lambda: 1,
        lambda: len,
        lambda: Order,
        object,
        lambda: {"a": print},
        lambda: Parcel(lambda: 1),
    ],
)
def test_what_has_no_content_of_its_own_has_no_mark(make: Callable[[], Any]) -> None:
    assert mark_of("send", (make(),), {}) == 0


def test_what_a_record_has_not_loaded_is_not_loaded() -> None:
    loaded, half, empty = Record(1), Record(1), Record(1)
    del half.__dict__["name"]
    del empty.__dict__["id"]

    assert mark_of("send", (loaded,), {}) != 0
    assert mark_of("send", (half,), {}) == 0
    assert mark_of("send", (empty,), {}) == 0


def test_a_slot_without_a_value_has_no_mark() -> None:
    assert mark_of("send", (Label.__new__(Label),), {}) == 0


def test_methods_that_a_subclass_overrides_are_not_called() -> None:
    assert mark_of("send", (Sneaky(a=1),), {}) == mark_of("send", (Sneaky(a=1),), {}) != 0
    assert mark_of("send", (Sneaky(a=1),), {}) != mark_of("send", (collections.OrderedDict(a=1),), {})


class Broken(dt.tzinfo):
    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        raise KeyError("no offset")

    dst = tzname = utcoffset  # type: ignore[assignment]


def test_an_argument_that_fails_when_it_is_looked_at_has_no_mark() -> None:
    assert mark_of("send", (dt.datetime(2024, 1, 1, tzinfo=Broken()),), {}) == 0


def test_a_cycle_has_no_mark() -> None:
    plain: list[Any] = []
    plain.append(plain)
    order = Order()
    order.price = [order]

    assert mark_of("send", (plain,), {}) == 0
    assert mark_of("send", (order,), {}) == 0


def test_large_plain_arguments_have_a_mark_and_a_great_many_objects_have_none() -> None:
    assert mark_of("send", (["x"] * 1_000_000,), {}) != 0
    assert mark_of("send", ([Refund()] * 100,), {}) != 0
    assert mark_of("send", ([Refund()] * MAX_OBJECTS,), {}) == 0


def test_the_classes_kept_in_mind_are_bounded() -> None:
    for number in range(MAX_OBJECTS + 10):
        mark_of("send", (type(f"Class{number}", (), {})(),), {})

    assert len(mark._known) <= MAX_OBJECTS


# --------------------------------------------------------------------------------------------------------- everywhere the same

EVERYWHERE = """
import datetime, decimal, enum, uuid, dataclasses
from pydantic import BaseModel
from stepwell.core.mark import mark_of

class Colour(enum.Enum):
    RED = 1

class Order(BaseModel):
    tags: set[str]
    at: datetime.datetime

@dataclasses.dataclass
class Parcel:
    weight: decimal.Decimal

words = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"}
print(mark_of("send", (1, 2.5, -0.0, None, True, "e\\u0301\\U0001F600\\ud800", b"x", 2**100, [1, (2, {"a": {}})]), {"to": "a@b.c"}))
print(mark_of("send", (words, frozenset(words), {1, "a", 2.5, None, (1, frozenset(words))}), {}))
order = Order(tags=words, at=datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc))
print(mark_of("send", (order, Parcel(decimal.Decimal("1.50"))), {}))
print(mark_of("send", (Colour.RED, uuid.UUID(int=5), {Colour.RED, "a"}, datetime.timedelta(1)), {}))
"""


# As CPython 3.11 first wrote them. Other marks mean that runs in progress lose theirs, and that steps which moved are not noticed.
MARKS = ["332064955", "112108322", "3561450837", "591011773"]


@pytest.mark.parametrize("seed", ["0", "1", "2", "3"])
def test_marks_are_the_same_in_every_process_and_on_every_python(seed: str) -> None:
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(mark.__file__).parents[2])}

    answer = subprocess.run([sys.executable, "-c", EVERYWHERE], env=environment, capture_output=True, text=True, check=True)

    assert answer.stdout.split() == MARKS
