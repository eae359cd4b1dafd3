"""Rows of a corpus as batches: streams, shards, cache, shared memory."""
