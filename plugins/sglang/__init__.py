"""Talking to SGLang servers over HTTP. They run in an environment of their own: nothing imports `sglang`."""
