"""Checkpoints: where they lie, which are whole, how a run goes on."""
