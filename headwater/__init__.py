"""The front door: command line, demo, embedded Postgres and broker. It may import every room; no room imports it."""
