"""Exit statuses of all commands, as `docs/` promises them to scripts."""

DONE = 0
"""The command did its work."""

FAILED = 1
"""The work failed or is incomplete: a source, a server, the machine, or `corpus verify` found damage."""

WRONG_USE = 2
"""A wrong argument or configuration; nothing was started."""

INTERRUPTED = 130
"""Ctrl-C."""
