"""Workers on other machines: what they can reach, and what they are given."""
