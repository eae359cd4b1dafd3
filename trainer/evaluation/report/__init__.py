"""Reports of an evaluation: tables, trends, comparisons, saved results."""
