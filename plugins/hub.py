"""Access to the Hugging Face hub: the cache if the hub is unreachable, and readable errors of its loaders.

huggingface_hub tries an unreachable hub six times for each file, half a minute a file, before it reads its
cache. This module asks the hub once and waits for at most `PATIENCE_SEC`.
"""

from __future__ import annotations

import os
import queue
import re
import threading
from typing import Any

PATIENCE_SEC = 5.0

_MAX_CHARACTERS = 300
"""Characters of a loader's error that are shown; transformers lists all of its models in one line."""

_FILES = ("config.json", "adapter_config.json", "tokenizer_config.json", "tokenizer.json")
"""Files of which each model, adapter and tokenizer has one."""


def folder_of(name: str) -> str | None:
    """Return the directory of a model, adapter or tokenizer, maybe in the hub's cache; None without one."""
    if os.path.isdir(name):
        return name
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(name, file) for file in _FILES]
    except HFValidationError:
        return None
    return next((os.path.dirname(path) for path in found if isinstance(path, str)), None)


def hub_options(name: str) -> dict[str, Any]:
    """Return options of transformers' `from_pretrained` for a directory or hub name.

    They are `local_files_only` if the hub is unreachable and its cache holds the name, else none.

    Raises:
        ConnectionError: The hub is unreachable, and its cache does not hold the name.
    """
    if os.path.exists(name):
        return {}
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:  # a missing path, which the loader reports
        return {}
    refusal = _ask(constants.ENDPOINT)
    if refusal and folder_of(name) is None:
        raise ConnectionError(
            f"there is no such path in {os.getcwd()}, and {constants.ENDPOINT} cannot be reached ({refusal})."
        )
    return {"local_files_only": True} if refusal else {}


_LACKS_ATTENTION = re.compile(r"(\w+) does not support (an attention implementation|Flash Attention)")
"""An error of transformers, also for models without attention, such as Mamba."""


def why(error: BaseException, name: str) -> str:
    """Return a loader's error on a repository in one line, with the cure if the hub refuses access."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    login = "log in with `hf auth login`, or set HF_TOKEN."
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GatedRepoError):
            return f"the repository is gated: request access at {constants.ENDPOINT}/{name}, then {login}"
        if isinstance(cause, RepositoryNotFoundError):
            return f"{constants.ENDPOINT} has no repository {name!r}. If it is private, {login}"
        cause = cause.__cause__ or cause.__context__
    if lacks := _LACKS_ATTENTION.match(str(error)):
        return f"{lacks[1]} lacks this attention. Set attn_implementation: eager, which every family has."
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else "no message"
    shown = first if len(first) <= _MAX_CHARACTERS else f"{first[:_MAX_CHARACTERS]} …"
    return f"{type(error).__name__}: {shown}"


def _ask(endpoint: str) -> str:
    """Return why the hub does not answer; "" if it does, with any status.

    Uses a thread, because the timeout of a request applies to each address of a name anew.
    """
    from huggingface_hub import utils

    refusals: queue.Queue[str] = queue.Queue()

    def ask() -> None:
        try:
            utils.get_session().head(endpoint, timeout=PATIENCE_SEC)  # type: ignore[attr-defined]
            refusals.put("")
        except Exception as error:  # of requests or httpx, as huggingface_hub has it
            refusals.put(type(error).__name__)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return refusals.get(timeout=PATIENCE_SEC)
    except queue.Empty:
        return f"no answer within {PATIENCE_SEC:g} s"
