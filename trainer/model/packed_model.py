"""The model under training: a causal LM of transformers, made ready for packed rows and for FSDP2."""

from __future__ import annotations

from typing import Any

import torch
from composer.models import HuggingFaceModel
from composer.utils import dist

from plugins.causal_lm import load_causal_lm
from schemas.errors import ConfigError
from schemas.train_config import ModelConfig
from trainer.data.row_loader import IGNORE_INDEX
from trainer.model.architecture import cannot_load, is_block, load_hf_config, text_modules
from trainer.model.attention import LENGTHS_WANTED, check_attention, check_isolation, hand_over_text_lengths
from trainer.model.lora import add_adapters, describe_adapters, save_adapters_alone
from trainer.model.new_embeddings import fit_vocabulary
from trainer.reporting.training_progress import announce


class CausalLM(HuggingFaceModel):  # type: ignore[misc, unused-ignore]
    """Composer's wrapper of a transformers model; a microbatch in which no token carries loss has loss 0."""

    def loss(self, outputs: Any, batch: Any) -> Any:
        """The mean over the tokens that carry loss; transformers' own is NaN where there is none."""
        if (batch["labels"][:, 1:] == IGNORE_INDEX).all():
            return outputs["logits"].sum() * 0.0
        return super().loss(outputs, batch)

    def _check_tokenizer_and_maybe_resize_embeddings(self, allow_embedding_resizing: bool) -> None:
        """`build_model` has compared them: Composer looks for sizes where multimodal models have none."""


def build_model(
    config: ModelConfig,
    tokenizer: Any,
    *,
    row_tokens: int,
    attention_boundaries: bool,
    seed: int = 17,
    begins: bool = True,
) -> HuggingFaceModel:
    """Load or initialise the model, in fp32; Composer's precision decides what it computes in.

    Args:
        config: Which model, and how.
        tokenizer: Its tokenizer, saved along in checkpoints.
        row_tokens: Tokens of the rows that it is trained on.
        attention_boundaries: Whether rows rely on position ids to keep their texts apart.
        seed: Of the values that adapters begin with.
        begins: Whether its values are what training begins with, as none of a checkpoint are.

    Raises:
        ConfigError: It cannot be loaded, or not so, or has fewer embeddings than the tokenizer ids.
        TrainingError: It cannot keep packed texts apart.
    """
    model = _load(config, row_tokens)
    # With a cache transformers ignores the position ids that separate packed texts, and each text
    # would attend to the ones before it; generation asks for its cache by itself.
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
                "model.new_embeddings: the rows stay as they begin, since modules_to_save names no embedding."
            )
    _freeze_other_modes(model)
    shard_by_block(model)
    composer_model = CausalLM(model, tokenizer=tokenizer, metrics=[], eval_metrics=[])
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


def _freeze_other_modes(model: Any) -> None:
    """Leave what a multimodal model has for images and sound as it is: text gives it no gradients."""
    if model.config.get_text_config() is model.config:
        return
    of_text = {id(parameter) for module in text_modules(model) for parameter in module.parameters()}
    others = [parameter for parameter in model.parameters() if id(parameter) not in of_text]
    for parameter in others:
        parameter.requires_grad_(False)
    count = sum(parameter.numel() for parameter in others)
    announce(f"{type(model).__name__}: {count:,} parameters outside its text model are not trained.")


def shard_by_block(model: Any) -> None:
    """Tell Composer to shard, and if asked to checkpoint activations, decoder block by decoder block.

    What lies outside the blocks, tied embeddings among it, stays in the root's own shard group.
    """
    model.fsdp_wrap_fn = model.activation_checkpointing_fn = is_block(model)
