"""Tokenizers: loading, files, fingerprint, and the token ids that open a text and fill a row.

Domain text may hold strings such as `<|endoftext|>`. A loaded tokenizer encodes them as plain text, so that
no document can end itself. Callers add `opening_ids` and EOS to a text by id.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plugins.hub import folder_of, hub_options, why
from schemas.errors import ConfigError

_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "chat_template.json"),
)
"""Files of any tokenizer, beside the vocabulary files of its class."""

_TEMPLATES = "additional_chat_templates"

_WITHOUT_TORCH = (
    "None of PyTorch, TensorFlow >= 2.0, or Flax have been found. Models won't be available and only "
    "tokenizers, configuration and file/data utilities can be used.",
    "PyTorch was not found. Models won't be available and only tokenizers, configuration and file/data "
    "utilities can be used.",
)
"""Warnings of transformers 4 and 5 as they are imported; nothing here loads a model without torch."""


def import_transformers() -> Any:
    """Import the part of transformers that tokenizers need, without its warning that torch is missing."""
    logger = logging.getLogger("transformers")
    logger.addFilter(_is_worth_reading)
    try:
        import transformers

        transformers.PreTrainedTokenizerFast  # noqa: B018 - transformers imports it at its first use
    finally:
        logger.removeFilter(_is_worth_reading)
    return transformers


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return record.getMessage() not in _WITHOUT_TORCH


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Any:
    """Load a fast tokenizer of a directory or hub name; it encodes special-token strings as plain text.

    To encode the special tokens of a rendered chat template, call it with `split_special_tokens=False`.

    Raises:
        ConfigError: It cannot be loaded, or is no fast tokenizer.
    """
    try:
        options = hub_options(name)
        tokenizer = _class_of(name, options).from_pretrained(
            name, trust_remote_code=trust_remote_code, **options
        )
    except Exception as error:  # the loaders of transformers raise many kinds
        raise ConfigError(
            f"tokenizer {name!r} cannot be loaded: {why(error, name)} Give a directory that holds "
            "tokenizer.json, or a hub name (`tutelage models fetch smollm2-135m` makes a small model)."
        ) from error
    if not tokenizer.is_fast:
        raise ConfigError(f"tokenizer {name!r} has no fast (Rust) version; tokenizer.json is needed.")
    # A call of the tokenizer sets the backend's flag from its own; callers may use the backend alone.
    tokenizer.split_special_tokens = True
    tokenizer.backend_tokenizer.encode_special_tokens = True
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _class_of(name: str, options: Mapping[str, Any]) -> Any:
    """Return the class that AutoTokenizer would choose: the fast version of the class that the files name.

    AutoTokenizer itself decides only if transformers lacks that class. Its import loads scipy, scikit-learn
    and torch's compiler: 13 s instead of 4, in every worker process.
    """
    transformers = import_transformers()
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
        config = json.loads(Path(file).read_bytes())
        named = config.get("tokenizer_class")
        if named and "auto_map" not in config:
            found = getattr(transformers, f"{named.removesuffix('Fast')}Fast", None)
            if isinstance(found, type) and issubclass(found, transformers.PreTrainedTokenizerFast):
                return found
    return transformers.AutoTokenizer


def as_it_came(tokenizer: Any) -> Any:
    """Return a copy that encodes special-token strings as its own files say, for `save_pretrained`."""
    other = copy.deepcopy(tokenizer)
    other.split_special_tokens = bool(tokenizer.init_kwargs.get("split_special_tokens", False))
    other.backend_tokenizer.encode_special_tokens = other.split_special_tokens
    return other


def tokenizer_files(name: str, tokenizer: Any, *more: str) -> dict[str, bytes]:
    """Read the files of a loaded tokenizer, and `more` of the same directory; none if it has no folder."""
    folder = folder_of(name)
    if folder is None:
        return {}
    templates = os.path.join(folder, _TEMPLATES)
    names = {*_FILES, *tokenizer.vocab_files_names.values(), *more}
    names |= {f"{_TEMPLATES}/{each}" for each in (os.listdir(templates) if os.path.isdir(templates) else ())}
    paths = {each: Path(folder, each) for each in sorted(names)}
    return {each: path.read_bytes() for each, path in paths.items() if path.is_file()}


def write_files(folder: str, files: Mapping[str, bytes]) -> None:
    """Write files into a local folder, by names that may hold a subfolder."""
    for name, data in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def opening_ids(tokenizer: Any, add_bos: bool | None = None) -> list[int]:
    """Return the token ids that open a text: BOS for most tokenizers, `[gMASK]<sop>` for GLM-4.

    `add_bos` None gives the ids that the tokenizer itself puts before a text, False none. True gives the
    tokenizer's, or BOS if there are none and it has a BOS.
    """
    if add_bos is False:
        return []
    own = _own_opening(tokenizer)
    has_bos = bool(add_bos) and tokenizer.bos_token_id is not None
    return [*own] or ([tokenizer.bos_token_id] if has_bos else [])


@functools.lru_cache(maxsize=8)
def _own_opening(tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that the tokenizer puts before a text, without those behind it (BERT, T5)."""
    for text in itertools.chain(["a"], tokenizer.get_vocab()):  # a vocabulary of words may lack "a"
        encoded = tokenizer(text)
        sequence_ids = encoded.sequence_ids()  # None for added tokens
        if 0 in sequence_ids:
            return tuple(encoded.input_ids[: sequence_ids.index(0)])
    return ()


def pad_token_id(tokenizer: Any) -> int:
    """Return the id that fills rows: the pad token, else EOS, else 0. It never carries loss."""
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(int(token_id) for token_id in candidates if token_id is not None)


def fingerprint(tokenizer: Any) -> str:
    """Hash vocabulary, merges, normaliser and special ids, which decide token ids (blake2b-128, hex)."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state.pop("truncation", None)
    state.pop("padding", None)
    state["ids"] = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    return hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=16).hexdigest()
