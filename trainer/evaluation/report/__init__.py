"""What an evaluation says and keeps: tables, trends, comparisons, saved results."""
