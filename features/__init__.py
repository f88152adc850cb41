"""From the record to what models learn from: snapshots, interactions as arrays, and a user's live history."""
