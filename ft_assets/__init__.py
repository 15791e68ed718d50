"""An asset platform for fine-tuning language models on Dagster."""
