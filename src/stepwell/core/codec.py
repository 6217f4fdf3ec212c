"""Typed values to JSON text and back, so that what comes back is what was given, or the giver is told.

Owns the form in which results, inputs, outputs and payloads are stored; the only file that makes a TypeAdapter. Refuses whatever
JSON would silently change. Knows nothing of runs, rows or time, and never pickles.

**Without an annotation** (also `Any`, `object`) only plain JSON is taken, by exact type: str, int, finite float, bool, None, and
lists and dicts with str keys of these. An Enum, a tuple, a datetime or a subclass of dict comes back as something else, so it is refused.

**With an annotation** pydantic writes and reads. What was read is then compared with what was given. Equal is right; a difference
passes only where the annotation asked for it or nobody can see it:

- list, tuple, deque, set and frozenset stand for one another when their elements are equal (a `Sequence` comes back as a list),
- fields that are not written: excluded, private, `init=False` or `compare=False`,
- one instant in two time zones; two NaN where the model's configuration carries them,
- two objects of one class that does not define what equal means, or cannot say it.

Everything else is a loss, and named with its path: NaN that became null, a datetime at an `Any` that came back as a str, a subclass
that came back as its base class, a SecretStr that came back as asterisks, an int key that came back as a str.

Fields are written by name and read by alias or by name, computed fields are left out, and bytes are base64 where no model says
otherwise: so that whatever pydantic can write, it also takes back.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from marshal import dumps
from math import isfinite, isnan
from types import CodeType, FunctionType, GeneratorType, MethodType
from typing import Any, Final, NamedTuple, Protocol, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from stepwell.errors import DefinitionError, InvalidInput, InvalidOutput, NotSerializable, PayloadTooLarge, StepwellError

MAX_CODECS: Final = 2_000
"""Codecs, and resolved return annotations, kept for the next use."""

MAX_DEPTH: Final = 200
"""Levels of nesting that pydantic's parser reads."""

MAX_FIELDS_TOLD: Final = 10
"""Fields named in the message of an InvalidInput or InvalidOutput; `errors` has them all."""


class Codec(Protocol):
    """One annotation's way to JSON and back."""

    annotation: Any

    def encode(self, value: Any, what: str, limit: int | None = None) -> str:
        """The value as JSON text.

        `what` names the giver in errors, `step 'load'`; `limit` is in bytes.

        Raises:
            NotSerializable: JSON does not give the value back unchanged.
            PayloadTooLarge: the text is longer than `limit`.
            DefinitionError: no schema can be made of the annotation.
        """

    def decode(self, text: str, what: str = "a stored value") -> Any:
        """The value of a stored text, a fresh object each time.

        Raises:
            NotSerializable: the text does not fit the annotation, which is not the one it was written by.
            DefinitionError: no schema can be made of the annotation.
        """

    def round_trip(self, value: Any, what: str, limit: int | None = None) -> tuple[str, Any]:
        """The value as JSON text, and what `decode` makes of it. Raises what `encode` does."""

    def validate(self, value: Any, what: str) -> Any:
        """The typed object that a Python value stands for: a dict for its model, a str for a datetime.

        Raises:
            ValueError: the value does not fit the annotation; a ValidationError where there is one.
            DefinitionError: no schema can be made of the annotation.
        """

    def read(self, text: str, what: str) -> Any:
        """The typed object that a text stands for. Raises what `validate` does."""


def codec_of(annotation: Any) -> Codec:
    """The codec of an annotation; cached. Its schema is made on first use."""
    known = _by_identity.get(id(annotation))
    if known is not None and known[0] is annotation:
        return known[1]
    return _codec_by_value(annotation)


def json_schema(annotation: Any) -> str:
    """The JSON schema of what an annotation takes, as text; `{}` where none can be made, and for what takes anything.

    Fields have their names in it, under which they are stored, and not their aliases, which are taken, too.
    """
    try:
        return to_json(TypeAdapter(annotation).json_schema(by_alias=False)).decode()
    except Exception:  # noqa: BLE001  # annotations of the user's have hooks that make their schema; the codec says what is wrong with one
        return "{}"


# An annotation is known by identity first: that is faster than hashing `dict[str, int | None]`, and works for those that have no hash.
_by_identity: dict[int, tuple[Any, Codec]] = {}
_by_value: dict[tuple[Any, str], Codec] = {}


