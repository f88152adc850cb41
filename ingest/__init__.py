"""Kafka in, Postgres out. Read consumer.py first."""
