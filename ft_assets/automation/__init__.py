"""Partitions and schedules: what runs without a person."""
