"""Files of a corpus: ledger, journal, index of near duplicates, pairs, rows, statistics, dataset card."""
