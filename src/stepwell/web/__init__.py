"""The web interface: pages and an HTTP API for an app's runs, as an ASGI application that can be mounted anywhere."""
