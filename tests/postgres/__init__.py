"""Real PostgreSQL servers for tests: found, started, broken and taken away again."""