def _codec_by_value(annotation: Any) -> Codec:
    # `int | str` equals `str | int`, but the first member that fits wins: the repr keeps them apart.
    key = (annotation, repr(annotation))
    try:
        codec = _by_value.get(key)
    except TypeError:
        codec = _new_codec(annotation)
    else:
        if codec is None:
            codec = _new_codec(annotation)
            _make_room(_by_value)
            _by_value[key] = codec
    _make_room(_by_identity)
    _by_identity[id(annotation)] = (annotation, codec)
    return codec


def _new_codec(annotation: Any) -> Codec:
    return PlainCodec() if annotation is Any or annotation is object else TypedCodec(annotation)


def _make_room(cache: dict[Any, Any]) -> None:
    # What is in use is back after one miss each; a program with so many annotations makes them as it runs.
    if len(cache) >= MAX_CODECS:
        cache.clear()


class PlainCodec:
    """Takes plain JSON, by exact type, and nothing else."""

    __slots__ = ()

    annotation: Any = Any

    def encode(self, value: Any, what: str, limit: int | None = None) -> str:
        """See `Codec.encode`."""
        return self.round_trip(value, what, limit)[0]

    def decode(self, text: str, what: str = "a stored value") -> Any:
        """See `Codec.decode`."""
        try:
            return from_json(text, allow_inf_nan=False, cache_strings="keys")
        except ValueError as error:
            raise NotSerializable(f"what is stored of {what} is no JSON: {error}", what=what, path="$") from error

    def round_trip(self, value: Any, what: str, limit: int | None = None) -> tuple[str, Any]:
        """See `Codec.round_trip`."""
        try:
            # marshal compares exact types at the speed of C: it has no form for subclasses of the built-in types nor for any other
            # class, and different ones for a tuple and a list. It comes first because, unlike to_json, it leaves iterators alone.
            given = dumps(value, 2)
            raw = to_json(value)
            if limit is not None and len(raw) > limit:
                raise PayloadTooLarge(what=what, size=len(raw), limit=limit)
            back = from_json(raw, allow_inf_nan=False, cache_strings="keys")
            if dumps(back, 2) == given:
                return raw.decode(), back
        except ValueError as error:
            raise _refusal(what, value, _obstacle(value, _not_plain), str(error)) from None
        raise _refusal(what, value, _obstacle(value, _not_plain), "JSON gives back something else")

    def validate(self, value: Any, what: str) -> Any:  # noqa: ARG002  # as a Codec
        """The value itself."""
        return value

    def read(self, text: str, what: str) -> Any:  # noqa: ARG002  # as a Codec
        """See `Codec.read`."""
        return from_json(text, allow_inf_nan=False)


class TypedCodec:
    """Lets pydantic write and read by an annotation, and compares."""

    __slots__ = ("_from_json", "_from_python", "_to_json", "annotation")

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._to_json: Callable[..., bytes] | None = None
        self._from_json: Callable[..., Any]
        self._from_python: Callable[..., Any]

    def encode(self, value: Any, what: str, limit: int | None = None) -> str:
        """See `Codec.encode`."""
        return self.round_trip(value, what, limit)[0]

    def decode(self, text: str, what: str = "a stored value") -> Any:
        """See `Codec.decode`."""
        if self._to_json is None:
            self._build(what)
        try:
            return self._from_json(text, by_alias=True, by_name=True)
        except Exception as error:  # a validator of the user's runs in there
            raise _misfit(what, self.annotation, error, stored=True) from error

    def round_trip(self, value: Any, what: str, limit: int | None = None) -> tuple[str, Any]:
        """See `Codec.round_trip`."""
        write = self._to_json or self._build(what)
        if type(value) in _ONE_PASS:
            # pydantic would read it to its end, if it has one, and write a list.
            raise _refusal(what, value, _obstacle(value, _not_json))
        try:
            raw = write(value, by_alias=False, round_trip=True, warnings=False)
        except Exception as error:  # a serializer of the user's runs in there
            obstacle = _obstacle(value, _not_json) or _obstacle(value, _not_known)
            raise _refusal(what, value, obstacle, str(error)) from error
        if limit is not None and len(raw) > limit:
            raise PayloadTooLarge(what=what, size=len(raw), limit=limit)
        try:
            back = self._from_json(raw, by_alias=True, by_name=True)
        except Exception as error:  # likewise
            if obstacle := _obstacle(value, _not_json):
                raise _refusal(what, value, obstacle) from None
            raise _misfit(what, self.annotation, error) from error
        if not _equal(value, back) and (loss := _loss(value, back)):
            raise _refusal(what, value, loss)
        return raw.decode(), back

    def validate(self, value: Any, what: str) -> Any:
        """See `Codec.validate`."""
        if self._to_json is None:
            self._build(what)
        return self._from_python(value, by_alias=True, by_name=True)

    def read(self, text: str, what: str) -> Any:
        """See `Codec.read`."""
        if self._to_json is None:
            self._build(what)
        return self._from_json(text, by_alias=True, by_name=True)

    def _build(self, what: str) -> Callable[..., bytes]:
        try:
            adapter = _adapter(_readable(self.annotation))
            schema = adapter.core_schema
            to_json, from_python, from_json = adapter.serializer.to_json, adapter.validator.validate_python, adapter.validator.validate_json
        except Exception as error:  # a schema hook of the user's runs in there, and a name may be undefined
            raise _no_schema(what, self.annotation, _first_sentence(str(error))) from error
        if schema["type"] in {"generator", "callable"}:
            raise _no_schema(what, self.annotation, "an iterator or a function cannot be stored")
        self._from_python, self._from_json = from_python, from_json
        # Only a model that is configured so writes NaN and Infinity as they are, which is no JSON.
        self._to_json = _without_constants(to_json) if "ser_json_inf_nan" in repr(schema) else to_json
        return self._to_json


