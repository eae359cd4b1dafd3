"""Labelled pairs about 65 passages, and what the verifiers make of them."""
