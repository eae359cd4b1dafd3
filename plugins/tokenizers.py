"""The tokenizer as both sides see it: the pipeline that makes rows and the trainer that reads them.

Domain text may hold strings such as `<|endoftext|>`. They are tokenised as plain text here: a
document must not be able to end itself. BOS and EOS are put around a text by token id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from plugins.hub import hub_options
from schemas.errors import ConfigError


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Any:
    """Load a Hugging Face fast tokenizer that treats special-token strings in text as plain text.

    A rendered chat template writes its special tokens as strings: tokenize one with
    `split_special_tokens=False`.

    Args:
        name: Directory or hub name.
        trust_remote_code: Whether code that comes with the tokenizer may run.

    Raises:
        ConfigError: It cannot be loaded, or is no fast tokenizer.
    """
    try:
        options = hub_options(name)
        tokenizer = _class_of(name, options).from_pretrained(
            name, trust_remote_code=trust_remote_code, **options
        )
    except Exception as error:  # transformers raises whatever its many loaders raise
        raise ConfigError(
            f"tokenizer {name!r} cannot be loaded: {_first_line(error)} Give a directory that holds "
            "tokenizer.json, or a hub name (`tutelage models fetch smollm2-135m` makes a small model)."
        ) from error
    if not tokenizer.is_fast:
        raise ConfigError(f"tokenizer {name!r} has no fast (Rust) version; tokenizer.json is needed.")
    # A call of the tokenizer sets the backend's flag from this one; the backend may also be used alone.
    tokenizer.split_special_tokens = True
    tokenizer.backend_tokenizer.encode_special_tokens = True
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _class_of(name: str, options: Mapping[str, Any]) -> Any:
    """The class that AutoTokenizer would choose: the fast one of that which the tokenizer names.

    AutoTokenizer itself is asked only where it names none that transformers has. Importing it brings scipy,
    scikit-learn and torch's compiler: 13 s where this takes 4, in every worker process.
    """
    import transformers
    from transformers.utils import cached_file

    file = cached_file(
        name,
        "tokenizer_config.json",
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **options,
    )
    if file is not None:
        with open(file, encoding="utf-8") as opened:
            said = json.load(opened)
        named = said.get("tokenizer_class")
        if named and "auto_map" not in said:
            found = getattr(transformers, f"{named.removesuffix('Fast')}Fast", None)
            if found is not None:
                return found
    return transformers.AutoTokenizer


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer's own convention puts BOS before a text."""
    if tokenizer.bos_token_id is None:
        return False
    ids = tokenizer("a").input_ids
    return bool(ids) and ids[0] == tokenizer.bos_token_id


def pad_token_id(tokenizer: Any) -> int:
    """What fills rows: the pad token, else EOS, else 0. It never carries loss."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    return 0


def fingerprint(tokenizer: Any) -> str:
    """Hash of what decides token ids: vocabulary, merges, normaliser, special ids (blake2b-128, hex)."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state.pop("truncation", None)
    state.pop("padding", None)
    state["ids"] = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    return hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=16).hexdigest()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
