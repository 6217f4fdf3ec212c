"""What is recognised as secret in texts, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.web.prose import HIDDEN, Prose

SECRET = "hunter2"

shown = Prose(["password", "token", "secret"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("login failed: password=hunter2, user=ada", "login failed: password=•••, user=ada"),
        ("PASSWORD = hunter2", "PASSWORD = •••"),
        ("client_secret => hunter2", "client_secret => •••"),
        ('{"password": "hunter2", "user": "ada"}', '{"password": •••, "user": "ada"}'),
        ("{'api_token': 'hunter2', 'x': 1}", "{'api_token': •••, 'x': 1}"),
        ('"password (again)": "hun\\"ter2" and on', '"password (again)": ••• and on'),
        ("Account(user='ada', password='hunter2')", "Account(user='ada', password=•••)"),
        ("token=b'hunter2'", "token=•••"),
        ('{\\"password\\": \\"hunter2\\", \\"user\\": 1}', '{\\"password\\": •••, \\"user\\": 1}'),
        ('secret={"a": ["hunter2", "b"]}, user=ada', "secret=•••, user=ada"),
        ("password: hunter2", "password: •••"),
        ("X-Auth-Token: hunter2", "X-Auth-Token: •••"),
        ("Authorization: Bearer abc.hunter2", "Authorization: Bearer •••"),
        ("'Authorization': 'Basic YWRhOmh1bnRlcjI='", "'Authorization': 'Basic •••'"),
        ("https://x.example/?a=1&access_token=hunter2&b=2", "https://x.example/?a=1&access_token=•••&b=2"),
        ("postgresql://ada:hunter2@db.example/x is down", "postgresql://ada:•••@db.example/x is down"),
        ("amqp://ada:hun@ter2@db.example", "amqp://ada:•••@db.example"),
        ("https://hunter2@github.com/x", "https://•••@github.com/x"),
        ("cannot reach postgresql://ada:hunter2", "cannot reach postgresql://ada:•••"),
        ("cannot reach postgresql://ada:hunter2… (12,345 characters)", "cannot reach postgresql://ada:•••… (12,345 characters)"),
        ("redis://:hunter2", "redis://:•••"),
        ("  login(tok\n… (cut from 50,123 characters) …\nen='hunter2')\nE: x", "  login(tok\n… (cut from 50,123 characters) …\n•••\nE: x"),
        (
            "1 validation error for Login\naccount.password\n  Too short [type=string_too_short, input_value='hunter2', input_type=str]",
            "1 validation error for Login\naccount.password\n  Too short [type=string_too_short, input_value=•••, input_type=str]",
        ),
    ],
)
def test_what_looks_like_a_field_with_such_a_name_is_hidden(text: str, wanted: str) -> None:
    assert shown(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "TokenExpired: the session is over",
        "InvalidTokenError: it has expired",
        "KeyError: 'token'",
        "the token has expired",
        "basic authentication is needed",
        "if token == other: return",
        'File "/app/token.py", line 3, in check',
        "https://example.com/a@b",
        "ada@example.com",
        "cannot reach http://db:5432",
        "cannot reach http://db:5432.",
        "cannot reach http://[::1]:80",
        "see https://example.com",
        "http://db:80… (12,345 characters)",
        "password=",
    ],
)
def test_what_is_told_of_secrets_without_one_is_shown(text: str) -> None:
    assert shown(text) == text


def test_where_nothing_is_hidden_texts_stay_as_they_are() -> None:
    assert Prose([])("password=hunter2 http://a:b@c") == "password=hunter2 http://a:b@c"


@given(st.sampled_from(["password=", '"token": ', "'my_secret': ", "Password = "]), st.sampled_from(["'", '"', ""]), st.integers(0, 60))
def test_a_text_that_is_cut_off_hides_what_the_whole_hides(name: str, quote: str, length: int) -> None:
    text = f"failed: {name}{quote}{SECRET}{quote}, user=ada"

    assert SECRET[:3] not in shown(text[:length])


@given(st.text(st.sampled_from("=:\"'\\{}[]()@/ \n\x00ab1"), max_size=200))
def test_a_text_without_such_a_name_keeps_all_but_who_asks_for_a_url(text: str) -> None:
    assert shown(text) == text or ("://" in text and HIDDEN in shown(text))


@pytest.mark.parametrize(
    "part",
    [
        "password",
        "password=",
        'password"',
        'password="',
        "password\n  ",
        "://",
        "a:",
        "bearer ",
        "password={",
        'password="\\',
        'token\\":\\"',
    ],
)
def test_a_text_is_read_in_a_time_that_grows_with_its_length_only(part: str) -> None:
    assert len(shown(part * 50_000)) <= len(part) * 50_000  # whatever takes the square of that does not end in a minute
