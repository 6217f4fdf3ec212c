"""Tools for tests of workflows: an app in memory whose clock moves by itself, mocks of steps, crashes everywhere, replay of histories."""

from stepwell.testing.app import TestApp
from stepwell.testing.clock import EPOCH, LoopClock, MovedClock
from stepwell.testing.crashes import CrashReport, crash_everywhere
from stepwell.testing.histories import export_history
from stepwell.testing.replaying import Replayed, replay

__all__ = [
    "EPOCH",
    "CrashReport",
    "LoopClock",
    "MovedClock",
    "Replayed",
    "TestApp",
    "crash_everywhere",
    "export_history",
    "replay",
]
