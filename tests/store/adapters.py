"""The adapters that the suite is run over."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from stepwell.store.memory import MemoryStore
from stepwell.store.port import Store


@asynccontextmanager
async def memory() -> AsyncIterator[Store]:
    """Dictionaries."""
    yield MemoryStore()


ADAPTERS: dict[str, Callable[[], AbstractAsyncContextManager[Store]]] = {"memory": memory}
"""By name: what opens an empty store on the running loop, and takes it away again."""
