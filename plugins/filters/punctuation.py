"""What the last character of a line of prose looks like."""

SENTENCE_MARKS = (".", "!", "?", "…", "。", "．", "！", "？", "؟", "۔", "।", "॥", "։", "።", "។", "။", "།")
"""Marks that end a sentence: Latin, Cyrillic, Greek, Chinese, Arabic, Urdu, Hindi, Armenian, Ethiopic, …"""

QUOTATION_MARKS = ('"', "”", "»", "」", "』")
"""Marks that end a quotation."""

TERMINAL_MARKS = (*SENTENCE_MARKS, *QUOTATION_MARKS)
