"""A process that forks with an app open: the child is told what to do instead, and the parent goes on as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.processes import Program


@pytest.mark.parametrize("kind", ["open", "again", "sync", "reopen", "blocks"])
def test_an_app_that_was_open_before_the_fork_is_refused_in_the_child(folder: Path, kind: str) -> None:
    with Program("forker", folder, kind) as program:
        assert program.ends() == 0, program.errors

    before, child, ended, after = program.said
    assert child.startswith("child RuntimeError this process was forked from one that had the app open; make and open an app of its own")
    assert (before, ended, after) == ("before 2", "child ended 0", "after 4")


@pytest.mark.parametrize(("kind", "said"), [("anew", "child 6"), ("leave", "child has left"), ("closes", "child has left")])
def test_an_app_of_the_childs_own_works_and_its_end_disturbs_nobody(folder: Path, kind: str, said: str) -> None:
    with Program("forker", folder, kind) as program:
        assert program.ends() == 0, program.errors

    assert program.said == ["before 2", said, "child ended 0", "after 4"]