_ONE_PASS: Final = frozenset({GeneratorType, map, filter, zip, enumerate, reversed})

_BYTES: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=_BYTES)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)  # a model has its own configuration


def _readable(annotation: Any) -> Any:
    """What can be read more than once: an `Iterable[int]` comes back as a list."""
    if (get_origin(annotation) or annotation) in (Iterable, Collection):
        return list.__class_getitem__(*(get_args(annotation) or (Any,)))
    return annotation


def _without_constants(write: Callable[..., bytes]) -> Callable[..., bytes]:
    def strict(value: Any, **options: Any) -> bytes:
        raw = write(value, **options)
        from_json(raw, allow_inf_nan=False)
        return raw

    return strict


# ------------------------------------------------------------------------------------------------ inputs, outputs, payloads


def input_text(codec: Codec, value: Any, *, workflow: str, limit: int | None = None, schedule: str | None = None) -> str:
    """A workflow's input, validated, as the JSON text to store: `input_value` makes the same of it.

    Args:
        codec: of the workflow's schema.
        value: the input.
        workflow: the workflow's name.
        limit: bytes of the text.
        schedule: the name of the schedule that gives it; None: somebody starts a run.

    Raises:
        InvalidInput: it does not fit the workflow's schema.
        NotSerializable: JSON does not give it back unchanged.
        PayloadTooLarge: the text is longer than `limit` bytes.
    """
    of = "" if schedule is None else f" of schedule {schedule!r}"
    try:
        return _validated_text(codec, value, f"input{of} of workflow {workflow!r}", limit)
    except _Unfit as unfit:
        hint = " No input was given." if value is None else ""
        raise InvalidInput(
            f"the input{of} does not fit workflow {workflow!r}: {unfit}.{hint}", workflow=workflow, errors=unfit.errors
        ) from unfit.__cause__


def input_value(codec: Codec, text: str, *, workflow: str) -> Any:
    """The typed input that a stored text stands for. The text may have been stored where the schema was not known.

    Raises:
        InvalidInput: it does not fit the workflow's schema.
    """
    try:
        return codec.read(text, f"input of workflow {workflow!r}")
    except StepwellError:
        raise
    except Exception as error:  # a validator of the user's runs in there
        unfit = _Unfit.of(error)
        raise InvalidInput(f"the input does not fit workflow {workflow!r}: {unfit}.", workflow=workflow, errors=unfit.errors) from error


def payload_text(value: Any, *, signal: str, limit: int | None = None) -> str:
    """What a signal carries, as the JSON text to store. Who sends it does not know its type: a model, say, is written as what it is.

    Raises:
        NotSerializable: JSON does not give it back unchanged.
        PayloadTooLarge: the text is longer than `limit` bytes.
    """
    plain = value is None or isinstance(value, str | int | float | list | dict | tuple)
    return codec_of(Any if plain else type(value)).encode(value, f"the payload of signal {signal!r}", limit)


