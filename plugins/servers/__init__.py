"""Requests to servers over HTTP in any API: connections, choice of endpoint, retries, keys, limits."""
