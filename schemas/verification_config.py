"""Section `verify` of a corpus YAML: rules that check pairs against their passages."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic


def _masked(rules: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    """Hide the environment of servers, as `synthesis.server` does: its values are not stored."""

    def masked(options: dict[str, Any]) -> dict[str, Any]:
        server = options.get("server")
        if not isinstance(server, dict) or not isinstance(server.get("env"), dict):
            return options
        return {**options, "server": {**server, "env": dict.fromkeys(server["env"], "**********")}}

    return {name: masked(options) if options else options for name, options in rules.items()}


VerificationRules = Annotated[dict[str, dict[str, Any] | None], pydantic.PlainSerializer(_masked)]
"""Options of rules by name; None for their defaults."""
