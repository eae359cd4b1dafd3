"""One increment made, published, taken back or merged: everything that writes a corpus."""
