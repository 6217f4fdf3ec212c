import collections
import dataclasses
import datetime as dt
import enum
import functools
import gc
import ipaddress
import itertools
import json
import math
import re
import typing
import uuid
import weakref
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import PurePosixPath
from types import CodeType
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from unittest.mock import AsyncMock, Mock
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
)
from typing_extensions import TypedDict  # what pydantic asks for below Python 3.12

from stepwell.core import codec
from stepwell.core.codec import (
    MAX_CODECS,
    PlainCodec,
    codec_of,
    input_text,
    input_value,
    output_text,
    result_annotation,
)
from stepwell.core.definition import StepFunction
from stepwell.errors import DefinitionError, InvalidInput, InvalidOutput, NotSerializable, PayloadTooLarge

PLAIN = codec_of(Any)
STEP = "step 'load'"


def same(one: Any, other: Any) -> bool:
    """Equal to the last type and sign of zero."""
    return repr(one) == repr(other)


def refused(annotation: Any, value: Any) -> NotSerializable:
    with pytest.raises(NotSerializable) as caught:
        codec_of(annotation).round_trip(value, STEP)
    return caught.value


def back(annotation: Any, value: Any) -> Any:
    text, decoded = codec_of(annotation).round_trip(value, STEP)
    json.loads(text, parse_constant=pytest.fail)
    again = codec_of(annotation).decode(text)
    assert type(again) is type(decoded)
    return decoded


texts = st.text(st.characters(exclude_categories=["Cs"]))
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**400), 10**400) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)

# ---------------------------------------------------------------------------------------------------------------- plain JSON


@given(plain_values)
def test_plain_json_comes_back_as_it_was_to_the_last_type(value: Any) -> None:
    text, decoded = PLAIN.round_trip(value, STEP)

    assert same(decoded, value)
    assert same(PLAIN.decode(text), value)
    assert same(json.loads(text), value)
    assert PLAIN.encode(value, STEP) == text


@pytest.mark.parametrize("value", ["\0", "", "é😀\u2028", -0.0, 5e-324, 1e308, 2**64, -(2**63) - 1, [], {}, {"": {}}, [[]] * 3])
def test_the_odd_corners_of_json_come_back_as_they_were(value: Any) -> None:
    assert same(back(Any, value), value)


class Colour(enum.Enum):
    RED = "red"


class Size(enum.StrEnum):
    SMALL = "small"


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int


class Order(BaseModel):
    price: Any = 1


class Text(str):
    __slots__ = ()


class Opaque:
    pass


@dataclasses.dataclass
class Parcel:
    weight: float


@pytest.mark.parametrize(
    ("value", "fate"),
    [
        ((1, 2), "a list"),
        (Point(1), "a list"),
        ({1}, "a list"),
        (frozenset({1}), "a list"),
        (collections.deque([1]), "a list"),
        (collections.OrderedDict(a=1), "a dict"),
        (collections.Counter("aab"), "a dict"),
        (Order(), "a dict"),
        (Parcel(1.5), "a dict"),
        (Colour.RED, "a str"),
        (Size.SMALL, "a str"),
        (Level.LOW, "an int"),
        (Text("a"), "a str"),
        (b"a", "a str"),
        (bytearray(b"a"), "a str"),
        (dt.date(2024, 1, 1), "a str"),
        (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "a str"),
        (dt.timedelta(1), "a str"),
        (uuid.UUID(int=1), "a str"),
        (Decimal("1.5"), "a str"),
        (PurePosixPath("a"), "a str"),
    ],
)
def test_what_json_gives_back_as_something_else_is_refused_with_what_it_would_be(value: Any, fate: str) -> None:
    error = refused(Any, {"rows": [0, 1, value]})

    kind = type(value).__name__
    assert error.path == "$.rows[2]"
    assert error.what == STEP
    assert f"{kind} at $.rows[2], which JSON gives back as {fate}. Annotate the function's return type, or pass result=" in str(error)


def test_the_message_says_which_step_what_where_and_what_to_do() -> None:
    error = refused(Any, {"rows": [1, 2, (3, 4)]})

    assert str(error) == (
        "step 'load' returned a tuple at $.rows[2], which JSON gives back as a list. "
        "Annotate the function's return type, or pass result= to step.define."
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        ("\ud800", "a str with a lone surrogate"),
        ({"\ud800": 1}, "a key with a lone surrogate"),
        (len, "a builtin_function_or_method"),
        (lambda: 1, "a function"),
        (Opaque(), "an Opaque"),
        (Opaque, "a type"),
        (..., "an ellipsis"),
        (1j, "a complex"),
        (compile("1", "", "eval"), "a code"),
        (memoryview(b"a"), "a memoryview"),
        (range(3), "a range"),
    ],
)
def test_what_json_cannot_carry_is_refused(value: Any, found: str) -> None:
    error = refused(Any, ["a", value])

    assert error.path == "$[1]"
    assert f"returned {found} at $[1], which JSON cannot carry. Put in its place what JSON can carry" in str(error)


