"""Alembic migrations of a namespace's schema."""
