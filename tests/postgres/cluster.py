"""A primary and a standby that confirms each of its commits: what is lost with the one is not lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.postgres.keeping import soon
from tests.postgres.places import new_folder
from tests.postgres.server import Server, new_server, url_of

STANDBY = "standby"


class Cluster:
    """Two servers; `url()` finds whichever of them takes writes."""

    def __init__(self, primary: Server, standby: Server) -> None:
        self.primary = primary
        self.standby = standby

    def url(self, database: str = "postgres") -> str:
        """Where a client finds the primary, whichever it is."""
        return url_of(self.primary, self.standby, database=database, target_session_attrs="read-write")

    def fail_over(self) -> None:
        """Kill the primary, and promote the standby, which waits for no other from then on. The old one stays down."""
        self.primary.kill()
        self.standby.promote()

    def lag_behind(self) -> None:
        """From now on commits are confirmed without the standby: what a failover loses then is not known to anyone."""
        self.primary.configure(synchronous_standby_names="")
        self.primary.reload()
        assert soon(lambda: self._synchronous() == "async")

    def follow(self) -> None:
        """From now on the primary confirms only what the standby has written."""
        self.primary.configure(synchronous_standby_names=STANDBY)
        self.primary.reload()
        assert soon(lambda: self._synchronous() == "sync")

    def _synchronous(self) -> str:
        rows = self.primary.execute("SELECT sync_state FROM pg_stat_replication WHERE application_name = %s", STANDBY)
        return str(rows[0][0]) if rows else ""


@contextmanager
def new_cluster(*, settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A primary and its synchronous standby, running, with nothing in them; thrown away afterwards.

    Raises:
        LookupError: there is no PostgreSQL on this machine; it says how to get one.
    """
    with new_server(settings=settings) as primary, new_folder() as folder, primary.base_backup(folder, name=STANDBY) as standby:
        cluster = Cluster(primary, standby)
        cluster.follow()
        yield cluster
