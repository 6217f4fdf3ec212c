"""Finding runs: what a filter means, pages there and back, counts, and who has ended."""

from typing import Any

import pytest

from stepwell.core.failure import error_text
from stepwell.core.records import RunFilter
from stepwell.core.status import Action, RunStatus
from stepwell.errors import ErrorInfo
from stepwell.store.port import Ended, Store
from tests.store.making import ALL, CARD_DECLINED, FIRST, NOW, claimed_run, claims, move, new_run, run_id, write


async def found(store: Store, where: RunFilter = ALL, *, newest: bool = False) -> list[int]:
    page = await store.find(where, newest=newest, limit=100, cursor=None)
    assert (page.next_cursor, page.previous_cursor) == (None, None)
    return [int(run.id[-12:], 16) for run in page]


async def some_runs(store: Store) -> None:
    """Run 1 is completed, 2 failed, 3 canceled, 4 paused, 5 sleeps, 6 runs, 7 and 8 wait."""
    await store.enqueue([new_run(number) for number in range(1, 7)])
    await claims(store)
    await write(store, move(Action.COMPLETE), move(Action.FAIL, run=run_id(2)), move(Action.PARK, run=run_id(5)))
    await store.act(run_id(3), Action.CANCEL, NOW)
    await store.act(run_id(4), Action.PAUSE, NOW)
    await store.enqueue([new_run(7), new_run(8)])


BY_STATUS = {
    RunStatus.COMPLETED: [1],
    RunStatus.FAILED: [2],
    RunStatus.CANCELED: [3],
    RunStatus.PAUSED: [4],
    RunStatus.SLEEPING: [5],
    RunStatus.RUNNING: [6],
    RunStatus.PENDING: [7, 8],
}


# -- filters


async def test_without_a_filter_all_runs_are_found_in_the_order_asked_for(store: Store) -> None:
    await store.enqueue([new_run(3), new_run(1), new_run(2)])

    assert await found(store) == [1, 2, 3]
    assert await found(store, newest=True) == [3, 2, 1]


@pytest.mark.parametrize("status", list(RunStatus))
async def test_runs_are_found_by_status(store: Store, status: RunStatus) -> None:
    await some_runs(store)

    assert await found(store, RunFilter(statuses=frozenset({status}))) == BY_STATUS[status]


async def test_runs_are_found_by_one_of_several_statuses(store: Store) -> None:
    await some_runs(store)

    assert await found(store, RunFilter(statuses=frozenset({RunStatus.FAILED, RunStatus.PENDING}))) == [2, 7, 8]
    assert await found(store, RunFilter(statuses=frozenset(RunStatus))) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert await found(store, RunFilter(statuses=frozenset())) == []


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"workflow": "ship"}, [3]),
        ({"workflow": "Ship"}, []),
        ({"version": "v2"}, [2]),
        ({"version": ""}, [1, 3, 4]),
        ({"queue": "slow"}, [4]),
        ({"queue": "default", "workflow": "pay"}, [1, 2]),
        ({"id_prefix": run_id(1)[:-1]}, [1, 2, 3, 4]),
        ({"id_prefix": run_id(3)}, [3]),
        ({"id_prefix": "0189%"}, []),
        ({"created_after": NOW - 9_998}, [2, 3, 4]),
        ({"created_before": NOW - 9_998}, [1]),
        ({"created_after": NOW - 9_998, "created_before": NOW - 9_997}, [2]),
    ],
    ids=str,
)
async def test_runs_are_found_by_what_they_were_started_with(store: Store, where: dict[str, Any], expected: list[int]) -> None:
    await store.enqueue([new_run(1), new_run(2, version="v2"), new_run(3, workflow="ship"), new_run(4, queue="slow")])

    assert await found(store, RunFilter(**where)) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"finished_before": NOW + 1}, []),
        ({"finished_before": NOW + 1.5}, [1]),
        ({"finished_before": NOW + 4}, [1, 2, 3]),
        ({"finished_before": NOW + 4, "statuses": frozenset({RunStatus.FAILED, RunStatus.CANCELED})}, [2, 3]),
        ({"finished_before": NOW + 4, "statuses": frozenset({RunStatus.RUNNING, RunStatus.PAUSED})}, []),
        ({"finished_before": NOW + 4, "workflow": "pay", "tags": ("eu",)}, [2]),
        ({"finished_before": NOW + 4, "created_after": NOW - 9_998}, [2, 3]),
    ],
    ids=["too early", "some", "all", "of some statuses", "of live statuses", "of a workflow", "created later"],
)
async def test_runs_are_found_by_the_time_of_their_end(store: Store, where: dict[str, Any], expected: list[int]) -> None:
    await store.enqueue([new_run(number, tags=("eu",) if number % 2 == 0 else ()) for number in range(1, 7)])
    await claims(store, limit=5)
    await write(store, move(Action.COMPLETE), now=NOW + 1)
    await write(store, move(Action.FAIL, run=run_id(2)), now=NOW + 2)
    for number, action in ((3, Action.CANCEL), (4, Action.PAUSE)):
        await store.act(run_id(number), action, NOW + 3)

    assert await found(store, RunFilter(**where)) == expected
    assert sum((await store.count(RunFilter(**where))).values()) == len(expected)


