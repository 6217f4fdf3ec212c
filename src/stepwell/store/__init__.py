"""The one door to a database: the port, and its adapters."""
