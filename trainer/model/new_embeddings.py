"""Initial rows of embedding and output layer for new tokens: `model.new_embeddings`.

A new token is one that the model's own tokenizer lacks. Its row is:

    mean      the mean of the rows of the model's own tokens
    pieces    the mean of the rows of the tokens into which the model's own tokenizer splits the new one
    a path    safetensors: `input.TOKEN` and, if the output layer is not tied, `output.TOKEN`, each a vector
              of hidden_size numbers

A model may have more rows than its tokenizer has ids. These spare rows were never trained: a new token that
takes one gets an initial row, too, and no mean includes them. If a file gives the rows, the output layer's
bias is the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from schemas.train_config import ModelConfig

_KEY = "model.new_embeddings"
_SHOWN = 5


def fit_vocabulary(model: Any, config: ModelConfig, tokenizer: Any, *, reads_rows: bool = False) -> str:
    """Give a model a row for each token id; on the meta device rows have no values.

    With `reads_rows` a file of rows is read and checked even there, as a dry run does.

    Returns:
        A sentence about the change, or "".

    Raises:
        ConfigError: The tokenizer does not extend the model's own, the rows cannot be read, or the model
            lacks rows and `new_embeddings` is not set.
    """
    num_rows = int(model.config.get_text_config().vocab_size)
    num_ids = max(tokenizer.get_vocab().values()) + 1
    own = _own_tokenizer(config, tokenizer)
    new = {} if own is None else _new_tokens(config, own, tokenizer, num_rows)
    if config.new_embeddings is None:
        if num_ids > num_rows or new:
            rows = f"the embedding of {config.pretrained_model_name_or_path!r} has {num_rows} rows"
            if num_ids <= num_rows:
                rows += f", and no trained one for {_listed(new)}"
            raise ConfigError(
                f"tokenizer {tokenizer.name_or_path!r} has {num_ids} ids, but {rows}. Use the model's own "
                f"tokenizer, or set {_KEY} (mean, pieces or a file) for the rows of new tokens."
            )
        return ""
    if not new or own is None:
        raise ConfigError(
            f"{_KEY} is {config.new_embeddings!r}, but the model has a row for each token of tokenizer "
            f"{tokenizer.name_or_path!r}. Set tokenizer.name to a tokenizer from `tutelage tokenizer "
            "extend`, or leave the key out."
        )
    if num_ids > num_rows:
        model.resize_token_embeddings(num_ids, mean_resizing=False)
    is_meta = model.get_input_embeddings().weight.is_meta  # of another rank, or an estimate
    if is_meta and not reads_rows:
        return ""
    how, layers = config.new_embeddings, _layers(model)
    values = {} if how in ("mean", "pieces") else _read(how, layers, new)
    pieces = _pieces(own, new, num_rows) if how == "pieces" else {}
    if is_meta:
        return ""
    _set_rows(model, layers, own, new, num_rows, values, pieces)
    size = (
        f"{num_ids:,} rows instead of {num_rows:,}" if num_ids > num_rows else f"{num_rows:,} rows, as before"
    )
    tokens = "new token starts" if len(new) == 1 else "new tokens start"
    return f"{_KEY} {config.new_embeddings!r}: {len(new):,} {tokens} so; the embedding has {size}."


def _own_tokenizer(config: ModelConfig, tokenizer: Any) -> Any:
    """Return the model's own tokenizer; None if there is none to compare."""
    name = config.pretrained_model_name_or_path
    if not config.pretrained:
        return None
    if name == tokenizer.name_or_path:
        return tokenizer
    try:
        return load_tokenizer(name, trust_remote_code=config.trust_remote_code)
    except ConfigError as error:
        if config.new_embeddings is None:
            return None
        raise ConfigError(f"{_KEY} needs the model's own tokenizer: {error}") from error