def test_an_int_is_carried_up_to_the_digits_that_are_read_back() -> None:
    assert back(Any, 10**4299) == 10**4299
    assert back(int, 10**4299) == 10**4299
    for annotation in (Any, list[int]):
        assert "an int of more than 4,300 digits at $[0]" in str(refused(annotation, [10**4400]))


@pytest.mark.parametrize("key", [1, 1.5, True, None, (1, 2), b"a", Size.SMALL])
def test_a_key_that_is_no_str_is_refused(key: Any) -> None:
    error = refused(Any, {"a": {key: 1}})

    assert error.path == "$.a"
    assert re.search(r"returned a dict with the key .* at \$\.a, a key that JSON gives back as a str", str(error))


def test_a_cycle_is_refused() -> None:
    value: dict[str, Any] = {"a": []}
    value["a"].append(value)

    error = refused(Any, value)

    assert error.path == "$.a[0]"
    assert "a cycle" in str(error)


def test_one_object_in_two_places_is_no_cycle() -> None:
    shared = [1]

    decoded = back(Any, [shared, shared])

    assert decoded == [[1], [1]]


def nested(levels: int) -> list[Any]:
    value: list[Any] = ["core"]
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("annotation", [Any, list[Any]])
def test_nesting_is_carried_as_deep_as_it_can_be_read_back(annotation: Any) -> None:
    assert back(annotation, nested(200)) == nested(200)

    for levels in (201, 202, 230, 260, 5000):
        assert "more than 200 levels of nesting" in str(refused(annotation, nested(levels)))


def counted(limit: int | None = None) -> Iterator[int]:
    yield from itertools.count() if limit is None else range(limit)


@pytest.mark.parametrize(
    "make", [counted, itertools.count, lambda: iter([1, 2]), lambda: map(int, "12"), lambda: zip([1], [2], strict=True)]
)
@pytest.mark.parametrize("place", [lambda it: it, lambda it: [it], lambda it: {"a": {"b": it}}, lambda it: (it,)])
def test_an_iterator_is_refused_unread(make: Callable[[], Iterator[Any]], place: Callable[[Any], Any]) -> None:
    value = make()

    error = refused(Any, place(value))

    assert str(error).startswith("step 'load' returned")
    assert next(value) is not None


@given(plain_values)
def test_a_difference_is_found_wherever_it_is(value: Any) -> None:
    class Strange:
        pass

    path, spoiled = "$", Strange()
    wrapped: Any = spoiled
    if isinstance(value, list):
        wrapped, path = [*value, spoiled], f"$[{len(value)}]"
    elif isinstance(value, dict):
        assume("odd" not in value)
        wrapped, path = {**value, "odd": [spoiled]}, "$.odd[0]"

    assert refused(Any, wrapped).path == path


def test_a_path_quotes_keys_that_are_no_names() -> None:
    assert refused(Any, {"a b": {"it's": (1,)}}).path == "$['a b'][\"it's\"]"


def test_object_means_any() -> None:
    assert isinstance(codec_of(object), PlainCodec)
    assert isinstance(PLAIN, PlainCodec)


def test_a_stored_text_that_is_no_json_is_an_error_that_says_so() -> None:
    with pytest.raises(NotSerializable, match="what is stored of step 'load' is no JSON"):
        PLAIN.decode("{", STEP)


def test_each_decoding_gives_a_fresh_object() -> None:
    text, first = PLAIN.round_trip({"a": [1]}, STEP)
    given_list = [1]

    first["a"].append(2)
    _, decoded = PLAIN.round_trip(given_list, STEP)

    assert PLAIN.decode(text) == {"a": [1]}
    assert decoded is not given_list


# -------------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("annotation", [Any, str])
def test_a_value_of_just_the_limit_is_taken_and_one_byte_more_is_not(annotation: Any) -> None:
    value = "é" * 4  # eight bytes and two quotes

    assert codec_of(annotation).encode(value, STEP, 10) == '"éééé"'
    with pytest.raises(PayloadTooLarge) as caught:
        codec_of(annotation).encode(value, STEP, 9)

    assert (caught.value.what, caught.value.size, caught.value.limit) == (STEP, 10, 9)


# ---------------------------------------------------------------------------------------------------------------- annotated


class Row(TypedDict, total=False):
    id: uuid.UUID
    at: dt.datetime


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str = ""


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Node(BaseModel):
    value: Decimal = Decimal(0)
    children: list["Node"] = []


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    parcels: tuple[Parcel, ...]
    colour: Colour | None = None


