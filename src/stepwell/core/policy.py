"""How a retry policy is told to those who have not its code: JSON that workers publish, and what is read of it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from stepwell.errors import qualified_name

if TYPE_CHECKING:
    from stepwell.core.retry import Retry


_WORDS: Final = frozenset(
    {"max_attempts", "initial_interval", "backoff_coefficient", "max_interval", "jitter", "non_retryable", "has_should_retry"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and after which delays, what failed is tried again; see `Retry`."""

    max_attempts: int | None
    """The first one included; None: unlimited."""
    initial_interval: timedelta
    backoff_coefficient: float
    max_interval: timedelta
    jitter: float
    non_retryable: tuple[str, ...] = ()
    """Names of exceptions."""
    has_should_retry: bool = False
    """Whether a function in the code is asked, too."""


def policy_text(retry: Retry) -> str:
    """The policy as JSON, durations in seconds."""
    return json.dumps(
        {
            "max_attempts": retry.max_attempts,
            "initial_interval": retry.initial_interval.total_seconds(),
            "backoff_coefficient": retry.backoff_coefficient,
            "max_interval": retry.max_interval.total_seconds(),
            "jitter": retry.jitter,
            "non_retryable": [kind if isinstance(kind, str) else qualified_name(kind) for kind in retry.non_retryable],
            "has_should_retry": retry.should_retry is not None,
        },
        ensure_ascii=False,
    )


@lru_cache
def policy_of(text: str) -> RetryPolicy | None:
    """What `policy_text` has written; None: nobody has said, or a worker of another version has, in words that are not known here."""
    said: dict[str, Any] = json.loads(text)
    if not said.keys() >= _WORDS:
        return None
    return RetryPolicy(
        max_attempts=said["max_attempts"],
        initial_interval=timedelta(seconds=said["initial_interval"]),
        backoff_coefficient=said["backoff_coefficient"],
        max_interval=timedelta(seconds=said["max_interval"]),
        jitter=said["jitter"],
        non_retryable=tuple(said["non_retryable"]),
        has_should_retry=said["has_should_retry"],
    )
