"""Registry of verifiers, which check pairs against their passages."""

from plugins.registry import Registry

VERIFIERS = Registry("verifier", "tutelage.verifiers", {})
