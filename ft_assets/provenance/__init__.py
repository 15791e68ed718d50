"""Where things come from: digests and records. No Dagster."""
