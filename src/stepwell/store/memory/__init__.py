"""The port on dictionaries: for tests and for a first try. Nothing survives the process.

It can lose the process at any commit (`Faults`), which is what the proof of replay is made with, and is the first fixture of the suite
that every adapter has to pass.
"""

from stepwell.store.memory.adapter import Faults, MemoryStore

__all__ = ["Faults", "MemoryStore"]
