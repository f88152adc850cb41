"""What every room stands on: settings, events, schema, the store, artifacts, the registry, errors, telemetry."""
