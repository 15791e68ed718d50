"""Scoring models on the held-out split and on lm-eval's tasks, and summing up the scores."""
