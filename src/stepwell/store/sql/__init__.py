"""The verbs of the port over named statements, whatever the database: what SQLite and PostgreSQL share."""
