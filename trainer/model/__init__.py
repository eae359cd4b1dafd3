"""The model under training: its shape, attention, adapters, embeddings, weight decay and NaN guard."""
