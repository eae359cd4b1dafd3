"""Deduplication: exact copies and versions of one name, then near copies by MinHash."""
