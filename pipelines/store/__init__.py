"""A corpus on disk: where each file lies, and how it is written and read."""
