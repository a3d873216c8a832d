"""The guard: starts the scan, watches it, and takes the buses over when it is late."""
