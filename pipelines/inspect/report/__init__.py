"""What a report says about a corpus: its counts, and a sample of its texts and rows."""
