"""The flight recorder: what the core was told and answered, scan by scan, and its replay."""
