"""Exit statuses of all commands."""

DONE = 0
FAILED = 1
WRONG_USE = 2
"""A bad option, YAML key or value, an unknown name, a missing file."""

INTERRUPTED = 130
"""Ctrl-C."""
