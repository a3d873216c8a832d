"""Simulated devices on pseudo-terminals, the plant behind them, and the judge."""
