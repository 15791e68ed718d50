"""Where the heavy work of a step runs."""
