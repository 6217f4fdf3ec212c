"""Forms of inputs: whatever is shown comes back unchanged, what is typed is read, and what is wrong is said beside its field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NotRequired
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from stepwell.core.codec import codec_of, json_schema
from stepwell.web import fields as layout
from stepwell.web.fields import MISSING, Kind
from stepwell.web.forms import Form, form_of
from stepwell.web.prose import HIDDEN
from stepwell.web.redaction import Redactor
from stepwell.web.schemas import Schema
from stepwell.web.shapes import shape_of
from stepwell.web.turning import turned

hides = Redactor(("password", "token", "secret")).hides


class Address(BaseModel):
    street: str
    country: Literal["de", "fr"] = "de"


class Order(BaseModel):
    item: str
    count: int = Field(ge=1)
    price: Decimal = Decimal("1.10")
    ratio: float = 0.5
    urgent: bool = False
    sure: bool | None = None
    day: date | None = None
    note: str | None = None
    mode: Literal["fast", "slow", 1]
    to: Address
    billing: Address | None = None
    tags: list[str] = []
    meta: dict[str, Any] = {}


def of(annotation: Any, initial: Any = MISSING, *, as_json: bool = False) -> Form:
    return form_of(json_schema(annotation), hides, initial=initial, as_json=as_json)


def controls(form: Form) -> Iterator[layout.Field]:
    return _controls(form.root)


def _controls(one: layout.Field) -> Iterator[layout.Field]:
    if one.kind is Kind.GROUP:
        for part in one.fields:
            yield from _controls(part)
    elif one.kind is not Kind.NOTHING:
        yield one


def groups(one: layout.Field) -> Iterator[layout.Field]:
    for part in (one, *one.fields):
        if part is not one:
            yield from groups(part)
        elif part.kind is Kind.GROUP and part.has_box:
            yield part


def sent_by_browser(form: Form) -> dict[str, str]:
    """What a browser sends of a form that nobody has touched."""
    sent = {}
    for one in controls(form):
        text = form.text(one).replace("\0", "\ufffd")
        if one.control == "checkbox":
            if text == "true":
                sent[one.name] = "true"
        elif one.control == "textarea":
            sent[one.name] = re.sub(r"\r\n|\r|\n", "\r\n", text)
        else:
            sent[one.name] = re.sub(r"[\r\n]", "", text)
    return sent | {group.given_name: "true" for group in groups(form.root) if form.is_given(group)}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
addresses = st.fixed_dictionaries({"street": texts}, optional={"country": st.sampled_from(["de", "fr"])})
orders = st.fixed_dictionaries(
    {"item": texts, "count": st.integers(), "mode": st.sampled_from(["fast", "slow", 1]), "to": addresses},
    optional={
        "price": st.decimals(allow_nan=False, allow_infinity=False).map(str) | st.integers(),
        "ratio": st.floats(allow_nan=False, allow_infinity=False),
        "urgent": st.booleans(),
        "sure": st.none() | st.booleans(),
        "day": st.none() | st.dates().map(str) | texts,
        "note": st.none() | texts,
        "billing": st.none() | addresses,
        "tags": st.lists(texts, max_size=3),
        "meta": st.dictionaries(texts, plain, max_size=3),
        "unknown_to_the_schema": plain,
        "token": plain,
    },
)


@given(orders | plain)
def test_a_value_that_is_shown_and_not_touched_comes_back_as_it_was(value: Any) -> None:
    for as_json in (False, True):
        form = of(Order, value, as_json=as_json)
        read, problems = form.read(sent_by_browser(form))

        assert problems == []
        assert _exact(read) == _exact(value)


@given(orders)
def test_what_is_typed_into_an_empty_form_is_read_as_the_value_whose_texts_they_are(value: dict[str, Any]) -> None:
    value.pop("token", None)
    value.pop("unknown_to_the_schema", None)
    filled, blank = of(Order, value), of(Order)
    typed = sent_by_browser(filled)
    read, problems = blank.read(typed)

    shown = {one.name: one for one in controls(blank)}
    assert {problem.message for problem in problems} <= {"fill this in"}
    for one in controls(filled):
        given_value, read_value = _at(value, one.path), _at(read, one.path)
        # An empty text is none, and what the form shows anyway is left out; newlines are all one.
        if one.kind is shown[one.name].kind and str(given_value).strip() and one.shown != shown[one.name].shown:
            assert _exact(_lines(read_value)) == _exact(_lines(str(given_value) if one.path == ("price",) else given_value)), one.path


@given(plain)
def test_any_json_comes_back_from_a_field_for_json_with_secrets_it_never_showed(value: Any) -> None:
    whole = {"items": [{"password": value}, {"password": [value]}], "deep": {"my_token": value}}
    form = of(Any, whole)
    sent = sent_by_browser(form)
    edited = json.loads(sent["input"]) | {"added": True}
    read, problems = form.read({"input": json.dumps(edited)})

    assert problems == []
    assert _exact(read) == _exact(whole | {"added": True})


def _exact(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
    return None if value is MISSING else value


def _lines(value: Any) -> Any:
    return re.sub(r"\r\n|\r", "\n", value).replace("\0", "\ufffd") if isinstance(value, str) else value


# -- which field shows what


def the(form: Form, name: str) -> layout.Field:
    (found,) = [one for one in controls(form) if one.name == name]
    return found


class Everything(BaseModel):
    text: str = Field(title="Full name", description="As on the passport.", examples=["Ada"], min_length=2, max_length=20)
    long: str = Field(max_length=5_000)
    whole: int = Field(ge=1, le=5)
    number: float
    amount: Decimal
    yes: bool
    perhaps: bool | None
    choice: Literal["a", "b"]
    when: datetime
    day: date
    uid: UUID
    password: str
    listed: list[int]
    either: int | str


@pytest.mark.parametrize(
    ("name", "control", "kind"),
    [
        ("text", "text", Kind.TEXT),
        ("long", "textarea", Kind.TEXT),
        ("whole", "text", Kind.INTEGER),
        ("number", "text", Kind.NUMBER),
        ("amount", "text", Kind.TEXT),
        ("yes", "checkbox", Kind.BOOLEAN),
        ("perhaps", "select", Kind.BOOLEAN),
        ("choice", "select", Kind.CHOICE),
        ("when", "text", Kind.TEXT),
        ("day", "date", Kind.TEXT),
        ("uid", "text", Kind.TEXT),
        ("password", "password", Kind.TEXT),
        ("listed", "textarea", Kind.JSON),
        ("either", "textarea", Kind.JSON),
    ],
)
def test_a_type_has_a_field_that_fits_it(name: str, control: str, kind: Kind) -> None:
    one = the(of(Everything), f"input/{name}")

    assert (one.control, one.kind) == (control, kind)


def test_a_field_says_what_its_schema_says_of_it() -> None:
    form = of(Everything)

    assert the(form, "input/text").hints == ("Full name", "As on the passport.", "from 2 to 20 characters", "for example Ada")
    assert the(form, "input/whole").hints == ("whole number from 1 to 5",)
    assert the(form, "input/choice").options == (('"a"', "a"), ('"b"', "b"))


class Line(TypedDict):
    sku: str
    count: int
    kind: Literal["a", "b"]
    note: str | None


class Basket(TypedDict):
    lines: list[Line]
    meta: dict[str, float]
    pair: list[int] | str
    anything: list[Any]
    token: list[str]


def test_a_field_for_json_shows_what_goes_into_it() -> None:
    form = of(Basket)

    assert the(form, "input/lines").hints == ('JSON, such as [{"sku": "…", "count": 0, "kind": "…", "note": "…"}]',)
    assert the(form, "input/meta").hints == ('JSON, such as {"…": 0.0}',)
    assert the(form, "input/pair").hints == ("JSON, such as [0]",)
    assert the(form, "input/anything").hints == ('JSON, such as ["…"]',)
    assert "such as" not in str(the(form, "input/token").hints)


def test_what_a_schema_that_names_itself_looks_like_is_found_at_once() -> None:
    wide = {f"field_{number}": {"$ref": "#/$defs/a"} for number in range(500)}
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": wide}}}

    assert shape_of(Schema.of(json.dumps(schema))) == ""


def test_objects_have_fields_of_their_own_for_two_levels_and_json_below() -> None:
    class Third(BaseModel):
        x: int

    class Second(BaseModel):
        third: Third

    class First(BaseModel):
        second: Second

    class Whole(BaseModel):
        first: First

    (one,) = controls(of(Whole))

    assert (one.path, one.kind) == (("first", "second", "third"), Kind.JSON)


class Node(BaseModel):
    name: str
    below: Node | None = None
    all: list[Node] = []


class Endless(BaseModel):
    below: Endless


@pytest.mark.parametrize("annotation", [Node, Endless])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_schema_that_names_itself_ends(annotation: Any, as_json: bool) -> None:
    assert list(controls(of(annotation, as_json=as_json)))


@pytest.mark.parametrize(
    "schema",
    ["{}", "[]", "true", "nonsense", '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}', '{"type": 7, "properties": 3}',
     '{"type": "object", "properties": {"a": null, "b": {"enum": 3, "anyOf": 5}}, "required": 1}', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_schema_takes_anything(schema: str) -> None:
    form = form_of(schema, hides, initial={"a": 1})

    assert form.read(sent_by_browser(form)) == ({"a": 1}, [])
    assert form.misfits({"a": 1}) == []


def test_a_schema_that_goes_round_in_circles_is_left_after_a_while() -> None:
    again = {"$ref": "#/$defs/a"}
    schema = {**again, "$defs": {"a": {"anyOf": [again, again, {"type": "object", "properties": {"a": again}}]}}}

    form_of(json.dumps(schema), hides).misfits({"a": {"a": 1}})


def test_a_workflow_without_an_input_has_no_fields() -> None:
    form = of(None)

    assert list(controls(form)) == []
    assert form.read({}) == (None, [])


# -- reading


def test_numbers_are_read_to_their_last_digit() -> None:
    blank = of(Order)

    read, _ = blank.read({"input/count": str(2**80), "input/price": "0.1000000000000000000001", "input/meta": f'{{"n": {2**70}}}'})

    assert read["count"] == 2**80
    assert read["price"] == "0.1000000000000000000001"
    assert read["meta"] == {"n": 2**70}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("count", "many", "no whole number"),
        ("count", "1.5", "no whole number"),
        ("count", "٣", "no whole number"),
        ("ratio", "1e999", "too large"),
        ("ratio", "NaN", "no number"),
        ("tags", "[1,", "no JSON"),
        ("tags", "[" * 100_000, "no JSON"),
        ("mode", '"other"', "none of those"),
        ("mode", "[" * 100_000, "none of those"),
    ],
)
def test_what_cannot_be_read_is_said_beside_its_field_and_stays_typed(name: str, text: str, message: str) -> None:
    form = of(Order)
    sent = {f"input/{name}": text}
    _, problems = form.read(sent)
    again = form.answered(sent, problems)

    assert message in again.error(the(again, f"input/{name}"))
    assert again.text(the(again, f"input/{name}")) == text


def test_what_has_to_be_there_is_missed() -> None:
    form = of(Order)
    _, problems = form.read({})
    again = form.answered({}, problems)

    assert [one.path for one in controls(again) if again.error(one)] == [("item",), ("count",), ("mode",), ("to", "street")]


def test_an_emptied_field_is_null_where_it_can_be_an_empty_text_where_it_had_one_and_else_left_out() -> None:
    value = {"item": "lamp", "count": 2, "ratio": 2.5, "note": "hi", "mode": "fast", "to": {"street": "x"}}
    form = of(Order, value)
    sent = sent_by_browser(form) | {"input/item": "", "input/ratio": "", "input/note": ""}

    assert form.read(sent) == ({"item": "", "count": 2, "note": None, "mode": "fast", "to": {"street": "x"}}, [])


def test_a_group_that_may_be_left_out_is_given_by_its_box_or_by_typing_into_it() -> None:
    base = {"item": "lamp", "count": 2, "mode": "fast", "to": {"street": "x"}}
    form = of(Order, base)
    sent = sent_by_browser(form)

    assert form.read(sent | {"input/billing/street": "y"})[0]["billing"] == {"street": "y"}
    assert [problem.path for problem in form.read(sent | {"input/billing/~given": "true"})[1]] == [("billing", "street")]

    filled = of(Order, base | {"billing": {"street": "y"}})
    sent = sent_by_browser(filled)
    del sent["input/billing/~given"]
    assert filled.read(sent)[0]["billing"] is None


def test_fields_of_any_name_are_told_apart() -> None:
    Inner = TypedDict("Inner", {"b": str, "~others": str, "": NotRequired[str]})
    Odd = TypedDict("Odd", {"a/b": str, "a": Inner})
    value = {"a/b": "1", "a": {"b": "2", "~others": "3", "": "4"}, "more": 5}
    form = of(Odd, value)
    names = [one.name for one in controls(form)]

    assert len(set(names)) == len(names) == 5
    assert form.read(sent_by_browser(form) | {"input/a~1b": "changed"}) == (value | {"a/b": "changed"}, [])


def test_fields_that_the_schema_does_not_name_are_not_lost_nor_given_twice() -> None:
    form = of(Address, {"street": "x", "old": [1]})

    assert form.read({"input/street": "y"}) == ({"street": "y", "old": [1]}, [])
    assert "there is a field for that" in form.read({"input/~others": '{"street": "z"}'})[1][0].message


# -- what is hidden


class Login(BaseModel):
    user: str
    password: str
    token_count: int = 7
    has_token: bool = True
    secrets: dict[str, str] = {"a": "hunter2"}
    cards: list[dict[str, str]] = []


LOGIN = {
    "user": "ada",
    "password": "hunter2",
    "token_count": 42_4242,
    "has_token": False,
    "cards": [{"token": "hunter2a"}, {"token": "hunter2b"}],
}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("initial", [LOGIN, MISSING])
def test_hidden_values_are_in_no_text_of_a_form(as_json: bool, initial: Any) -> None:
    form = of(Login, initial, as_json=as_json)
    told = json.dumps([(form.text(one), one.hints, one.options) for one in controls(form)])

    assert "hunter2" not in told
    assert "424242" not in told


def test_a_hidden_value_can_be_replaced() -> None:
    form = of(Login, LOGIN)
    sent = sent_by_browser(form) | {"input/password": "new", "input/has_token": "true"}

    assert form.read(sent) == (LOGIN | {"password": "new", "has_token": True}, [])


def test_a_hidden_value_stays_with_its_item_when_others_are_taken_away() -> None:
    form = of(Login, LOGIN, as_json=True)
    edited = json.loads(form.text(form.root))
    del edited["cards"][0]

    assert form.read({"input": json.dumps(edited)})[0]["cards"] == [{"token": "hunter2b"}]


def test_a_mark_in_another_place_shows_nothing() -> None:
    form = of(Login, LOGIN, as_json=True)

    assert form.read({"input": json.dumps({"user": f"{HIDDEN} password"})}) == ({"user": f"{HIDDEN} password"}, [])
    assert "no hidden value" in form.read({"input": json.dumps({"password": f"{HIDDEN} nowhere"})})[1][0].message


# -- without the code


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"item": 5}, ("item",)),
        ({"count": 0}, ("count",)),
        ({"count": 1.5}, ("count",)),
        ({"count": True}, ("count",)),
        ({"mode": "other"}, ("mode",)),
        ({"mode": True}, ("mode",)),
        ({"day": "tomorrow"}, ("day",)),
        ({"to": {}}, ("to", "street")),
        ({"tags": ["a", 1]}, ("tags", 1)),
        ({"billing": {"street": 1}}, ("billing", "street")),
        ({"sure": "yes"}, ("sure",)),
    ],
)
def test_a_value_that_does_not_fit_the_schema_is_found_without_the_code(changes: dict[str, Any], path: tuple[str | int, ...]) -> None:
    value = {"item": "lamp", "count": 1, "mode": "fast", "to": {"street": "x"}} | changes

    assert [misfit.path for misfit in of(Order).misfits(value)] == [path]


@given(orders)
def test_what_pydantic_takes_fits_the_schema_without_the_code(value: dict[str, Any]) -> None:
    try:
        codec_of(Order).read(json.dumps(value), "an input")
    except ValueError:
        return

    # A date may be written in ways that pydantic knows, and the check does not.
    assert [misfit for misfit in of(Order).misfits(value) if misfit.path not in (("day",), ("price",))] == []


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"type": "string", "pattern": "^a+$"}, "aaa", True),
        ({"type": "string", "pattern": "^a+$"}, "aab", False),
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 60 + "b", True),  # it would take for ever: the worker will see
        ({"type": "string", "pattern": "("}, "x", True),
        ({"type": "string", "maxLength": 2}, "abc", False),
        ({"type": "integer", "multipleOf": 3}, 10**400, False),
        ({"type": "number", "multipleOf": 0.1}, 0.3, True),
        ({"type": "number", "multipleOf": 0.1}, 10**400, True),
        ({"type": "number", "multipleOf": 0.1}, 0.35, False),
        ({"type": "number", "exclusiveMaximum": 1}, 1, False),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, [1, "a"], True),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, [1, 2], False),
        ({"type": "array", "minItems": 1}, [], False),
        ({"type": "object", "properties": {}, "additionalProperties": False}, {"a": 1}, False),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": "b"}, False),
        ({"type": ["string", "null"]}, None, True),
        ({"type": "string", "format": "uuid"}, "x", False),
        ({"type": "integer"}, 5.0, True),
    ],
)
def test_a_schema_is_understood_as_far_as_that_makes_sense(schema: dict[str, Any], value: Any, fits: bool) -> None:
    assert (form_of(json.dumps(schema), hides).misfits(value) == []) is fits


# -- writing it in another way


@given(orders)
def test_what_stands_in_fields_is_taken_along_to_json_and_back(value: dict[str, Any]) -> None:
    fields, text = of(Order, value), of(Order, value, as_json=True)
    as_json = turned(fields, text, sent_by_browser(fields))
    read, problems = text.read(sent_by_browser(as_json))
    back = turned(text, fields, sent_by_browser(as_json))

    assert problems == []
    assert _exact(read) == _exact(value)
    assert back.root is fields.root
    assert _exact(fields.read(sent_by_browser(back))) == _exact((value, []))


def test_typed_secrets_and_typing_errors_are_taken_along_and_stored_secrets_stay_hidden() -> None:
    fields, text = of(Login, LOGIN), of(Login, LOGIN, as_json=True)
    sent = sent_by_browser(fields) | {"input/password": "typed", "input/token_count": "many"}
    as_json = turned(fields, text, sent)
    back = turned(text, fields, sent_by_browser(as_json))

    assert "hunter2a" not in as_json.text(text.root)
    assert text.read(sent_by_browser(as_json))[0] == LOGIN | {"password": "typed", "token_count": "many"}
    assert [back.text(the(fields, f"input/{name}")) for name in ("password", "token_count")] == ["typed", "many"]


def test_json_that_has_no_fields_stays_json() -> None:
    fields, text = of(Order), of(Order, as_json=True)

    for typed, said in (('{"to": 5}', "does not fit the fields"), ('{"more": 5}', "does not fit the fields"), ("{", "no JSON")):
        form = turned(text, fields, {"input": typed})
        assert form.is_json
        assert said in "".join((*form.general, *form.errors.values()))
        assert form.text(form.root) == typed


# -- whatever is sent, and whatever is published


NAMES = [one.name for one in controls(of(Order, {"extra": 1}))] + [group.given_name for group in groups(of(Order).root)]


@given(
    st.dictionaries(st.sampled_from(NAMES), texts | plain.map(json.dumps) | st.sampled_from(["9" * 5_000, f"{HIDDEN} token", "[" * 999]))
)
def test_whatever_is_sent_is_read_or_told(sent: dict[str, str]) -> None:
    for initial in (MISSING, None, {"extra": 1, "token": "x"}):
        for as_json in (False, True):
            form = of(Order, initial, as_json=as_json)
            value, problems = form.read(sent)
            again = form.answered(sent, problems)
            other = turned(form, of(Order, initial, as_json=not as_json), sent)

            assert len(again.wrong) + len(again.general) > 0 or not problems
            assert value is MISSING or isinstance(json.dumps(value), str)
            assert all(isinstance(other.text(one), str) for one in controls(other))


words = st.sampled_from(
    ["type", "properties", "required", "anyOf", "oneOf", "allOf", "$ref", "$defs", "enum", "const", "items", "prefixItems", "default",
     "title", "description", "examples", "format", "pattern", "minimum", "maxLength", "multipleOf", "additionalProperties", "a", "password"]
)  # fmt: skip
schemas = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["string", "integer", "number", "object", "array", "boolean", "null", "date", "(", "#/$defs/a", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(schemas, st.just(MISSING) | plain | st.dictionaries(words, plain, max_size=3))
def test_whatever_is_published_makes_a_form(schema: Any, value: Any) -> None:
    for as_json in (False, True):
        form = form_of(json.dumps(schema), hides, initial=value, as_json=as_json)
        read, _ = form.read(sent_by_browser(form))
        form.misfits(None if value is MISSING else value)

        assert value is MISSING or _exact(read) == _exact(value)
        assert all(isinstance(hint, str) for one in controls(form) for hint in one.hints)
