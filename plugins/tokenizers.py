"""The tokenizer as both sides see it: the pipeline that makes rows and the trainer that reads them.

Domain text may hold strings such as `<|endoftext|>`. They are tokenised as plain text here: a
document must not be able to end itself. What opens a text (`opening_ids`) and EOS are put around it by id.
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
from typing import Any

from plugins.hub import hub_options, why
from schemas.errors import ConfigError

_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "chat_template.json"),
)
"""What any tokenizer may have beside its own vocabulary files."""

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
            f"tokenizer {name!r} cannot be loaded: {why(error, name)} Give a directory that holds "
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
        with open(file, encoding="utf-8") as opened:
            said = json.load(opened)
        named = said.get("tokenizer_class")
        if named and "auto_map" not in said:
            found = getattr(transformers, f"{named.removesuffix('Fast')}Fast", None)
            if isinstance(found, type) and issubclass(found, transformers.PreTrainedTokenizerFast):
                return found
    return transformers.AutoTokenizer


def as_it_came(tokenizer: Any) -> Any:
    """A copy that reads special-token strings as its own files say, for `save_pretrained` to write."""
    other = copy.deepcopy(tokenizer)
    other.split_special_tokens = bool(tokenizer.init_kwargs.get("split_special_tokens", False))
    other.backend_tokenizer.encode_special_tokens = other.split_special_tokens
    return other


def tokenizer_files(name: str, tokenizer: Any, *more: str) -> dict[str, bytes]:
    """The files of a tokenizer as they are, by name; none where there is no such directory.

    Args:
        name: Directory or hub name that the tokenizer was loaded from.
        tokenizer: What transformers makes of it.
        *more: Other files to read beside them.
    """
    folder = folder_of(name)
    if folder is None:
        return {}
    templates = os.path.join(folder, _TEMPLATES)
    names = {*_FILES, *tokenizer.vocab_files_names.values(), *more}
    names |= {f"{_TEMPLATES}/{each}" for each in (os.listdir(templates) if os.path.isdir(templates) else ())}
    files = {}
    for each in sorted(names):
        path = os.path.join(folder, each)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                files[each] = file.read()
    return files


def folder_of(name: str) -> str | None:
    """The directory of a model or tokenizer that was loaded: its own, or one of the hub's cache."""
    if os.path.isdir(name):
        return name
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(name, file) for file in (*_FILES, "config.json")]
    except HFValidationError:
        return None
    return next((os.path.dirname(path) for path in found if isinstance(path, str)), None)


def opening_ids(tokenizer: Any, add_bos: bool | None = None) -> list[int]:
    """Token ids that open a text: BOS for most tokenizers, `[gMASK]<sop>` for GLM-4.

    Args:
        tokenizer: Of transformers; fast.
        add_bos: None opens a text as the tokenizer itself does, and false with nothing. True opens it as the
            tokenizer does, or with BOS where the tokenizer opens it with nothing; there are no ids where it
            has no BOS either.
    """
    if add_bos is False:
        return []
    own = _own_opening(tokenizer)
    has_bos = bool(add_bos) and tokenizer.bos_token_id is not None
    return [*own] or ([tokenizer.bos_token_id] if has_bos else [])


@functools.lru_cache(maxsize=8)
def _own_opening(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts before a text. What it puts behind one, as BERT's or T5's does, is left out."""
    for text in itertools.chain(["a"], tokenizer.get_vocab()):  # a vocabulary of words may lack the first
        encoded = tokenizer(text)
        belongs = encoded.sequence_ids()  # None for what is not of the text
        if any(each is not None for each in belongs):
            return tuple(encoded.input_ids[: next(at for at, each in enumerate(belongs) if each is not None)])
    return ()


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