decimals = st.decimals(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.none() | st.timezones() | st.just(dt.UTC))
floats = st.floats(allow_nan=False, allow_infinity=False)
cats = st.builds(Cat, lives=st.integers())
dogs = st.builds(Dog, name=texts)
nodes = st.recursive(st.builds(Node, value=decimals), lambda inner: st.builds(Node, value=decimals, children=st.lists(inner, max_size=3)))
shipments = st.builds(
    Shipment, parcels=st.lists(st.builds(Parcel, floats), max_size=3).map(tuple), colour=st.none() | st.sampled_from(Colour)
)


@given(
    st.one_of(
        [
            st.tuples(st.just(annotation), values)
            for annotation, values in [
                (int, st.integers()),
                (float, floats),
                (float, st.integers(-(2**53), 2**53)),
                (str, texts),
                (bool, st.booleans()),
                (None, st.none()),
                (bytes, st.binary()),
                (list[bytes], st.lists(st.binary())),
                (Decimal, decimals),
                (uuid.UUID, st.uuids()),
                (dt.date, st.dates()),
                (dt.time, st.times()),
                (dt.timedelta, st.timedeltas()),
                (Colour, st.sampled_from(Colour)),
                (Size, st.sampled_from(Size)),
                (Level | None, st.none() | st.sampled_from(Level)),
                (Literal["a", 1] | None, st.sampled_from(["a", 1, None])),
                (tuple[int, str], st.tuples(st.integers(), texts)),
                (tuple[int, ...], st.lists(st.integers()).map(tuple)),
                (set[int], st.sets(st.integers())),
                (frozenset[str], st.frozensets(texts)),
                (dict[int, str], st.dictionaries(st.integers(), texts)),
                (dict[uuid.UUID, dt.date], st.dictionaries(st.uuids(), st.dates())),
                (dict[str, Any], st.dictionaries(texts, plain_values)),
                (list[Any], st.lists(plain_values)),
                (dict, st.dictionaries(texts, plain_values)),
                (collections.deque[int], st.lists(st.integers()).map(collections.deque)),
                (collections.Counter[str], st.dictionaries(texts, st.integers(1)).map(collections.Counter)),
                (Point, st.builds(Point, st.integers())),
                (Row, st.fixed_dictionaries({}, optional={"id": st.uuids(), "at": st.datetimes()})),
                (Cat | Dog, cats | dogs),
                (list[Pet], st.lists(cats | dogs)),
                (Node, nodes),
                (Shipment, shipments),
                (int | str, st.integers() | texts),
                (int | float | None, st.integers() | floats | st.none()),
                (ipaddress.IPv4Address, st.ip_addresses(v=4)),
                (complex, st.complex_numbers(allow_nan=False, allow_infinity=False)),
            ]
        ]
    )
)
def test_an_annotated_value_comes_back_equal_and_of_its_type(case: tuple[Any, Any]) -> None:
    annotation, value = case

    decoded = back(annotation, value)

    assert decoded == value
    assert type(decoded) is type(value) or annotation is float


@given(moments)
def test_a_moment_comes_back_as_the_same_instant(moment: dt.datetime) -> None:
    # Offsets of minutes and seconds are history: no zone has had them for a lifetime, and JSON's form of a datetime has no place for them.
    offset = moment.utcoffset() or dt.timedelta()
    assume(offset.seconds % 60 == 0)
    assume(1 < moment.year < 9999)

    decoded = back(dt.datetime, moment)

    if moment.tzinfo is None:
        assert decoded == moment
    else:
        assert decoded.astimezone(dt.UTC) == moment.astimezone(dt.UTC)


@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_the_clock_repeats_comes_back_as_the_right_one(fold: int) -> None:
    moment = dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=fold)

    decoded = back(dt.datetime, moment)

    assert decoded.astimezone(dt.UTC) == moment.astimezone(dt.UTC)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Sequence[int], (1, 2), [1, 2]),
        (Sequence[int], [1, 2], [1, 2]),
        (list[int], (1, 2), [1, 2]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (list[int], {3}, [3]),
        (Iterable[int], [1, 2], [1, 2]),
        (Iterable[int], (1, 2), [1, 2]),
        (Iterable, [1, "a"], [1, "a"]),
        (Collection[int], {3}, [3]),
        (dict[str, Any], {"a": (1, 2)}, {"a": [1, 2]}),
    ],
)
def test_containers_stand_for_one_another_as_the_annotation_has_it(annotation: Any, value: Any, expected: Any) -> None:
    assert same(back(annotation, value), expected)


def test_a_set_comes_back_once_however_many_times_a_list_had_an_element() -> None:
    assert back(set[int], [1, 2]) == {1, 2}
    assert "which comes back as a set" in str(refused(set[int], [1, 1]))
    assert "which comes back as a set" in str(refused(set[tuple[int, ...]], [[1], [2]]))


