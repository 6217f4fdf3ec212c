"""Machines of their own for programs under test: network namespaces, each with a cable to this one that can be cut.

They need root, and leave nothing behind: a namespace, its end of the cable and the other one vanish with the process that holds it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.postgres.keeping import WITHIN, keep, soon
from tests.postgres.places import new_folder

PROGRAMS: Final = ("ip", "nft", "nsenter", "unshare")

# Each cable is a network of four addresses: the first is this machine's end, the second the other's.
NETWORKS: Final = [f"10.213.{number // 64}.{number % 64 * 4}" for number in range(256)]

CUT: Final = """
table inet cut {
    chain in { type filter hook input priority 0; iifname eth0 drop; }
    chain out { type filter hook output priority 0; oifname eth0 drop; }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A network of its own; all else is this machine's."""

    here: str
    """The address of this machine, as seen from there."""
    there: str
    """Its address, as seen from here."""
    through: tuple[str, ...]
    """What runs a command there, put before it."""

    def cut(self) -> None:
        """From now on nothing goes through the cable, either way: nobody is told, packets are lost."""
        run(*self.through, "nft", "-f", "-", told=CUT)

    def mend(self) -> None:
        """Let packets through again."""
        run(*self.through, "nft", "delete table inet cut")

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Cut meanwhile."""
        self.cut()
        try:
            yield
        finally:
            self.mend()


@contextmanager
def new_machine() -> Iterator[Machine]:
    """A machine beside this one, with a cable between them. It is gone afterwards, as soon as no program runs there.

    Raises:
        LookupError: this machine has no programs for it, or lets nobody make networks; it says which.
    """
    if lacks := absent():
        raise LookupError(lacks)
    with new_folder() as folder:
        holder = keep(["sleep", "infinity"], folder, through=["unshare", "--net", "--"])
        try:
            assert soon(lambda: network_of(holder.pid) != network_of(os.getpid()))
            yield connected(holder.pid)
        finally:
            assert holder.stdin is not None
            holder.stdin.close()
            holder.wait(WITHIN)


def absent() -> str | None:
    """What this machine lacks for others beside it; None if there is all."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=search_path()) is None]
    if missing:
        return f"no {', '.join(missing)} on this machine: scripts/test_services.sh installs them where it can"
    tried = subprocess.run(["unshare", "--net", "--", "true"], capture_output=True, text=True, check=False)
    if os.geteuid() != 0 or tried.returncode:
        return f"networks of their own need root, with all its rights: {tried.stderr.strip() or 'this is another user'}"
    return None


def connected(pid: int) -> Machine:
    """Lay a cable to the network of this process."""
    through = ("nsenter", "--net", f"--target={pid}", "--")
    for number, network in enumerate(NETWORKS):
        begin, last = network.rsplit(".", 1)
        here, there = f"{begin}.{int(last) + 1}", f"{begin}.{int(last) + 2}"
        # The name says whether the network is free: this fails if there is one.
        laid = run("ip", "link", "add", f"stepwell{number}", "type", "veth", "peer", "name", "eth0", "netns", str(pid), check=False)
        if laid.returncode:
            continue
        for before, address, device in (((), here, f"stepwell{number}"), (through, there, "eth0")):
            run(*before, "ip", "addr", "add", f"{address}/30", "dev", device)
            run(*before, "ip", "link", "set", device, "up")
        run(*through, "ip", "link", "set", "lo", "up")
        return Machine(here=here, there=there, through=through)
    raise LookupError(f"no network is free, or none can be made: {laid.stderr}")


def network_of(pid: int) -> str:
    """The name of the network of a process."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def run(*command: str, told: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program of administrators, and tell it this."""
    ended = subprocess.run(
        command, input=told, env=os.environ | {"PATH": search_path()}, capture_output=True, text=True, timeout=WITHIN, check=False
    )
    if check and ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {ended.stderr}")
    return ended


def search_path() -> str:
    """Where programs for administrators are, whether or not the user has them on the path."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
