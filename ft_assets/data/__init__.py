"""Data files, rows, chats and the split. Nothing in here knows Dagster or a model."""
