"""Training, from the plan to the verified model. No Dagster."""