def payload_value(codec: Codec, text: str, *, signal: str) -> Any:
    """What a signal carries, as the type that its receiver wants.

    Raises:
        InvalidInput: it does not fit that type.
    """
    try:
        return codec.read(text, f"payload of signal {signal!r}")
    except StepwellError:
        raise
    except Exception as error:  # a validator of the user's runs in there
        unfit = _Unfit.of(error)
        raise InvalidInput(
            f"the payload of signal {signal!r} does not fit the type that is waited for: {unfit}.", workflow=signal, errors=unfit.errors
        ) from error


def output_text(codec: Codec, value: Any, *, workflow: str, limit: int | None = None) -> str:
    """What a workflow returned, validated, as the JSON text to store.

    Raises:
        InvalidOutput: it does not fit the workflow's schema.
        NotSerializable: JSON does not give it back unchanged.
        PayloadTooLarge: the text is longer than `limit` bytes.
    """
    try:
        return _validated_text(codec, value, f"workflow {workflow!r}", limit)
    except _Unfit as unfit:
        raise InvalidOutput(
            f"what workflow {workflow!r} returned does not fit its output: {unfit}.", workflow=workflow, errors=unfit.errors
        ) from unfit.__cause__


class _Unfit(Exception):
    """What is wrong with a value, field by field: as words, and as data. Values are left out: they may be secret."""

    def __init__(self, message: str, errors: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.errors = errors

    @classmethod
    def of(cls, error: Exception) -> _Unfit:
        if not isinstance(error, ValidationError):
            return cls(f"{type(error).__name__}: {error}", [])
        errors = [
            {"loc": list(problem["loc"]), "msg": problem["msg"], "type": problem["type"]}
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        told = [f"{_path(error['loc'])[1:].lstrip('.')}: {error['msg']}".removeprefix(": ") for error in errors[:MAX_FIELDS_TOLD]]
        if len(errors) > MAX_FIELDS_TOLD:
            told.append(f"and {len(errors) - MAX_FIELDS_TOLD} more")
        return cls("; ".join(told), errors)


def _validated_text(codec: Codec, value: Any, what: str, limit: int | None) -> str:
    try:
        return codec.encode(codec.validate(value, what), what, limit)
    except StepwellError as error:
        # An instance of a model is taken as it is, without another look: only reading it back shows that it was changed for the worse.
        if isinstance(error.__cause__, ValidationError):
            raise _Unfit.of(error.__cause__) from error.__cause__
        raise
    except Exception as error:  # a validator of the user's runs in there
        raise _Unfit.of(error) from error


# ---------------------------------------------------------------------------------------------- finding what JSON would lose


class _Obstacle(NamedTuple):
    path: tuple[Any, ...]
    """Keys, indexes and names of fields, from the outside in."""
    found: str
    """`a tuple`."""
    fate: str
    """`which JSON gives back as a list`."""


_Fault = Callable[[Any], tuple[str, str] | None]
"""Of a value without regard to its parts: what was found and its fate, or None."""


def _obstacle(value: Any, fault: _Fault, path: tuple[Any, ...] = (), above: frozenset[int] = frozenset()) -> _Obstacle | None:
    """The first faulty thing in a value. It reads no iterator and calls nothing of the value's."""
    found = fault(value)
    parts = _parts(value)
    if found is None and parts and id(value) in above:
        found = "a cycle", _NEVER
    if found is None and parts and len(path) >= MAX_DEPTH:
        found = f"more than {MAX_DEPTH} levels of nesting", _NEVER
    if found is not None:
        return _Obstacle(path, *found)
    nested = (_obstacle(item, fault, (*path, part), above | {id(value)}) for part, item in parts)
    return next((obstacle for obstacle in nested if obstacle is not None), None)


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """What a value consists of, with keys, indexes or names."""
    if isinstance(value, dict):
        return list(dict.items(value))
    if isinstance(value, list | tuple | set | frozenset | deque):
        return list(enumerate(value))
    return _fields(value) or []


def _fields(value: Any) -> list[tuple[str, Any]] | None:
    """The fields of a model or dataclass that JSON is to give back; None of anything else."""
    kind = type(value)
    if isinstance(value, BaseModel):
        extra = getattr(value, "__pydantic_extra__", None) or {}
        return [(name, item) for name, item in value.__dict__.items() if _is_written(kind, name)] + list(extra.items())
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind) if field.init and field.compare and _is_written(kind, field.name)]
        return [(name, getattr(value, name, None)) for name in names]
    return None


