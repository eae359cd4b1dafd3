"""Talking to SGLang servers over HTTP; they run in an environment of their own, so nothing imports `sglang`."""
