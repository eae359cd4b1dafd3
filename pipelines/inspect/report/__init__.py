"""Part of a report about a corpus: its counts, and a sample of its texts and rows."""
