"""Takes what was typed into a form along when the same input is to be written in another way: in fields, or as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stepwell.web.checking import Misfit
from stepwell.web.fields import MISSING, Field, Kind, all_fields, fields_of
from stepwell.web.forms import Form
from stepwell.web.masking import is_mark

_TYPED = (Kind.TEXT, Kind.INTEGER, Kind.NUMBER)


def turned(source: Form, target: Form, sent: Mapping[str, str]) -> Form:
    """The target, with what was sent of the source; or the source, if that cannot be, with the reason."""
    value, problems = source.read_for_eyes(sent)
    if target.is_json:
        text = "" if value is MISSING else json.dumps(value, indent=2, ensure_ascii=False)
        return target.answered({**sent, target.root.name: text}, ())
    if problems:
        return source.answered(sent, problems)
    texts = _texts(target, value)
    if texts is None:
        return source.answered(sent, [Misfit((), "this does not fit the fields")])
    return target.answered({**sent, **texts}, ())


def _texts(target: Form, value: Any) -> dict[str, str] | None:
    """What stands in the fields of a form for a value with marks; None: it has not fields for all of it."""
    places = {one.name: one for one in all_fields(target.root)}
    filled = list(all_fields(fields_of(target.schema, value, lambda _: False, as_json=False)))
    if any(one.name not in places or (one.kind is Kind.GROUP) is not (places[one.name].kind is Kind.GROUP) for one in filled):
        return None
    texts = {name: "" for name, place in places.items() if place.kind is not Kind.GROUP and place.control != "checkbox"}
    for one in filled:
        place = places[one.name]
        if one.kind is Kind.GROUP:
            texts |= {one.given_name: "true"} if one.shown else {}
        elif place.control != "checkbox":
            texts[one.name] = _text(one, place)
        elif one.shown == "true":
            texts[one.name] = "true"
    return texts


def _text(one: Field, place: Field) -> str:
    as_typed = place.kind in _TYPED or is_mark(one.initial)
    return one.initial if as_typed and isinstance(one.initial, str) else one.shown
