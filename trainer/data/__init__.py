"""Training data: streams, rows an epoch, shards, cache, shared memory, batches."""
