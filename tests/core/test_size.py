"""Sizes of data with their units."""

from typing import Any

import pytest

from stepwell.core.size import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4MiB", 4_194_304),
        ("500 kB", 500_000),
        ("1GB", 10**9),
        ("1 GiB", 2**30),
        ("16KiB", 16_384),
        ("2.5mb", 2_500_000),
        (" 7 B ", 7),
        (4096, 4096),
    ],
)
def test_a_size_is_a_number_of_bytes_or_a_text_with_a_unit(text: Any, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4", 'max_payload needs a unit: give "4MiB", "4kB" or "4B"'),
        ("4 MiX", "max_payload has a unit that is not known, 'MiX'"),
        ("four MiB", "max_payload is no size"),
        ("-4MiB", "max_payload is no size"),
        ("", "max_payload is no size"),
        ("9" * 5_000 + "B", "max_payload is no size"),
        (0, "max_payload is at least one byte"),
        (-1, "max_payload is at least one byte"),
        ("0.4B", "max_payload is at least one byte"),
    ],
)
def test_what_is_no_size_is_refused_with_what_to_write(text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_size(text, "max_payload")


@pytest.mark.parametrize("value", [True, 4.0, None, b"4MiB"])
def test_another_type_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="max_payload is a text such as"):
        parse_size(value, "max_payload")
