"""The moving parts: one run on its loop, the steps, the committer, the worker. Knows the port of the store, never an adapter."""
