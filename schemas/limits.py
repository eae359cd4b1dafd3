"""Limits on what comes from outside: name, value, what it bounds, and what happens beyond it."""

ANSWER_BYTES = 16 * 2**20
"""Body of a server's answer. The rest is not read; the request counts as failed and is tried again."""

ERROR_BYTES = 64 * 2**10
"""Body of a server's error. The rest is not read."""

ANSWER_DEPTH = 64
"""Lists and objects inside one another in the JSON of a server's answer. A deeper one is a failed request."""

ANSWER_TOKENS = 2**31 - 1
"""A number of tokens that a server reports. A higher or negative one is a failed request."""

NUMBER_DIGITS = 100
"""Characters of a number in the JSON that a model writes. A longer one counts as missing from its pair."""

JSON_SEARCH_PASSES = 8
"""Search for JSON in a model's text, in multiples of its length. The rest of the text is one bad piece."""
