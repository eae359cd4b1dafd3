"""Shape of a model without its weights: parameters, blocks, operations a token.

The model is built on torch's meta device, where tensors have shapes and no memory: 8B parameters take a
second. This module needs neither Composer nor a GPU nor the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from plugins.adapter_folder import has_adapters
from plugins.hub import hub_options, why
from schemas.errors import ConfigError
from schemas.train_config import ModelConfig

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Parameters:
    """Shapes of parameters, tied ones once.

    Attributes:
        shapes: Of all of them.
        blocks: Of those in each decoder block, in order.
    """

    shapes: tuple[Shape, ...]
    blocks: tuple[tuple[Shape, ...], ...]

    @property
    def total(self) -> int:
        """Count all parameters."""
        return count(self.shapes)

    @property
    def block(self) -> int:
        """Count the parameters of the largest block."""
        return max(map(count, self.blocks), default=0)

    @property
    def root(self) -> int:
        """Count the parameters outside the blocks: embeddings, last norm, output layer."""
        return self.total - sum(map(count, self.blocks))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Sizes that determine memory and work.

    Attributes:
        kind: Class of the model.
        parameters: All parameters.
        trained: Trained parameters: all, except with adapters or in multimodal models.
        matmul_parameters: Weights that multiply every token: those of linear layers and of the output layer,
            tied or not; not the embedding, which is a lookup.
        frozen_matmul_parameters: The part of `matmul_parameters` that is not trained.
        num_layers: Decoder blocks.
        num_heads: Query heads of a block; 0 in a model without attention.
        head_dim: Width of a head.
        vocab_size: Width of the logits.
        hidden_size: Width of the hidden states that enter the output layer.
        trained_head_parameters: Trained parameters of the output layer.
        has_adapters: Whether only adapters are trained, and saved.
    """

    kind: str
    parameters: Parameters
    trained: Parameters
    matmul_parameters: int
    frozen_matmul_parameters: int
    num_layers: int
    num_heads: int
    head_dim: int
    vocab_size: int
    hidden_size: int = 0
    trained_head_parameters: int = 0
    has_adapters: bool = False

    def flops_per_token(self, seq_len: int) -> float:
        """Count the floating-point operations to train on a token: 6·N + 12·L·H·Q·T, less 2 a frozen weight.

        A token takes two operations for each weight that multiplies it, and 4·L·H·Q·T for its attention
        scores over T positions: once forward and twice backward, or once backward for a frozen weight.
        Attention counts whole rows, even if a mask hides half of them, and recomputed activations do not
        count, so that the utilisation compares with the literature.

        Source: Chowdhery et al. 2022, arXiv 2204.02311, appendix B (MFU).
        """
        attention = 4 * self.num_layers * self.num_heads * self.head_dim * seq_len
        return 3.0 * (2 * self.matmul_parameters + attention) - 2 * self.frozen_matmul_parameters


def count(shapes: tuple[Shape, ...]) -> int:
    """Count the elements of tensors of these shapes."""
    return sum(torch.Size(shape).numel() for shape in shapes)


def load_hf_config(config: ModelConfig) -> Any:
    """Load the model's own configuration and apply `config_overrides`; refuse unknown keys."""
    from transformers import AutoConfig

    hf_config = AutoConfig.from_pretrained(
        config.pretrained_model_name_or_path,
        trust_remote_code=config.trust_remote_code,
        attn_implementation=config.attn_implementation,
        **hub_options(config.pretrained_model_name_or_path),
    )
    for key, value in config.config_overrides.items():
        # A multimodal model has the sizes of its text model in a configuration of its own.
        holder = hf_config if hasattr(hf_config, key) else hf_config.get_text_config()
        if not hasattr(holder, key):
            raise ConfigError(f"model.config_overrides.{key}: {type(holder).__name__} has no such key.")
        setattr(holder, key, value)
    return hf_config


def cannot_load(config: ModelConfig, error: Exception) -> ConfigError:
    """Return the error for a model that cannot be loaded, with its cure."""
    name = config.pretrained_model_name_or_path
    reason = why(error, name)
    if "attn_implementation" not in reason:
        reason += (
            " Give a directory with config.json and weights, or a hub name "
            "(`tutelage models fetch smollm2-135m` makes a small model)."
        )
    return ConfigError(f"model.pretrained_model_name_or_path {name!r} cannot be loaded: {reason}")


