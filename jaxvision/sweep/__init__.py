"""Sweeps: many runs of main.py, and which fields of a config were best (docs/sweeps.md)."""
