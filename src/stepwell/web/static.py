"""Files that never change under their address: each has the hash of its content in it."""

from __future__ import annotations

import gzip
import mimetypes
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from starlette.requests import Request

_SHOWN: Final = frozenset({".css", ".js", ".svg", ".png", ".ico"})
_YEAR: Final = "public, max-age=31536000, immutable"


class File(NamedTuple):
    """A file that is served."""

    hash: str
    content: bytes
    packed: bytes
    """By gzip."""
    media_type: str


class StaticFiles:
    """The files of this package's folder `static`, read once."""

    def __init__(self) -> None:
        self.files = dict(_files(files("stepwell.web") / "static", ""))

    def path(self, name: str) -> str:
        """Where a file is found: `stepwell.css` is at `static/1f0c…/stepwell.css`. Raises KeyError: there is none."""
        return f"/static/{self.files[name].hash}/{name}"

    async def serve(self, request: Request) -> Response:
        """Answer with a file."""
        known = self.files.get(request.path_params["name"])
        if known is None or known.hash != request.path_params["hash"]:
            raise HTTPException(404)
        headers = {"cache-control": _YEAR, "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(known.packed, headers={**headers, "content-encoding": "gzip"}, media_type=known.media_type)
        return Response(known.content, headers=headers, media_type=known.media_type)


def _files(folder: Traversable, place: str) -> list[tuple[str, File]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = f"{place}{entry.name}"
        if entry.is_dir():
            found += _files(entry, f"{name}/")
        elif any(name.endswith(suffix) for suffix in _SHOWN):
            content = entry.read_bytes()
            media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
            found.append((name, File(sha256(content).hexdigest()[:12], content, gzip.compress(content, mtime=0), media_type)))
    return found
