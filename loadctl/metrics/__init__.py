"""A running site for Prometheus: its image as metric families, and the server that is scraped.

A process of its own; nothing here is imported by guard or scan.
"""
