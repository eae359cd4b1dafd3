"""Rows to answers: prompts, batches, options, generation, figures."""