async def test_a_run_that_is_retried_has_not_ended(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.FAIL))
    await store.act(FIRST, Action.RETRY, NOW + 1)

    assert await found(store, RunFilter(finished_before=NOW + 100)) == []


async def test_pages_of_runs_that_ended_before_a_time_are_in_the_order_of_their_creation(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 6)])
    for seconds, number in enumerate((4, 2, 5, 1, 3)):
        await store.act(run_id(number), Action.CANCEL, NOW + seconds)
    where = RunFilter(finished_before=NOW + 4, statuses=frozenset({RunStatus.COMPLETED, RunStatus.CANCELED}))

    first = await store.find(where, newest=False, limit=2, cursor=None)
    second = await store.find(where, newest=False, limit=2, cursor=first.next_cursor)

    assert [[run.id for run in page] for page in (first, second)] == [[run_id(1), run_id(2)], [run_id(4), run_id(5)]]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ((), [1, 2, 3, 4, 5]),
        (("eu",), [1, 2]),
        (("big",), [2, 3]),
        (("eu", "big"), [2]),
        (("big", "eu", "big"), [2]),
        (("e",), []),
        (("EU",), []),
        (('a"b,c',), [4]),
        (("%",), []),
    ],
    ids=str,
)
async def test_runs_are_found_that_have_all_of_the_tags(store: Store, tags: tuple[str, ...], expected: list[int]) -> None:
    labels = {1: ("eu",), 2: ("big", "eu"), 3: ("big", "us"), 4: ('a"b,c', "ü"), 5: ()}
    await store.enqueue([new_run(number, tags=each) for number, each in labels.items()])

    assert await found(store, RunFilter(tags=tags)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("order-7", [1]),
        ("ORDER-7", [1]),
        (run_id(2)[-6:], [2]),
        ("Hip", [3]),
        ("Urgent", [4]),
        ("alice@example", [5]),
        ("carddecl", [6]),
        ("NO funds", [6]),
        ("100%", [7]),
        ("%", [7]),
        ("a_b", [8]),
        ("\\", []),
        ("'; DROP", []),
        ("deep inside", []),
    ],
)
async def test_runs_are_searched_by_part_of_what_operators_know_of_them(store: Store, text: str, expected: list[int]) -> None:
    await claimed_run(store, id=run_id(6), input='"' + "x" * 200 + ' deep inside"')
    await write(store, move(Action.FAIL, run=run_id(6)))
    await store.enqueue([
        new_run(1, key="Order-7"),
        new_run(2),
        new_run(3, workflow="ship"),
        new_run(4, tags=("urgent",)),
        new_run(5, input='{"mail": "Alice@Example.org"}'),
        new_run(7, key="100%"),
        new_run(8, key="a_b"),
        new_run(9, key="axb"),
    ])  # fmt: skip

    assert await found(store, RunFilter(search=text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("hunter2", []), ('"ada"', [2]), ('d": "h', []), ("token", []), ("mail", [1, 2, 3]), ("password of mine", [3])]
)
async def test_no_run_is_found_by_the_input_where_there_is_a_name_whose_value_is_not_to_be_seen(
    store: Store, text: str, expected: list[int]
) -> None:
    await store.enqueue([
        new_run(1, workflow="mail", input='{"user": "ada", "PassWord": "hunter2", "token": "x"}'),
        new_run(2, workflow="mail", input='{"user": "ada"}'),
        new_run(3, workflow="mail", key="password of mine", input='{"user": "bob"}'),
    ])  # fmt: skip

    assert await found(store, RunFilter(search=text, unseen=("password", "token"))) == expected


