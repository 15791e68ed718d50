"""The assets, one file each; the flow of each readable at a glance."""
