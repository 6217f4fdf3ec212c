"""Keeps a server for as long as its own input is open, and no longer: `python keeper.py USER FOLDER COMMAND …`.

Whoever has started a server may be killed, and then nobody is left to stop it. So it is this process that starts it: its input ends
when the last of those is gone who hold the other end, and then the server is stopped at once and FOLDER, if it is not empty, removed.
A USER that is not empty runs it. Imports nothing of ours, so that it starts quickly.
"""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial

WITHIN = 10.0
"""Seconds that a server has to stop, before it is killed."""

PARENT_DEATH_SIGNAL = 1


def main(user: str, folder: str, *command: str) -> int:
    """Run the command until it ends, or the input does; its exit code."""
    prepare = partial(become, user)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=prepare)  # noqa: PLW1509  there is one thread yet
    abandoned = threading.Event()
    threading.Thread(target=watch, args=(server, abandoned), daemon=True).start()
    code = server.wait()
    if abandoned.is_set() and folder:
        shutil.rmtree(folder)
    return code


def watch(server: "subprocess.Popen[bytes]", abandoned: threading.Event) -> None:
    """Stop the server when the input has ended."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    abandoned.set()
    server.send_signal(signal.SIGQUIT)
    try:
        server.wait(WITHIN)
    except subprocess.TimeoutExpired:
        server.kill()


def become(user: str) -> None:
    """Be this user, and be told to stop when the keeper itself is killed, on systems that can tell."""
    if user:
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGQUIT)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
