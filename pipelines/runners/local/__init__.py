"""Beam's runner for one machine, with the internals of Beam that are replaced (docs/internals.md)."""