async def test_capitals_of_all_alphabets_hide_what_lies_under_a_name(store: Store) -> None:
    names = ("PASSWÖRTER", "ключ", "КЛЮЧ", "to\N{KELVIN SIGN}en", "other")
    await store.enqueue([new_run(number, input=f'{{"{name}": "hunter2"}}') for number, name in enumerate(names, 1)])

    assert await found(store, RunFilter(search="hunter2", unseen=("passwört", "ключ", "token"))) == [5]


@pytest.mark.parametrize(
    ("message", "is_found"),
    [
        ("hunter2 is no user", True),
        ("the token of hunter2 has expired", True),
        ("http://example.com/hunter2", True),
        ("password=hunter2", False),
        ("{'API_Token': 'hunter2'}", False),
        ("postgres://ada:hunter2@db is down", False),
        ("Authorization: Bearer hunter2", False),
        ("Authorization: basic hunter2", False),
        ("Authorization: Bearer\thunter2", False),
        ("asked with basic\n hunter2", False),
    ],
)
async def test_an_error_with_something_secret_in_it_is_not_searched_by_those_who_may_not_see_it(
    message: str, is_found: bool, store: Store
) -> None:
    await claimed_run(store)
    await write(store, move(Action.FAIL, error=error_text(ErrorInfo("ValueError", message))))

    assert await found(store, RunFilter(search="hunter2", unseen=("password", "token"))) == ([1] if is_found else [])
    assert await found(store, RunFilter(search="hunter2")) == [1]


async def test_the_traceback_of_an_error_is_not_searched(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.FAIL, error=error_text(ErrorInfo("ValueError", "no", traceback="File shop.py", kinds=("shop.Odd",)))))

    assert await found(store, RunFilter(search="valueerror")) == [1]
    assert await found(store, RunFilter(search="shop")) == []


async def test_all_of_a_filter_must_fit(store: Store) -> None:
    await some_runs(store)
    failed = frozenset({RunStatus.FAILED})

    assert await found(store, RunFilter(statuses=failed, workflow="pay", search="declined", created_before=NOW)) == [2]
    assert await found(store, RunFilter(statuses=failed, workflow="pay", search="other")) == []


# -- pages


async def pages(store: Store, cursor: str | None, *, newest: bool, limit: int, back: bool = False) -> list[list[int]]:
    seen = []
    while True:
        page = await store.find(ALL, newest=newest, limit=limit, cursor=cursor)
        seen.append([int(run.id[-12:], 16) for run in page])
        cursor = page.previous_cursor if back else page.next_cursor
        if cursor is None:
            return seen


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 4, 10, 12])
async def test_page_after_page_shows_every_run_once(store: Store, limit: int, newest: bool) -> None:
    await store.enqueue([new_run(number) for number in range(1, 11)])
    order = list(range(10, 0, -1)) if newest else list(range(1, 11))

    seen = await pages(store, None, newest=newest, limit=limit)

    assert seen == [order[start : start + limit] for start in range(0, 10, limit)]


