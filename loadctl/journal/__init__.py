"""The journal of a site: what happened, and its history, in one SQLite file.

`loadctl recorder` writes it, in a process of its own that nothing waits for.
"""