def _new_tokens(config: ModelConfig, own: Any, tokenizer: Any, num_rows: int) -> dict[str, int]:
    """Return the tokens, with ids, that the model's own tokenizer lacks or has without a row."""
    known, vocabulary = own.get_vocab(), tokenizer.get_vocab()
    if other := [token for token, number in known.items() if vocabulary.get(token) != number]:
        if config.new_embeddings is None:  # a tokenizer of another kind
            return {}
        raise ConfigError(
            f"{_KEY}: tokenizer {tokenizer.name_or_path!r} does not extend that of "
            f"{config.pretrained_model_name_or_path!r}: it has another id, or none, for {_listed(other)}. "
            "Make one with `tutelage tokenizer extend`."
        )
    return {token: number for token, number in vocabulary.items() if known.get(token, num_rows) >= num_rows}


def _layers(model: Any) -> dict[str, Any]:
    """Return the embedding and, if it is not tied, the output layer."""
    layers = {"input": model.get_input_embeddings()}
    output = model.get_output_embeddings()
    if output is not None and output.weight is not layers["input"].weight:
        layers["output"] = output
    return layers


def _pieces(own: Any, new: Mapping[str, int], num_rows: int) -> dict[str, torch.Tensor]:
    """Split each new token with the model's own tokenizer, into ids that have a row."""
    pieces = {}
    for token in new:
        ids = torch.tensor(own(token, add_special_tokens=False).input_ids, dtype=torch.long)
        pieces[token] = ids[ids < num_rows]
        if not len(pieces[token]):
            raise ConfigError(
                f"{_KEY}: the model's own tokenizer finds no pieces in {token!r}. Set it to mean."
            )
    return pieces


@torch.no_grad()
def _set_rows(
    model: Any,
    layers: Mapping[str, Any],
    own: Any,
    new: Mapping[str, int],
    num_rows: int,
    values: Mapping[str, torch.Tensor],
    pieces: Mapping[str, torch.Tensor],
) -> None:
    ids_of_own = torch.tensor(sorted(each for each in own.get_vocab().values() if each < num_rows))
    output = model.get_output_embeddings()
    tensors = [(name, layer.weight) for name, layer in layers.items()]
    if getattr(output, "bias", None) is not None:
        tensors.append(("", output.bias))
    for name, tensor in tensors:
        mean = tensor[ids_of_own].mean(dim=0)
        for token, number in new.items():
            if pieces:
                tensor[number] = tensor[pieces[token]].mean(dim=0)
            elif name and values:
                tensor[number] = values[f"{name}.{token}"]
            else:
                tensor[number] = mean


def _read(path: str, layers: Mapping[str, Any], new: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Read a file of rows; it must have exactly those of the new tokens."""
    from safetensors.torch import load_file

    try:
        values: dict[str, torch.Tensor] = load_file(path)
    except Exception as error:  # safetensors has errors of its own
        raise ConfigError(
            f"{_KEY}: {path!r} cannot be read: {error}. Expected mean, pieces or a safetensors file."
        ) from error
    wanted = {f"{name}.{token}": layer.weight.shape[1] for name, layer in layers.items() for token in new}
    wrong = [
        f"{name!r} has shape {tuple(values[name].shape)}, expected ({size},)"
        for name, size in wanted.items()
        if name in values and tuple(values[name].shape) != (size,)
    ]
    not_finite = [
        repr(name) for name in wanted if name in values and not values[name].float().isfinite().all()
    ]
    for what, names in (
        ("lacks", [repr(name) for name in wanted if name not in values]),
        ("has rows of no new token:", [repr(name) for name in values if name not in wanted]),
        ("does not fit:", wrong),
        ("holds NaN or infinity in", not_finite),
    ):
        if names:
            raise ConfigError(f"{_KEY}: {path!r} {what} {_listed(names, str)}.")
    return values


def _listed(names: Collection[str], shown: Callable[[str], str] = repr) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(shown, [*names][:_SHOWN])) + more
