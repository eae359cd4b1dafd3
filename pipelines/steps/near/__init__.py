"""Near copies: what they are found by, how they hang together, and which of them were dropped."""