def _is_written(kind: type, name: str) -> bool:
    fields = getattr(kind, "__pydantic_fields__", None)
    return fields is None or (name in fields and not fields[name].exclude)


_PLAIN: Final = frozenset({str, int, float, bool, type(None), list, dict})


def _not_plain(value: Any) -> tuple[str, str] | None:
    """What makes a value other than plain JSON."""
    if type(value) not in _PLAIN:
        return _a(type(value)), _fate(value)
    if type(value) is dict:
        for key in value:
            if type(key) is not str:
                return f"a dict with the key {_short(key)}", "a key that JSON gives back as a str"
    return _not_json(value)


def _not_json(value: Any) -> tuple[str, str] | None:
    """What JSON has no form for, whatever the annotation."""
    match value:
        case float() if not isfinite(value):
            return repr(float(value)), _NEVER
        case int() if value.bit_length() > _MAX_BITS:
            return "an int of more than 4,300 digits", _NEVER
        case str() if _is_broken(value):
            return "a str with a lone surrogate", _NEVER
        case dict() if any(isinstance(key, str) and _is_broken(key) for key in value):
            return "a key with a lone surrogate", _NEVER
        case Iterator():
            return _a(type(value)), _ONCE
    return None


_NEVER: Final = "which JSON cannot carry"
_ONCE: Final = "which can be read only once"
_MAX_BITS: Final = 14_284  # 4,300 digits are what Python and pydantic read


def _not_known(value: Any) -> tuple[str, str] | None:
    """What pydantic knows no form for, where no annotation gives it one."""
    if not _parts(value) and not isinstance(value, Iterator):
        try:
            to_json(value)
        except ValueError:
            return _a(type(value)), _NEVER
    return None


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


_FORMS: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    ((tuple, set, frozenset, list, deque), "a list"),
    ((Mapping, BaseModel), "a dict"),
    ((int,), "an int"),
    ((float,), "a float"),
    ((str, bytes, bytearray, date, time, timedelta, UUID, Decimal), "a str"),
)