@pytest.mark.parametrize("value", [True, False, 0, 1, 0.0, 1.0, -0.0, 2**53 + 1])
def test_numbers_that_python_holds_equal_keep_their_types_at_any(value: Any) -> None:
    assert same(back(dict[str, Any], {"a": value})["a"], value)
    assert same(back(bool | int | float, value), value)


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.date(2024, 1, 1),
        dt.timedelta(1),
        uuid.UUID(int=1),
        Decimal("1.5"),
        Colour.RED,
        b"a",
        Order(),
        Parcel(1.5),
        Point(1),
        ipaddress.ip_address("127.0.0.1"),
        1j,
        SecretStr("a"),
        math.nan,
        math.inf,
        {1: "a"},
    ],
)
@pytest.mark.parametrize("annotation", [dict[str, Any], dict])
def test_what_json_changes_is_refused_at_any_with_its_path(annotation: Any, value: Any) -> None:
    error = refused(annotation, {"items": [0, {"price": value}]})

    assert error.path == "$.items[1].price"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("annotation", [Order, Parcel, list[float | None], dict[str, float], Any])
def test_nan_is_never_stored_as_null(annotation: Any, value: float) -> None:
    given_value = {Order: Order(price=value), Parcel: Parcel(value), list[float | None]: [value], Any: value}.get(
        annotation, {"price": value}
    )

    error = refused(annotation, given_value)

    assert f"returned {value!r}" in str(error)
    assert "JSON cannot carry" in str(error)


class Loose(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")
    x: float


class Worded(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    x: float


def test_a_model_that_writes_nan_as_no_json_is_refused_and_one_that_writes_it_as_a_str_is_not() -> None:
    assert refused(Loose, Loose(x=math.inf)).path == "$.x"
    assert refused(list[Loose], [Loose(x=math.nan)]).path == "$[0].x"
    assert back(Loose, Loose(x=1.5)) == Loose(x=1.5)
    assert back(Worded, Worded(x=math.inf)) == Worded(x=math.inf)
    assert math.isnan(back(Worded, Worded(x=math.nan)).x)


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (int, "5", "$"),
        (int, "five", "$"),
        (str, 5, "$"),
        (None, 5, "$"),
        (Order, {"price": 1}, "$"),
        (list[int], [1, "x"], "$[1]"),
        (list[int], 5, "$"),
        (dict[str, list[int]], {"a": [1, "x"]}, "$.a[1]"),
        (Cat, Dog(), "$.kind"),
        (Pet, Parcel(1.5), "$"),
        (dt.datetime, "2024-01-01T00:00:00", "$"),
    ],
)
def test_a_value_that_is_not_what_the_annotation_says_is_refused(annotation: Any, value: Any, path: str) -> None:
    assert refused(annotation, value).path == path


def test_the_message_of_a_misfit_names_step_annotation_place_and_reason() -> None:
    error = refused(dict[str, list[int]], {"a": [1, "x"]})

    assert str(error).startswith("what step 'load' returned does not fit dict[str, list[int]] at $.a[1]: Input should be a valid integer")


@pytest.mark.filterwarnings("error")
def test_a_mismatch_leaks_no_warning() -> None:
    back(float, 1)
    back(Sequence[int], (1,))
    refused(int, "x")


class BigOrder(Order):
    gift: bool = False


def test_a_subclass_that_comes_back_as_its_base_is_refused() -> None:
    error = refused(list[Order], [Order(), BigOrder()])

    assert error.path == "$[1]"
    assert "a BigOrder at $[1], which comes back as an Order" in str(error)


class Login(BaseModel):
    name: str
    password: SecretStr


def test_a_secret_that_would_come_back_as_asterisks_is_refused() -> None:
    error = refused(Login, Login(name="a", password=SecretStr("b")))

    assert error.path == "$.password"
    assert "another value" in str(error)


class Account(BaseModel):
    model_config = ConfigDict(extra="allow")
    first: str = Field(default="", alias="firstName")
    last: str = Field(default="", validation_alias="last_in", serialization_alias="last_out")
    cache: dict[str, int] = Field(default={}, exclude=True)
    loaded: Json[list[int]] = []
    _connection: Any = PrivateAttr(None)

    @computed_field
    def full(self) -> str:
        return f"{self.first} {self.last}"


def test_excluded_fields_and_private_attributes_need_not_come_back() -> None:
    account = Account(firstName="A", cache={"hits": 3})
    account._connection = object()

    decoded = back(Account, account)

    assert decoded.cache == {}
    assert decoded.first == "A"


