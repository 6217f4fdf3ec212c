"""Names as parts of addresses: whatever people have called a thing, its address leads to it."""

from __future__ import annotations

from urllib.parse import quote, unquote, urljoin

from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from stepwell.web import addresses

addresses.register()
routes = Starlette(routes=[Route("/x/{workflow:name}/{name:names}", lambda _: None, name="x")]).router.routes

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200)


@given(names, names)
def test_a_browser_that_follows_an_address_comes_to_what_it_was_made_for(workflow: str, name: str) -> None:
    address = quote(str(routes[0].url_path_for("x", workflow=workflow, name=name)))

    asked = unquote(urljoin("http://testserver/tasks", address).removeprefix("http://testserver"))
    _, found = routes[0].matches({"type": "http", "method": "GET", "path": asked, "root_path": ""})

    assert found["path_params"] == {"workflow": workflow, "name": name}


def test_a_plain_name_stands_in_its_address_as_it_is() -> None:
    path = str(routes[0].url_path_for("x", workflow="pay", name="every_morning"))

    assert path == "/x/pay/every_morning"