def _fate(value: Any) -> str:
    """What JSON makes of a value that is not plain."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Iterator):
        return _ONCE
    form = next((form for kinds, form in _FORMS if isinstance(value, kinds)), None)
    if form is None and dataclasses.is_dataclass(type(value)):
        form = "a dict"
    if form is None and hasattr(type(value), "__fspath__"):
        form = "a str"
    return f"which JSON gives back as {form}" if form else _NEVER


def _loss(value: Any, back: Any, path: tuple[Any, ...] = ()) -> _Obstacle | None:
    """The first difference between what was given and what came back that is a loss, by the rules at the top of this file."""
    equal = _equal(value, back)
    if equal:
        return None
    pairs = _pairs(value, back)
    if pairs is not None:
        losses = (_loss(one, other, (*path, part)) for part, one, other in pairs)
        return next((loss for loss in losses if loss is not None), None)
    if type(value) is type(back) and (equal is None or _is_alike(value, back)):
        return None
    return _Obstacle(path, *_not_returned(value, back))


def _not_returned(value: Any, back: Any) -> tuple[str, str]:
    """What a value is, and what came back in its place."""
    if isinstance(value, dict) and isinstance(back, dict):
        lost = next((key for key in value if key not in back), None)
        return f"a dict with the key {_short(lost)}", "a key that does not come back as it was"
    if isinstance(back, Iterator):
        return _a(type(value)), "which comes back as an iterator, to be read only once: annotate it as a list"
    other = "another value" if type(value) is type(back) else _a(type(back))
    return _not_json(value) or (_a(type(value)), f"which comes back as {other}")


def _equal(value: Any, back: Any) -> bool | None:
    """Whether two values say that they are equal; None when they cannot say."""
    try:
        return bool(value == back)
    except Exception:  # noqa: BLE001  # a comparison of the user's: arrays and tables have no single answer
        return None


_SERIES: Final = frozenset({list, tuple, deque})
_SETS: Final = frozenset({set, frozenset})


def _pairs(value: Any, back: Any) -> list[tuple[Any, Any, Any]] | None:
    """The parts of two values that are to be compared one by one, with their place; None when they have no parts in common."""
    kind, other = type(value), type(back)
    if isinstance(value, dict) and isinstance(back, dict):
        return [(key, value[key], back[key]) for key in value] if value.keys() == back.keys() else None
    if (kind in _SERIES and other in _SERIES) or (kind is other and isinstance(value, list | tuple | deque)):
        return [(index, *pair) for index, pair in enumerate(zip(value, back, strict=True))] if len(value) == len(back) else None
    if kind in _SETS | _SERIES and other in _SETS | _SERIES:
        return [] if _has_same_elements(value, back) else None
    if kind is other and (fields := _fields(value)) is not None:
        mine, theirs = dict(fields), dict(_fields(back) or ())
        return [(name, mine[name], theirs[name]) for name in mine] if mine.keys() == theirs.keys() else None
    return None


def _has_same_elements(value: Any, back: Any) -> bool:
    try:
        return len(value) == len(back) and set(value) == set(back)
    except TypeError:  # a list came back where a set was to be, of elements that no set can hold
        return False


def _is_alike(value: Any, back: Any) -> bool:
    """Whether two values of one class that are not equal are as good as equal."""
    if isinstance(value, Iterator):
        return False
    if isinstance(value, datetime):
        # The hour that a clock repeats never equals an instant of another zone, not even itself.
        return value.tzinfo is not None and back.tzinfo is not None and value.astimezone(UTC) == back.astimezone(UTC)
    if isinstance(value, float | Decimal):
        return isnan(value) and isnan(back)
    return type(value).__eq__ is _IDENTITY


_IDENTITY: Final[object] = object.__eq__


# ---------------------------------------------------------------------------------------------------------------- messages

_ADVICE: Final = {
    "step": ("returned", "Annotate the function's return type, or pass result= to step.define"),
    "workflow": ("returned", "Annotate the function's return type, or pass output= to @workflow"),
    "input": ("has", "Annotate the parameter that takes the input, or pass input= to @workflow"),
}
_NO_ANNOTATION_HELPS: Final = {_NEVER: "Put in its place what JSON can carry, such as None or a str", _ONCE: "Make a list of it"}
_ANY_ADVICE: Final = ("has", "Give plain JSON, or a value that fits the annotation")


def _refusal(what: str, value: Any, obstacle: _Obstacle | None, reason: str = "") -> NotSerializable:
    verb, advice = _ADVICE.get(what.partition(" ")[0], _ANY_ADVICE)
    if obstacle is None:
        return NotSerializable(f"{what} {verb} {_a(type(value))} that JSON cannot carry: {reason}. {advice}.", what=what, path="$")
    path = _path(obstacle.path)
    place = f" at {path}" if obstacle.path else ""
    advice = _NO_ANNOTATION_HELPS.get(obstacle.fate, advice)
    return NotSerializable(f"{what} {verb} {obstacle.found}{place}, {obstacle.fate}. {advice}.", what=what, path=path)


def _misfit(what: str, annotation: Any, error: Exception, *, stored: bool = False) -> NotSerializable:
    """A text does not fit the annotation: the one just written, or one `stored` before."""
    verb, _ = _ADVICE.get(what.partition(" ")[0], _ANY_ADVICE)
    path, reason = "$", str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path, reason = _path(first["loc"]), first["msg"]
    subject = f"what is stored of {what}" if stored else f"what {what} {verb}"
    advice = "An annotation must go on reading what was stored by it" if stored else "Annotate what it really is"
    return NotSerializable(f"{subject} does not fit {_name(annotation)} at {path}: {reason}. {advice}.", what=what, path=path)


def _no_schema(what: str, annotation: Any, reason: str) -> DefinitionError:
    _, advice = _ADVICE.get(what.partition(" ")[0], _ANY_ADVICE)
    kinds = "a model, a dataclass, a TypedDict, or built-in types"
    return DefinitionError(f"{what} is annotated with {_name(annotation)}, which cannot be stored as JSON: {reason}. {advice}: {kinds}.")


def _path(parts: Iterable[Any]) -> str:
    """`$.items[3].price`."""
    return "$" + "".join(f".{part}" if isinstance(part, str) and part.isidentifier() else f"[{_short(part)}]" for part in parts)


def _short(key: Any) -> str:
    text = repr(key) if type(key) in {str, int, float, bool, type(None), bytes} else f"of type {type(key).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004  # enough to know it by


def _a(kind: type) -> str:
    name = kind.__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _first_sentence(text: str) -> str:
    return text.partition("\n")[0].partition(". ")[0].rstrip(".")


def _name(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) and not get_args(annotation) else repr(annotation)


# ------------------------------------------------------------------------------------------------------- return annotations


def result_annotation(function: Any) -> Any:
    """What `codec_of` needs for a step's function: its return annotation, `Any` without one.

    Of an `async def` it is what is awaited; an `Awaitable[T]` gives T. Takes functions, methods, partials, classes, objects
    with `__call__`, and decorators' objects that keep their function as `function` or `__wrapped__`.

    Raises:
        DefinitionError: the annotation names something that is not defined where the function is.
    """
    if type(function) is MethodType:
        function = function.__func__
    if type(function) is not FunctionType or "__wrapped__" in function.__dict__:
        return _annotation_of_wrapper(function)
    return _resolved(function.__annotations__.get("return", Any), function)


def _annotation_of_wrapper(function: Any) -> Any:
    if isinstance(function, type):
        return function
    if isinstance(function, partial):
        return result_annotation(function.func)
    inner = getattr(function, "__wrapped__", None) or getattr(function, "__dict__", {}).get("function")
    if inner is None:
        call = getattr(type(function), "__call__", None)  # noqa: B004  # it is read, not asked after
        return result_annotation(call) if isinstance(call, FunctionType) else Any
    while getattr(inner, "__wrapped__", None) is not None:
        inner = inner.__wrapped__
    if isinstance(inner, MethodType):
        inner = inner.__func__
    annotations = getattr(function, "__annotations__", None)
    if annotations and "return" in annotations and isinstance(inner, FunctionType):
        # functools.wraps copies the annotation into another module; its names are still those of the innermost function.
        return _resolved(annotations["return"], inner)
    return result_annotation(inner)


# By code object, of which there is one however often a body makes its inner functions anew; no function, and so nothing that it
# encloses, is kept. An entry holds what else the answer depends on: the annotation as written, and where its names are looked up.
_annotations: dict[int, tuple[CodeType, Any, int, Any]] = {}


def _resolved(written: Any, home: FunctionType) -> Any:
    """The annotation, with names in strings looked up where the function is."""
    code = home.__code__
    known = _annotations.get(id(code))
    if known is not None and known[0] is code and (known[1] is written or known[1] == written) and known[2] == id(home.__globals__):
        return known[3]
    names: dict[str, Any] = {parameter.__name__: parameter for parameter in getattr(home, "__type_params__", ())}
    if _names_something_enclosed(written, code):
        return _evaluated(written, home, names | _enclosed(home))  # differs from one function to the next
    try:
        annotation = _evaluated(written, home, names)
    except DefinitionError:
        if not code.co_freevars:
            raise
        return _evaluated(written, home, names | _enclosed(home))
    _make_room(_annotations)
    _annotations[id(code)] = (code, written, id(home.__globals__), annotation)
    return annotation


def _names_something_enclosed(written: Any, code: CodeType) -> bool:
    if not isinstance(written, str) or not code.co_freevars:
        return False
    return not set(code.co_freevars).isdisjoint(re.findall(r"\w+", written))


def _enclosed(function: FunctionType) -> dict[str, Any]:
    """The variables of the functions around this one that it uses, as far as they have a value."""
    names = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):
            names[name] = cell.cell_contents
    return names


def _evaluated(written: Any, home: FunctionType, names: dict[str, Any]) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {"return": written}
    try:
        annotation = get_type_hints(holder, globalns=home.__globals__, localns=names, include_extras=True)["return"]
    except Exception as error:  # what stands in a string of the user's is evaluated
        raise DefinitionError(
            f"the return annotation {written!r} of {home.__qualname__} (in {home.__module__}) has no meaning when the program "
            f"runs: {error}. Import or define what it names at the top of the module, outside of TYPE_CHECKING, "
            "or pass result= to step.define."
        ) from error
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, Awaitable):
        return get_args(annotation)[-1] if get_args(annotation) else Any
    return annotation
