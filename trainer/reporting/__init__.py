"""Reports of a run while it trains: lines on the terminal, metrics in a file."""