def test_aliases_computed_fields_json_fields_and_extra_fields_come_back() -> None:
    account = Account.model_validate({"firstName": "A", "last_in": "B", "loaded": "[1, 2]", "more": [1]})

    decoded = back(list[Account], [account])

    assert decoded == [account]
    assert decoded[0].model_extra == {"more": [1]}


def test_an_extra_field_that_is_lost_is_refused() -> None:
    assert refused(Account, Account.model_validate({"more": Decimal(1)})).path == "$.more"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    at: dt.datetime
    ids: set[uuid.UUID] = set()

    @computed_field
    def day(self) -> str:
        return self.at.isoformat()[:10]


def test_a_strict_model_that_forbids_extra_fields_comes_back() -> None:
    value = Strict(at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), ids={uuid.UUID(int=1)})

    assert back(Strict, value) == value


class Tagged(BaseModel):
    kind: Literal["tagged"] = Field(alias="type")


class Other(BaseModel):
    kind: Literal["other"] = Field(alias="type")


def test_a_union_told_apart_by_an_aliased_field_comes_back() -> None:
    annotation = Annotated[Tagged | Other, Field(discriminator="kind")]

    assert back(annotation, Other(type="other")) == Other(type="other")
    assert codec_of(annotation).decode('{"type": "other"}') == Other(type="other")


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    items: list[Item]


class Ids(RootModel[list[uuid.UUID]]):
    pass


def test_generic_and_root_models_come_back() -> None:
    assert back(Page[Decimal], Page[Decimal](items=[Decimal("1.50")])) == Page[Decimal](items=[Decimal("1.50")])
    assert back(Ids, Ids([uuid.UUID(int=1)])) == Ids([uuid.UUID(int=1)])


@dataclasses.dataclass(eq=False)
class Vague:
    size: Any
    derived: int = dataclasses.field(init=False, default=0)


def test_a_class_that_does_not_say_what_equal_means_is_taken_by_its_fields() -> None:
    value = Vague([1, 2])
    value.derived = 5

    decoded = back(Vague, value)

    assert type(decoded) is Vague
    assert decoded.size == [1, 2]
    assert refused(Vague, Vague(uuid.UUID(int=1))).path == "$.size"


class Grid:
    """Like an array: a comparison has no single answer."""

    def __init__(self, cells: list[int]) -> None:
        self.cells = cells

    def __eq__(self, other: object) -> Any:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # noqa: PLC0415

        return core_schema.no_info_after_validator_function(
            cls, handler(list[int]), serialization=core_schema.plain_serializer_function_ser_schema(lambda grid: grid.cells)
        )


class Map(BaseModel):
    grid: Grid
    note: Any = None


def test_a_class_that_cannot_say_what_equal_means_is_taken_when_it_comes_back_as_itself() -> None:
    assert back(Grid, Grid([1, 2])).cells == [1, 2]
    assert back(Map, Map.model_construct(grid=Grid([1]))).grid.cells == [1]
    assert refused(Map, Map.model_construct(grid=Grid([1]), note=Colour.RED)).path == "$.note"


class Doubled(BaseModel):
    price: int

    @field_validator("price")
    @classmethod
    def double(cls, price: int) -> int:
        return price * 2


def test_a_validator_that_changes_what_it_is_given_each_time_is_refused() -> None:
    error = refused(Doubled, Doubled(price=1))

    assert error.path == "$.price"
    assert "an int at $.price, which comes back as another value" in str(error)


class Explosive(BaseModel):
    value: str

    @field_validator("value")
    @classmethod
    def check(cls, value: str) -> str:
        if value == "boom":
            raise KeyError("a bug")
        return value


def test_a_validator_with_a_bug_makes_the_error_that_a_misfit_makes() -> None:
    value = Explosive.model_construct(value="boom")

    assert "a bug" in str(refused(Explosive, value))
    with pytest.raises(NotSerializable, match="a bug"):
        codec_of(Explosive).decode('{"value": "boom"}', STEP)
    with pytest.raises(InvalidInput, match="KeyError: 'a bug'"):
        input_text(codec_of(Explosive), {"value": "boom"}, workflow="pay")
    with pytest.raises(InvalidInput, match="KeyError: 'a bug'"):
        input_value(codec_of(Explosive), '{"value": "boom"}', workflow="pay")


class Shy(BaseModel):
    value: int

    @field_serializer("value")
    def write(self, value: int) -> int:
        raise KeyError(f"no {value}")


def test_a_serializer_with_a_bug_makes_a_value_that_json_cannot_carry() -> None:
    error = refused(Shy, Shy(value=5))

    assert error.path == "$"
    assert "returned a Shy that JSON cannot carry" in str(error)
    assert "KeyError: 'no 5'" in str(error)


