from typing import Any

import pytest

from stepwell.core.starting import checked_key, checked_queue, checked_start_priority, checked_tags
from stepwell.errors import DefinitionError


def test_what_is_not_said_is_the_workflows() -> None:
    assert checked_queue(None, "pay", "slow") == "slow"
    assert checked_start_priority(None, "pay", 7) == 7
    assert checked_key(None) is None


def test_what_is_said_goes_before_it() -> None:
    assert checked_queue("fast", "pay", "slow") == "fast"
    assert checked_start_priority(0, "pay", 7) == 0
    assert checked_key("order-8") == "order-8"
    assert checked_tags(["acme", "import"]) == ("acme", "import")


@pytest.mark.parametrize("queue", ["", 5, "nul\0"], ids=["empty", "number", "nul"])
def test_what_cannot_be_a_queue_is_refused(queue: Any) -> None:
    with pytest.raises(DefinitionError, match="queue"):
        checked_queue(queue, "pay", "slow")


@pytest.mark.parametrize("priority", ["high", 10**30, True, 1.5])
def test_what_cannot_be_a_priority_is_refused(priority: Any) -> None:
    with pytest.raises(DefinitionError, match="the priority of workflow 'pay' is a whole number"):
        checked_start_priority(priority, "pay", 0)


@pytest.mark.parametrize("key", ["", 5])
def test_what_cannot_be_a_key_is_refused(key: Any) -> None:
    with pytest.raises(DefinitionError, match="idempotency key"):
        checked_key(key)


@pytest.mark.parametrize("tags", ["acme", 5, [1], [""]], ids=["one text", "number", "numbers", "empty"])
def test_what_cannot_be_tags_is_refused(tags: Any) -> None:
    with pytest.raises(DefinitionError, match="tag"):
        checked_tags(tags)
