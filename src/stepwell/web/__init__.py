"""The web interface: pages and an HTTP API for an app's runs, as an ASGI application that can be mounted anywhere.

Nothing here knows a store: pages do what `app.runs`, `app.schedules` and their like do, and show what these say.
"""

from stepwell.web.access import Role, User
from stepwell.web.application import create_app

__all__ = ["Role", "User", "create_app"]