def test_an_unknown_class_at_any_is_refused_with_its_path() -> None:
    error = refused(dict[str, Any], {"a": [1, Opaque()]})

    assert error.path == "$.a[1]"
    assert "an Opaque" in str(error)


def test_a_cycle_of_models_is_refused() -> None:
    node = Node()
    node.children.append(node)

    assert refused(Node, node).path == "$.children[0]"


@pytest.mark.parametrize("value", [counted(), map(int, "12"), zip([1], [2], strict=True)])
def test_a_generator_for_an_annotated_list_is_refused_unread(value: Iterator[Any]) -> None:
    error = refused(list[Any], value)

    assert "read only once" in str(error)
    assert next(value) is not None


def test_an_iterator_inside_an_annotated_value_is_refused() -> None:
    assert "read only once" in str(refused(dict[str, Any], {"a": counted(3)}))
    assert "read only once" in str(refused(list[list[int]], [counted(3)]))


class Feed(BaseModel):
    entries: Iterable[int]


def test_a_model_whose_field_is_read_once_is_refused() -> None:
    assert refused(Feed, Feed(entries=[1, 2])).path == "$.entries"


@pytest.mark.parametrize(
    "annotation",
    [Opaque, list[Opaque], Callable[[], int], Iterator[int], typing.Generator[int, None, None], typing.Self, typing.NoReturn, "Missing"],
)
def test_an_annotation_that_json_has_no_form_for_is_a_definition_error_on_first_use(annotation: Any) -> None:
    made = codec_of(annotation)

    for use in (
        lambda: made.encode(1, STEP),
        lambda: made.decode("1", STEP),
        lambda: input_text(made, 1, workflow="pay"),
        lambda: input_value(made, "1", workflow="pay"),
    ):
        with pytest.raises(DefinitionError, match=r"(step 'load'|input of workflow 'pay') is annotated with .*, which cannot be stored"):
            use()


class Unfinished(BaseModel):
    later: "Later"  # type: ignore[name-defined]  # noqa: F821


def test_a_model_that_names_what_is_not_defined_is_a_definition_error() -> None:
    with pytest.raises(DefinitionError, match="Unfinished"):
        codec_of(Unfinished).decode("{}", STEP)


def test_a_stored_text_that_no_longer_fits_says_where_and_keeps_pydantics_error() -> None:
    with pytest.raises(NotSerializable) as caught:
        codec_of(list[Cat]).decode('[{"lives": "many"}]', STEP)

    assert caught.value.path == "$[0].lives"
    assert str(caught.value).startswith("what is stored of step 'load' does not fit list[")
    assert type(caught.value.__cause__).__name__ == "ValidationError"


# -------------------------------------------------------------------------------------------------------------------- cache


def test_one_annotation_has_one_codec_however_often_it_is_written() -> None:
    assert codec_of(list[int]) is codec_of(list[int])
    assert codec_of(Order) is codec_of(Order)


def test_unions_in_another_order_have_codecs_of_their_own() -> None:
    assert codec_of(int | str) is not codec_of(str | int)


def test_an_annotation_without_a_hash_works_and_is_kept_too() -> None:
    annotation = Annotated[int, {"unhashable": []}]

    assert codec_of(annotation).encode(5, STEP) == "5"
    assert codec_of(annotation) is codec_of(annotation)


def test_codecs_and_annotations_kept_are_bounded() -> None:
    for number in range(MAX_CODECS + 10):
        codec_of(Literal[number])

    assert len(codec._by_identity) <= MAX_CODECS
    assert len(codec._by_value) <= MAX_CODECS
    assert codec_of(Literal[0]).encode(0, STEP) == "0"


# -------------------------------------------------------------------------------------------------------- input and output


class Welcome(BaseModel):
    email: str
    amount: int = 0
    at: dt.datetime | None = None


