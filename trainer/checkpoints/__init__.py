"""Checkpoints: their files, the one that a run resumes from, settings beside them, uploads."""