@pytest.mark.parametrize("newest", [False, True])
async def test_the_way_back_shows_the_same_pages(store: Store, newest: bool) -> None:
    await store.enqueue([new_run(number) for number in range(1, 11)])
    there = await pages(store, None, newest=newest, limit=3)
    first = await store.find(ALL, newest=newest, limit=3, cursor=None)
    second = await store.find(ALL, newest=newest, limit=3, cursor=first.next_cursor)
    third = await store.find(ALL, newest=newest, limit=3, cursor=second.next_cursor)

    assert first.previous_cursor is None
    assert await pages(store, third.previous_cursor, newest=newest, limit=3, back=True) == [there[1], there[0]]


async def test_from_a_page_on_the_way_back_one_can_go_on(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 8)])
    first = await store.find(ALL, newest=False, limit=3, cursor=None)
    second = await store.find(ALL, newest=False, limit=3, cursor=first.next_cursor)

    back = await store.find(ALL, newest=False, limit=3, cursor=second.previous_cursor)

    assert [run.id for run in back] == [run.id for run in first]
    assert await store.find(ALL, newest=False, limit=3, cursor=back.next_cursor) == second


async def test_runs_that_come_or_go_meanwhile_do_not_shift_pages(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(10, 20)])
    first = await store.find(ALL, newest=True, limit=4, cursor=None)

    await store.enqueue([new_run(20)])
    await store.act(run_id(16), Action.CANCEL, NOW)
    await store.delete(run_id(16))  # the one at which the next page begins

    assert (await pages(store, first.next_cursor, newest=True, limit=4))[0] == [15, 14, 13, 12]


async def test_pages_are_of_those_that_match(store: Store) -> None:
    await store.enqueue([new_run(number, queue="slow" if number % 2 else "fast") for number in range(1, 9)])
    where = RunFilter(queue="slow")

    first = await store.find(where, newest=False, limit=2, cursor=None)
    second = await store.find(where, newest=False, limit=2, cursor=first.next_cursor)

    assert [[run.id for run in page] for page in (first, second)] == [[run_id(1), run_id(3)], [run_id(5), run_id(7)]]
    assert second.next_cursor is None


@pytest.mark.parametrize("cursor", ["", "7", "x:" + FIRST, "n", "n:", ":", "next"])
async def test_what_is_no_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await store.find(ALL, newest=True, limit=10, cursor=cursor)


async def test_an_empty_store_has_one_empty_page(store: Store) -> None:
    page = await store.find(ALL, newest=True, limit=10, cursor=None)

    assert (list(page), len(page), page.next_cursor, page.previous_cursor) == ([], 0, None, None)


async def test_a_run_that_is_found_is_as_it_is_when_it_is_got(store: Store) -> None:
    await some_runs(store)

    for run in await store.find(ALL, newest=True, limit=10, cursor=None):
        assert run == await store.get(run.id)


# -- counts


async def test_runs_are_counted_by_status(store: Store) -> None:
    await some_runs(store)

    assert dict(await store.count(ALL)) == {status: len(numbers) for status, numbers in BY_STATUS.items()}
    assert dict(await store.count(RunFilter(id_prefix=run_id(7)))) == {RunStatus.PENDING: 1}
    assert dict(await store.count(RunFilter(workflow="other"))) == {}


# -- who has ended


async def test_those_that_have_ended_are_told_with_their_end(store: Store) -> None:
    await some_runs(store)

    ended = dict(await store.ended([run_id(number) for number in range(1, 10)]))

    assert ended == {
        run_id(1): Ended("pay", RunStatus.COMPLETED, '"paid"', None),
        run_id(2): Ended("pay", RunStatus.FAILED, None, CARD_DECLINED),
        run_id(3): Ended("pay", RunStatus.CANCELED, None, None),
        run_id(9): None,
    }


async def test_of_nobody_nobody_has_ended(store: Store) -> None:
    assert dict(await store.ended([])) == {}


async def test_a_thousand_are_asked_for_at_once(store: Store) -> None:
    await store.enqueue([new_run(1)])
    await store.act(FIRST, Action.CANCEL, NOW)

    ended = await store.ended([run_id(number) for number in range(1, 1_501)])

    assert len(ended) == 1_500
    assert [run for run, end in ended.items() if end is not None] == [FIRST]