def test_an_input_is_validated_and_stored_as_what_it_was_validated_to() -> None:
    text = input_text(codec_of(Welcome), {"email": "a@b.c", "amount": "5", "at": "2024-01-01T00:00:00Z"}, workflow="pay")

    expected = Welcome(email="a@b.c", amount=5, at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    assert json.loads(text)["amount"] == 5
    assert input_value(codec_of(Welcome), text, workflow="pay") == expected


@pytest.mark.parametrize("value", [Welcome(email="a"), {"email": "a"}])
def test_a_model_and_its_dict_are_one_input(value: Any) -> None:
    text = input_text(codec_of(Welcome), value, workflow="pay")

    assert input_value(codec_of(Welcome), text, workflow="pay") == Welcome(email="a")


@given(st.builds(Account, firstName=texts, last_in=texts, loaded=st.lists(st.integers()).map(json.dumps)))
def test_an_input_stored_where_the_schema_was_not_known_is_read_by_its_aliases(account: Account) -> None:
    stored = json.dumps({"firstName": account.first, "last_in": account.last, "loaded": json.dumps(account.loaded)})

    typed = input_value(codec_of(Account), stored, workflow="pay")
    again = input_value(codec_of(Account), input_text(codec_of(Account), typed, workflow="pay"), workflow="pay")

    assert typed == account
    assert again == account


def test_a_bad_input_says_in_words_and_as_data_what_is_wrong() -> None:
    with pytest.raises(InvalidInput) as caught:
        input_text(codec_of(Welcome), {"amount": "five", "at": []}, workflow="pay")

    error = caught.value
    assert error.workflow == "pay"
    assert str(error).startswith("the input does not fit workflow 'pay': email: Field required; amount: Input should be a valid integer")
    assert [problem["loc"] for problem in error.errors] == [["email"], ["amount"], ["at"]]
    assert json.loads(json.dumps(error.errors)) == error.errors


def test_a_bad_stored_input_is_found_by_whoever_reads_it() -> None:
    for text in ('{"amount": 5}', "{", "5"):
        with pytest.raises(InvalidInput, match="workflow 'pay'"):
            input_value(codec_of(Welcome), text, workflow="pay")
    with pytest.raises(InvalidInput, match="workflow 'pay'"):
        input_value(PLAIN, "{", workflow="pay")


def test_an_input_left_out_is_said_to_be_left_out() -> None:
    with pytest.raises(InvalidInput, match="No input was given"):
        input_text(codec_of(Welcome), None, workflow="pay")


def test_secrets_in_a_bad_input_are_not_told() -> None:
    with pytest.raises(InvalidInput) as caught:
        input_text(codec_of(Welcome), {"email": 5, "amount": "hunter2"}, workflow="pay")

    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in json.dumps(caught.value.errors)


def test_a_model_that_was_changed_for_the_worse_is_no_input() -> None:
    changed = Welcome(email="a")
    changed.amount = "much"  # type: ignore[assignment]

    with pytest.raises(InvalidInput, match="amount: Input should be a valid integer"):
        input_text(codec_of(Welcome), changed, workflow="pay")


def test_many_faults_are_told_in_part_and_kept_whole() -> None:
    with pytest.raises(InvalidInput, match="and 15 more") as caught:
        input_text(codec_of(list[int]), ["x"] * 25, workflow="pay")

    assert len(caught.value.errors) == 25


def test_an_input_that_validation_would_change_again_is_not_stored() -> None:
    with pytest.raises(NotSerializable, match=r"\$\.price"):
        input_text(codec_of(Doubled), {"price": 1}, workflow="pay")


def test_an_input_without_an_annotation_is_plain_json() -> None:
    assert input_text(PLAIN, {"type": "full"}, workflow="pay") == '{"type":"full"}'
    assert input_value(PLAIN, '{"type":"full"}', workflow="pay") == {"type": "full"}
    with pytest.raises(NotSerializable, match="Annotate the parameter that takes the input"):
        input_text(PLAIN, Welcome(email="a"), workflow="pay")


def test_an_output_is_validated_and_stored() -> None:
    assert output_text(codec_of(dict[str, bool]), {"success": True}, workflow="pay") == '{"success":true}'
    assert json.loads(output_text(codec_of(Welcome), {"email": "a"}, workflow="pay"))["amount"] == 0
    assert output_text(codec_of(None), None, workflow="pay") == "null"


def test_an_output_of_another_type_than_annotated_is_invalid() -> None:
    with pytest.raises(InvalidOutput, match=r"what workflow 'pay' returned does not fit its output: success: .*boolean") as caught:
        output_text(codec_of(dict[str, bool]), {"success": "perhaps"}, workflow="pay")

    assert caught.value.errors[0]["loc"] == ["success"]


def test_an_output_that_json_cannot_carry_is_not_serializable() -> None:
    with pytest.raises(NotSerializable, match=r"workflow 'pay' returned nan at \$\.price"):
        output_text(codec_of(Order), Order(price=math.nan), workflow="pay")
    with pytest.raises(NotSerializable, match=r"workflow 'pay' returned a datetime.* or pass output= to @workflow"):
        output_text(PLAIN, dt.datetime(2024, 1, 1, tzinfo=dt.UTC), workflow="pay")


@pytest.mark.parametrize("write", [input_text, output_text])
def test_inputs_and_outputs_have_a_limit(write: Callable[..., str]) -> None:
    with pytest.raises(PayloadTooLarge):
        write(codec_of(str), "a" * 10, workflow="pay", limit=11)


# ----------------------------------------------------------------------------------------------------------------- payloads


# ------------------------------------------------------------------------------------------------------- return annotations


def bare():  # type: ignore[no-untyped-def]
    pass


async def coroutine() -> dict[str, int]:
    return {}


def awaitable() -> Awaitable[Order]:
    raise NotImplementedError


def started() -> Coroutine[Any, Any, Order]:
    raise NotImplementedError


def bare_awaitable() -> Awaitable:  # type: ignore[type-arg]
    raise NotImplementedError


def nothing() -> None:
    pass


def quoted() -> "list[Order]":
    return []


def quoted_within() -> list["Order"]:
    return []


def extras() -> "Annotated[int, 'positive']":
    return 1


def misspelt() -> "Ordre":  # type: ignore[name-defined]  # noqa: F821
    pass


def misspelt_parameter(order: "Ordre") -> int:  # type: ignore[name-defined]  # noqa: F821
    return 1


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Service:
    def fetch(self) -> Order:
        return Order()

    @classmethod
    def build(cls) -> "Service":
        return cls()

    @staticmethod
    def count() -> int:
        return 1

    async def __call__(self) -> list[int]:
        return []


class Holder:
    """As a decorator may make it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self) -> Any:
        return self.function()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (bare, Any),
        (lambda: 1, Any),
        (len, Any),
        (coroutine, dict[str, int]),
        (awaitable, Order),
        (started, Order),
        (bare_awaitable, Any),
        (nothing, type(None)),
        (quoted, list[Order]),
        (quoted_within, list[Order]),
        (extras, Annotated[int, "positive"]),
        (misspelt_parameter, int),
        (functools.partial(functools.partial(coroutine)), dict[str, int]),
        (functools.cache(quoted), list[Order]),
        (decorated(quoted), list[Order]),
        (decorated(decorated(coroutine)), dict[str, int]),
        (decorated(bare), Any),
        (decorated(functools.partial(quoted)), list[Order]),
        (Service().fetch, Order),
        (Service.fetch, Order),
        (Service.build, Service),
        (Service.count, int),
        (Service(), list[int]),
        (functools.partial(Service()), list[int]),
        (Holder(quoted), list[Order]),
        (Holder(Holder(Service().fetch)), Order),
        (StepFunction(quoted, name="quoted"), list[Order]),
        (StepFunction(Service().fetch, name="fetch"), Order),
        (Mock(), Any),
        (AsyncMock(), Any),
        (5, Any),
        (Order, Order),
        (str.upper, Any),
        ("a".upper, Any),
    ],
)
def test_the_annotation_of_a_step_is_what_its_function_gives(function: Any, expected: Any) -> None:
    assert result_annotation(function) == expected
    assert result_annotation(function) == expected


def test_a_name_that_is_not_defined_is_a_definition_error_that_names_the_function() -> None:
    with pytest.raises(DefinitionError, match=r"'Ordre' of misspelt \(in .*\).*name 'Ordre' is not defined.*or pass result="):
        result_annotation(misspelt)


def test_two_functions_of_one_decorator_keep_their_own_annotations() -> None:
    first, second = decorated(quoted), decorated(extras)

    for _ in range(2):
        assert result_annotation(first) == list[Order]
        assert result_annotation(second) == Annotated[int, "positive"]


def test_functions_made_anew_share_one_entry_and_are_not_kept() -> None:
    def make(payload: bytearray) -> Callable[[], Any]:
        async def fetch() -> list[int]:
            return list(payload)

        return fetch

    function = make(bytearray(10))
    result_annotation(function)
    before = len(codec._annotations)
    for _ in range(100):
        result_annotation(make(bytearray(10)))
    gone = weakref.ref(function)
    del function
    gc.collect()

    assert len(codec._annotations) == before
    assert gone() is None


def test_a_class_that_each_call_makes_anew_is_the_right_one_each_time() -> None:
    def make() -> tuple[type, Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
        class Local(BaseModel):
            x: int = 0

        def direct() -> Local:
            return Local()

        def in_a_string() -> "Local":
            return Local()

        def within() -> list["Local"]:
            return [Local()]

        return Local, direct, in_a_string, within

    for _ in range(3):
        local, direct, in_a_string, within = make()

        assert result_annotation(direct) is local
        assert result_annotation(in_a_string) is local
        assert result_annotation(within) == list[local]  # type: ignore[valid-type]


def test_one_code_in_two_namespaces_means_what_each_namespace_says() -> None:
    code: CodeType = compile("def load() -> 'Result': ...", "shop.py", "exec")
    namespaces: list[dict[str, Any]] = [{"Result": int}, {"Result": str}]
    for namespace in namespaces:
        exec(code, namespace)

    assert [result_annotation(namespace["load"]) for namespace in namespaces] == [int, str]


def test_the_annotation_of_a_function_leads_to_one_codec() -> None:
    assert codec_of(result_annotation(quoted)) is codec_of(result_annotation(quoted))
    assert back(result_annotation(quoted), [Order()]) == [Order()]
