"""Where models and tokenizers come from: a directory, the Hugging Face hub, or the cache of what it gave.

huggingface_hub tries a hub that cannot be reached six times for each file, half a minute a file, before it
looks into its cache. Here the hub is asked once, for at most `PATIENCE_SEC`.
"""

from __future__ import annotations

import os
import queue
import re
import threading
from typing import Any

PATIENCE_SEC = 5.0

_FILES = ("config.json", "adapter_config.json", "tokenizer_config.json", "tokenizer.json")


def hub_options(name: str) -> dict[str, Any]:
    """Options of transformers' `from_pretrained` for a directory or hub name.

    Returns:
        `local_files_only` where the hub cannot be reached and its cache knows the name; else nothing.

    Raises:
        ConnectionError: The hub cannot be reached, and nothing of that name was loaded from it before.
    """
    if os.path.exists(name):
        return {}
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        is_known = any(isinstance(try_to_load_from_cache(name, file), str) for file in _FILES)
    except HFValidationError:  # a path that is not there; the loader says so at once
        return {}
    refusal = _ask(constants.ENDPOINT)
    if not refusal:
        return {}
    if is_known:
        return {"local_files_only": True}
    raise ConnectionError(
        f"there is no such path in {os.getcwd()}, and {constants.ENDPOINT} cannot be reached ({refusal})."
    )


_LACKS_ATTENTION = re.compile(r"(\w+) does not support (an attention implementation|Flash Attention)")
"""How transformers says so; models without attention, such as Mamba, do too."""


def why(error: BaseException, name: str) -> str:
    """What a loader's error says, in one line; where the hub lets nobody in, what to do about it.

    Args:
        error: What transformers, datasets or huggingface_hub raised.
        name: The repository that was asked for.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    login = "log in with `hf auth login`, or set HF_TOKEN."
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GatedRepoError):
            return (
                f"the repository is gated: ask for access at {constants.ENDPOINT}/{name}, and once it is "
                f"granted, {login}"
            )
        if isinstance(cause, RepositoryNotFoundError):
            return f"{constants.ENDPOINT} has no repository {name!r}, or a private one: for that {login}"
        cause = cause.__cause__ or cause.__context__
    if lacks := _LACKS_ATTENTION.match(str(error)):
        return f"{lacks[1]} has no such attention. Set attn_implementation: eager, which every family has."
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _ask(endpoint: str) -> str:
    """Why the hub does not answer; "" where it does, whatever it answers.

    In a thread of its own, because a timeout counts anew for each address that a name has.
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
