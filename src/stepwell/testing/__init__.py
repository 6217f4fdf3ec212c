"""Tools for tests of workflows: an app in memory whose clock moves by itself."""

from stepwell.testing.app import TestApp
from stepwell.testing.clock import LoopClock, MovedClock

__all__ = ["LoopClock", "MovedClock", "TestApp"]