def build_on_meta(config: ModelConfig, tokenizer: Any = None, *, check_vocabulary: bool = False) -> Any:
    """Build the model without weights; needs no kernels of a GPU, since nothing is computed.

    The tokenizer gives the number of rows with `new_embeddings`. With `check_vocabulary` tokenizers and new
    rows that training would refuse are refused.

    Raises:
        ConfigError: Its configuration cannot be loaded, or the tokenizer does not extend its own.
    """
    from transformers import AutoModelForCausalLM

    from trainer.model.new_embeddings import fit_vocabulary

    runs_anywhere = config.attn_implementation in ("sdpa", "eager")
    without_kernels = config if runs_anywhere else config.model_copy(update={"attn_implementation": "sdpa"})
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                load_hf_config(without_kernels), trust_remote_code=config.trust_remote_code
            )
        model.config._attn_implementation = config.attn_implementation
        if config.new_embeddings is not None or check_vocabulary:
            fit_vocabulary(model, config, tokenizer, reads_rows=check_vocabulary)
        return model
    except ConfigError:
        raise
    except Exception as error:  # transformers raises whatever its many loaders raise
        raise cannot_load(config, error) from error


def is_block(model: Any) -> Callable[[torch.nn.Module], bool]:
    """Return a test for decoder blocks: the units of FSDP and of activation checkpointing."""
    names = set(model._no_split_modules or ())
    return lambda module: type(module).__name__.removeprefix("FSDP") in names


def text_modules(model: Any) -> tuple[Any, ...]:
    """Return the modules for text: of a multimodal model its text model, embedding and head."""
    if model.config.get_text_config() is model.config:
        return (model,)
    return (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())


def freeze_other_modes(model: Any) -> int:
    """Freeze the modules for images and sound, which get no gradients from text; return their parameters."""
    of_text = {id(parameter) for module in text_modules(model) for parameter in module.parameters()}
    others = [parameter for parameter in model.parameters() if id(parameter) not in of_text]
    for parameter in others:
        parameter.requires_grad_(False)
    return sum(parameter.numel() for parameter in others)


def describe(model: Any) -> Architecture:
    """Return the architecture of a causal LM of transformers, on any device.

    Raises:
        ConfigError: Its configuration lacks a size.
    """
    from transformers.pytorch_utils import Conv1D

    hf_config = model.config.get_text_config()
    try:
        num_heads = int(getattr(hf_config, "num_attention_heads", 0))
        head_dim = getattr(hf_config, "head_dim", None) or (num_heads and hf_config.hidden_size // num_heads)
        num_layers, hidden_size = int(hf_config.num_hidden_layers), int(hf_config.hidden_size)
    except AttributeError as error:
        raise ConfigError(
            f"the size of {type(model).__name__} is unknown: {error}. Train without --dry-run."
        ) from error
    blocks = [module for module in model.modules() if is_block(model)(module)]
    of_text = {module for part in text_modules(model) for module in part.modules()}
    head = model.get_output_embeddings()
    linear = [module for module in of_text if isinstance(module, torch.nn.Linear | Conv1D)]
    return Architecture(
        kind=type(model).__name__.removeprefix("FSDP"),
        parameters=Parameters(_shapes(model), tuple(map(_shapes, blocks))),
        trained=Parameters(
            _shapes(model, trained=True), tuple(_shapes(block, trained=True) for block in blocks)
        ),
        matmul_parameters=sum(module.weight.numel() for module in linear),
        frozen_matmul_parameters=sum(
            module.weight.numel() for module in linear if not module.weight.requires_grad
        ),
        num_layers=num_layers,
        num_heads=num_heads,
        head_dim=int(head_dim),
        vocab_size=int(hf_config.vocab_size),
        hidden_size=hidden_size,
        trained_head_parameters=0 if head is None else count(_shapes(head, trained=True)),
        has_adapters=has_adapters(model),
    )


def _shapes(module: torch.nn.Module, *, trained: bool = False) -> tuple[Shape, ...]:
    return tuple(
        tuple(parameter.shape) for parameter in module.parameters() if parameter.requires_grad or not trained
    )
