"""The tables in PostgreSQL and their migrations."""
