"""Inspection of a corpus: its content, the origin of its rows, its damages, its pairs."""
