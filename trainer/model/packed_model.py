"""Model under training: a causal LM of transformers, prepared for packed rows and for FSDP2."""

from __future__ import annotations

from typing import Any

import torch
from composer.models import HuggingFaceModel
from composer.utils import dist
from transformers.utils import ModelOutput

from plugins.causal_lm import load_causal_lm
from schemas.errors import ConfigError
from schemas.train_config import ModelConfig
from trainer.data.batches import IGNORE_INDEX
from trainer.model.architecture import cannot_load, freeze_other_modes, is_block, load_hf_config
from trainer.model.attention import LENGTHS_WANTED, check_attention, check_isolation, hand_over_text_lengths
from trainer.model.chunked_loss import loss_in_chunks, whole_loss_because
from trainer.model.lora import add_adapters, describe_adapters, save_adapters_alone
from trainer.model.new_embeddings import fit_vocabulary
from trainer.reporting.announce import announce


class CausalLM(HuggingFaceModel):  # type: ignore[misc, unused-ignore]
    """Composer's wrapper of a transformers model, with loss 0 for a microbatch without loss tokens.

    Attributes:
        chunked_loss: Whether batches with labels give a loss computed in chunks, and no logits.
    """

    chunked_loss = False

    def forward(self, batch: Any) -> Any:
        """Return the model's outputs."""
        if not self.chunked_loss or "labels" not in batch:
            return super().forward(batch)
        with loss_in_chunks(self.model):
            return ModelOutput(loss=super().forward(batch)["loss"])

    def loss(self, outputs: Any, batch: Any) -> Any:
        """Return the mean over the tokens that carry loss; transformers returns NaN if there are none."""
        if (batch["labels"][:, 1:] == IGNORE_INDEX).all():
            return outputs["loss" if self.chunked_loss else "logits"].sum() * 0.0
        return super().loss(outputs, batch)

    def _check_tokenizer_and_maybe_resize_embeddings(self, allow_embedding_resizing: bool) -> None:
        """Do nothing: `build_model` has compared sizes that Composer does not find in multimodal models."""


def build_model(
    config: ModelConfig,
    tokenizer: Any,
    *,
    row_tokens: int,
    attention_boundaries: bool,
    seed: int = 17,
    begins: bool = True,
) -> HuggingFaceModel:
    """Load or initialise the model in fp32; Composer's precision applies to computations.

    Args:
        config: Names the model.
        tokenizer: Its tokenizer, which checkpoints hold, too.
        row_tokens: Tokens of a training row.
        attention_boundaries: Whether position ids must keep packed texts apart.
        seed: Of the initial values of adapters.
        begins: Whether training begins with this model, not with a checkpoint.

    Raises:
        ConfigError: It cannot be loaded with these settings, or has fewer rows than the tokenizer ids.
        TrainingError: It cannot keep packed texts apart.
    """
    model = _load(config, row_tokens)
    # With a cache transformers ignores position ids that restart, and texts would attend to earlier texts;
    # generation enables its cache by itself.
    model.config.get_text_config().use_cache = False
    if (done := fit_vocabulary(model, config, tokenizer)) and begins:
        announce(done)
    if attention_boundaries:
        check_isolation(
            model,
            attn_implementation=config.attn_implementation,
            row_tokens=row_tokens,
            trust_remote_code=config.trust_remote_code,
        )
        if config.attn_implementation in LENGTHS_WANTED:
            hand_over_text_lengths(model)
    if config.peft_config is not None:
        add_adapters(model, config.peft_config, seed=seed)
        embedding = model.get_input_embeddings()
        if config.new_embeddings and not any(each.requires_grad for each in embedding.parameters()):
            announce(
                "model.new_embeddings: the new rows are not trained, since modules_to_save names no "
                "embedding."
            )
    if others := freeze_other_modes(model):
        announce(f"{type(model).__name__}: {others:,} parameters outside its text model are not trained.")
    # A decoder block is the unit of sharding and of activation checkpointing; the rest stays at the root.
    model.fsdp_wrap_fn = model.activation_checkpointing_fn = is_block(model)
    composer_model = CausalLM(model, tokenizer=tokenizer, metrics=[], eval_metrics=[])
    because = whole_loss_because(config, model.config)
    composer_model.chunked_loss = because is None
    if because and config.chunked_loss:
        announce(f"{type(model).__name__}: the loss is computed on whole logits, not in chunks: {because}.")
    if config.peft_config is not None:
        announce(describe_adapters(model))
        save_adapters_alone(composer_model)
    return composer_model


def _load(config: ModelConfig, row_tokens: int) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        hf_config = load_hf_config(config)
        check_attention(config, hf_config, row_tokens=row_tokens)
        options = {"config": hf_config, "trust_remote_code": config.trust_remote_code}
        if config.init_device == "mixed" and dist.get_global_rank() != 0:
            with torch.device("meta"):
                return AutoModelForCausalLM.from_config(**options)
        if config.pretrained:
            return load_causal_lm(
                "model.pretrained_model_name_or_path",
                config.pretrained_model_name_or_path,
                may_differ=config.weights_may_differ,
                naming="model.weights_may_differ",
                torch_dtype=torch.float32,
                **options,
            )
        return AutoModelForCausalLM.from_config(**options).float()
    except ConfigError:
        raise
    except Exception as error:  # transformers raises whatever its many loaders raise
        raise cannot_load(config, error) from error
