"""The model under training, and what is done to its weights and gradients."""
