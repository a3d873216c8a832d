"""The timing harness: the real scan loop, measured on the machine that it is to run on.

`loop.py` is the process that is measured; the rest runs beside it or afterwards.
"""
