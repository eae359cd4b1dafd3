"""A model's shape, known before any of its weights exist.

The model is built on torch's meta device, where tensors have shapes and no memory: 8B parameters
take a second. Everything here works without Composer, a GPU, or the weights.
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What memory and work follow from.

    Attributes:
        kind: Class of the model.
        parameter_shapes: Shape of each parameter, tied ones once.
        trained_shapes: The same of those that are trained.
        block_shapes: Shapes of the parameters of each decoder block, in order.
        trained_block_shapes: The same of those that are trained.
        matmul_parameters: Weights that every token is multiplied by: those of linear layers and of
            the output layer, tied or not; not the embedding, which is looked up.
        frozen_matmul_parameters: Those of them that are not trained.
        num_layers: Decoder blocks.
        num_heads: Query heads of a block; 0 in a model without attention.
        head_dim: Width of a head.
        vocab_size: Width of the logits.
        has_adapters: Whether only adapters are trained, and saved.
    """

    kind: str
    parameter_shapes: tuple[tuple[int, ...], ...]
    trained_shapes: tuple[tuple[int, ...], ...]
    block_shapes: tuple[tuple[tuple[int, ...], ...], ...]
    trained_block_shapes: tuple[tuple[tuple[int, ...], ...], ...]
    matmul_parameters: int
    frozen_matmul_parameters: int
    num_layers: int
    num_heads: int
    head_dim: int
    vocab_size: int
    has_adapters: bool = False

    @property
    def num_parameters(self) -> int:
        """All parameters, tied ones once."""
        return count(self.parameter_shapes)

    @property
    def trained_parameters(self) -> int:
        """Parameters that are trained: all, unless there are adapters or the model reads more than text."""
        return count(self.trained_shapes)

    @property
    def block_parameters(self) -> int:
        """Parameters of the largest block."""
        return max(map(count, self.block_shapes), default=0)

    @property
    def root_parameters(self) -> int:
        """Parameters outside the blocks: embeddings, last norm, output layer."""
        return self.num_parameters - sum(map(count, self.block_shapes))

    @property
    def trained_block_parameters(self) -> int:
        """Trained parameters of the block that has most of them."""
        return max(map(count, self.trained_block_shapes), default=0)

    @property
    def trained_root_parameters(self) -> int:
        """Trained parameters outside the blocks."""
        return self.trained_parameters - sum(map(count, self.trained_block_shapes))

    def flops_per_token(self, seq_len: int) -> float:
        """Floating-point operations to train on one token: 6·N + 12·L·H·Q·T, less 2 a frozen weight.

        Two for each weight a token is multiplied by and 4·L·H·Q·T for its attention scores over T
        positions, once forward and twice backward; once backward for a weight that is frozen. Attention
        counts whole rows, also where a mask leaves half of them out, and recomputed activations do not
        count, so that a utilisation reads as in the literature.

        Args:
            seq_len: T, tokens a row.

        Source: Chowdhery et al. 2022, arXiv 2204.02311, appendix B (MFU).
        """
        attention = 4 * self.num_layers * self.num_heads * self.head_dim * seq_len
        return 3.0 * (2 * self.matmul_parameters + attention) - 2 * self.frozen_matmul_parameters


def count(shapes: tuple[tuple[int, ...], ...]) -> int:
    """Elements of tensors of these shapes."""
    return sum(torch.Size(shape).numel() for shape in shapes)


def load_hf_config(config: ModelConfig) -> Any:
    """The model's own configuration, changed by `config_overrides`.

    Raises:
        ConfigError: It has no such key.
    """
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
    """Say that a model is not to be had, and how to get one."""
    name = config.pretrained_model_name_or_path
    reason = why(error, name)
    if "attn_implementation" not in reason:
        reason += (
            " Give a directory with config.json and weights, or a hub name "
            "(`tutelage models fetch smollm2-135m` makes a small model)."
        )
    return ConfigError(f"model.pretrained_model_name_or_path {name!r} cannot be loaded: {reason}")


def build_on_meta(config: ModelConfig, tokenizer: Any = None, *, check_vocabulary: bool = False) -> Any:
    """The model without weights; needs no kernels of a GPU, since nothing is computed.

    Args:
        config: Which model.
        tokenizer: The run's, which decides how many rows `new_embeddings` makes; needed for nothing else.
        check_vocabulary: Whether a tokenizer or rows that training would refuse are refused here, too.

    Raises:
        ConfigError: Its configuration cannot be had, or the tokenizer is no extension of its own.
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
    """Which modules are decoder blocks: what FSDP shards and activation checkpointing recomputes as one."""
    names = set(model._no_split_modules or ())
    return lambda module: type(module).__name__.removeprefix("FSDP") in names


def text_modules(model: Any) -> tuple[Any, ...]:
    """What of a causal LM reads and writes text: of a multimodal one its text model, embedding and head."""
    if model.config.get_text_config() is model.config:
        return (model,)
    return (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())


def describe(model: Any) -> Architecture:
    """The architecture of a causal LM of transformers, on any device.

    Raises:
        ConfigError: Its configuration lacks what the estimate needs.
    """
    from transformers.pytorch_utils import Conv1D

    hf_config = model.config.get_text_config()
    try:
        num_heads = int(getattr(hf_config, "num_attention_heads", 0))
        head_dim = getattr(hf_config, "head_dim", None) or (num_heads and hf_config.hidden_size // num_heads)
        num_layers = int(hf_config.num_hidden_layers)
    except AttributeError as error:
        raise ConfigError(
            f"the size of {type(model).__name__} cannot be told: {error}. Train without --dry-run."
        ) from error
    blocks = [module for module in model.modules() if is_block(model)(module)]
    of_text = {module for part in text_modules(model) for module in part.modules()}
    linear = [module for module in of_text if isinstance(module, torch.nn.Linear | Conv1D)]
    return Architecture(
        kind=type(model).__name__.removeprefix("FSDP"),
        parameter_shapes=_shapes(model),
        trained_shapes=_shapes(model, trained=True),
        block_shapes=tuple(map(_shapes, blocks)),
        trained_block_shapes=tuple(_shapes(block, trained=True) for block in blocks),
        matmul_parameters=sum(module.weight.numel() for module in linear),
        frozen_matmul_parameters=sum(
            module.weight.numel() for module in linear if not module.weight.requires_grad
        ),
        num_layers=num_layers,
        num_heads=num_heads,
        head_dim=int(head_dim),
        vocab_size=int(hf_config.vocab_size),
        has_adapters=has_adapters(model),
    )


def _shapes(module: torch.nn.Module, *, trained: bool = False) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(parameter.shape) for parameter in module.parameters() if parameter.requires_grad or not trained
    )
