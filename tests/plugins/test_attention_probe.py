"""The attention probe: small copies of a model under two attention implementations."""

from __future__ import annotations

import pytest
import torch
import transformers

from plugins.attention_probe import CannotCopy, differs_from_eager, row_of_tokens, small_copies


def test_sdpa_computes_what_eager_computes() -> None:
    """See tests/trainer/model/test_families.py for other families."""
    assert differs_from_eager(transformers.GPT2Config(), implementation="sdpa", row_tokens=8192) == ""


def test_gemma_2_without_its_soft_cap_is_another_model() -> None:
    config = transformers.Gemma2Config(vocab_size=256000, num_hidden_layers=26)
    assert differs_from_eager(config, implementation="sdpa", row_tokens=8192).startswith(
        "attention 'sdpa' computes another Gemma2ForCausalLM than eager (logits "
    )
    config.attn_logit_softcapping = None
    assert differs_from_eager(config, implementation="sdpa", row_tokens=8192) == ""


def test_a_copy_keeps_what_attention_depends_on_and_is_small() -> None:
    config = transformers.Gemma2Config(head_dim=256, sliding_window=4096, attn_logit_softcapping=30.0)
    before = config.to_dict()
    (model,) = small_copies(config, row_tokens=8192, implementations=("eager",))
    found = model.config
    assert (found.head_dim, found.attn_logit_softcapping, found.sliding_window) == (256, 30.0, 32)
    assert (found.num_hidden_layers, found.num_attention_heads, found.num_key_value_heads) == (2, 2, 1)
    assert model.num_parameters() < 3_000_000
    assert config.to_dict() == before
    (model,) = small_copies(config, row_tokens=4096, implementations=("eager",))
    assert model.config.sliding_window == 4096


def test_a_copy_shows_each_kind_of_layer() -> None:
    config = transformers.Gemma3TextConfig(num_hidden_layers=26)
    (model,) = small_copies(config, row_tokens=8192, implementations=(None,))
    assert model.config.layer_types == ["sliding_attention"] * 5 + ["full_attention"]


def test_trying_leaves_random_numbers_as_they_were() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    small_copies(transformers.LlamaConfig(), row_tokens=64, implementations=("eager",))
    assert torch.equal(torch.rand(2), expected)


def test_a_family_that_does_not_shrink_says_why() -> None:
    with pytest.raises(CannotCopy, match="its state-space layers, without kernels, take gigabytes"):
        small_copies(transformers.FalconH1Config(), row_tokens=64, implementations=("eager",))
    assert differs_from_eager(transformers.MambaConfig(), implementation=None, row_tokens=64) == ""


def test_a_row_holds_many_tokens() -> None:
    assert row_of_tokens().shape == (1, 48)
    assert len(set(row_of_tokens()[0].tolist())) == 48
