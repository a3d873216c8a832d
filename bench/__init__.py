"""Benchmarks: what loadctl costs, beside peers in the same run; `scripts/bench --help`."""
