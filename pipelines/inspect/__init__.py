"""What a corpus holds, where it came from, and whether it is sound."""
