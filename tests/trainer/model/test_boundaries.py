"""Each text of a packed row attends to itself alone, under every attention implementation."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from schemas.errors import TrainingError
from trainer.data.batches import RowRules, to_batch
from trainer.model.attention import hand_over_text_lengths, text_lengths

TOKENS = list(range(20, 36))
LENGTHS = [5, 4, 5]  # the last two tokens are padding
CHANGED = [*TOKENS[:5], 90, 91, 92, 93, *TOKENS[9:]]  # with another second text


def batch_of(*rows: list[int], boundaries: bool = True) -> dict[str, torch.Tensor]:
    """Rows of three texts as a batch."""
    rules = RowRules(seq_len=len(rows[0]), vocab_size=2048, attention_boundaries=boundaries)
    return to_batch(torch.tensor(rows, dtype=torch.int32), [LENGTHS] * len(rows), rules)


def logits_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch).logits


def loaded(tiny_model: str, attn_implementation: str, *, boundaries: bool = True) -> Any:
    from plugins.tokenizers import load_tokenizer
    from schemas.train_config import ModelConfig
    from trainer.model.packed_model import build_model

    config = ModelConfig(pretrained_model_name_or_path=tiny_model, attn_implementation=attn_implementation)
    return build_model(
        config, load_tokenizer(tiny_model), row_tokens=32, attention_boundaries=boundaries
    ).model.eval()


@pytest.fixture(scope="module", params=["sdpa", "eager", "flex_attention"])
def model(request: pytest.FixtureRequest, tiny_model: str) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "flex_attention":
            leave_uncompiled(patch)
        yield loaded(tiny_model, request.param)


def leave_uncompiled(patch: pytest.MonkeyPatch) -> None:
    """Run flex attention as torch's own dense arithmetic: a CPU has no kernel for its compiled form."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    from transformers import masking_utils
    from transformers.integrations import flex_attention as integration

    def attend(query: Any, key: Any, value: Any, training: bool = False, **options: Any) -> Any:
        return flex_attention(query, key, value, **options)

    def block_mask(*args: Any, _compile: bool = False, **options: Any) -> Any:
        return create_block_mask(*args, **options)

    patch.setattr(integration, "compile_friendly_flex_attention", attend)
    patch.setattr(masking_utils, "create_block_mask", block_mask)


def assert_apart(before: torch.Tensor, after: torch.Tensor) -> None:
    """Assert that only the logits of the second text have changed."""
    assert (before[5:9] - after[5:9]).abs().max() > 1e-3
    assert torch.equal(before[:5], after[:5])
    assert torch.equal(before[9:], after[9:])


@pytest.mark.slow
def test_changing_one_text_moves_no_logit_of_another(model: Any) -> None:
    assert_apart(logits_of(model, batch_of(TOKENS))[0], logits_of(model, batch_of(CHANGED))[0])


def test_it_is_so_in_every_row_of_a_batch(model: Any) -> None:
    before = logits_of(model, batch_of(TOKENS, TOKENS))
    after = logits_of(model, batch_of(TOKENS, CHANGED))
    assert torch.equal(before[0], after[0])
    assert_apart(before[1], after[1])


def test_without_boundaries_later_texts_see_earlier_ones(model: Any) -> None:
    before = logits_of(model, batch_of(TOKENS, boundaries=False))[0]
    after = logits_of(model, batch_of(CHANGED, boundaries=False))[0]
    assert torch.equal(before[:5], after[:5])
    assert (before[9:14] - after[9:14]).abs().max() > 1e-3


def test_packed_loss_is_the_mean_over_the_texts_own_losses(model: Any) -> None:
    with torch.no_grad():
        packed = model(**batch_of(TOKENS)).loss
        total = 0.0
        start = 0
        for length in LENGTHS:
            ids = torch.tensor([TOKENS[start : start + length]])
            total += float(model(input_ids=ids, labels=ids).loss) * (length - 1)
            start += length
    assert float(packed) == pytest.approx(total / sum(length - 1 for length in LENGTHS), abs=1e-5)


def test_a_model_with_its_cache_on_fails_the_isolation_check(tiny_model: str) -> None:
    from transformers import AutoModelForCausalLM

    from trainer.model.attention import check_isolation

    leaky = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert leaky.config.use_cache
    with pytest.raises(TrainingError, match="lets a text attend to the text packed before it"):
        check_isolation(leaky, attn_implementation="sdpa", row_tokens=32)


def llama_4(attention_chunk_size: int) -> Any:
    from transformers import Llama4ForCausalLM, Llama4TextConfig

    sizes = {"hidden_size": 32, "intermediate_size": 32, "intermediate_size_mlp": 32, "head_dim": 8}
    few = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 2}
    config = Llama4TextConfig(
        vocab_size=64,
        pad_token_id=0,
        attention_chunk_size=attention_chunk_size,
        use_cache=False,
        **sizes,
        **few,
    )
    config.use_cache = False
    return Llama4ForCausalLM(config)


def test_chunks_that_count_from_the_rows_start_are_refused_where_rows_are_longer() -> None:
    from trainer.model.attention import check_isolation

    model = llama_4(attention_chunk_size=64)
    check_isolation(model, attn_implementation="sdpa", row_tokens=64)
    with pytest.raises(
        TrainingError,
        match=r"gives a text other logits \([\d.]+% off\) if another text precedes it in a row of 65 tokens, "
        r"as with attention in chunks that count from the row's start\. Build a corpus of rows no",
    ):
        check_isolation(model, attn_implementation="sdpa", row_tokens=65)


def test_a_model_that_fails_on_packed_rows_is_refused() -> None:
    from transformers import XGLMConfig, XGLMForCausalLM

    from trainer.model.attention import check_isolation

    config = XGLMConfig(
        vocab_size=64, d_model=32, ffn_dim=32, num_layers=2, attention_heads=2, max_position_embeddings=64
    )
    fails = r"fails on rows of packed texts: \w+Error: .+ Set "
    computes = r"gives a text other logits \([\d.]+% off\) if another"  # in transformers 5
    with pytest.raises(TrainingError, match=f"XGLMForCausalLM ({fails}|{computes})"):
        check_isolation(XGLMForCausalLM(config), attn_implementation="eager", row_tokens=64)


LONGROPE = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("longrope", {"rope_scaling": LONGROPE, "original_max_position_embeddings": 20}),
        ("dynamic", {"rope_scaling": {"type": "dynamic", "factor": 8.0}, "max_position_embeddings": 20}),
    ],
)
def test_rows_in_which_a_long_text_would_change_the_positions_of_others_are_refused(
    kind: str, options: dict[str, Any]
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from trainer.model.attention import check_isolation

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 2}
    more = {"vocab_size": 96, "pad_token_id": 1, "intermediate_size": 32, "max_position_embeddings": 160}
    family = "phi3" if kind == "longrope" else "llama"
    config = AutoConfig.for_model(
        family, **{**sizes, **more, **options}, use_cache=False, initializer_range=0.3
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    # Texts of 30 and 5 tokens, and of 15 and 5: only the first row changes the second text's logits.
    second = torch.arange(50, 55)
    alone = logits_of(model, {"input_ids": second[None]})[0]
    for before, is_changed in ((30, True), (15, False)):
        row = torch.cat([torch.arange(before), second])[None]
        positions = torch.cat([torch.arange(before), torch.arange(5)])[None]
        packed = logits_of(model, {"input_ids": row, "position_ids": positions})[0, before:]
        assert bool((packed - alone).abs().max() > 1e-2) is is_changed

    for attention in ("sdpa", "eager", "flash_attention_2", "flex_attention"):
        check_isolation(model, attn_implementation=attention, row_tokens=20)
        with pytest.raises(TrainingError) as caught:
            check_isolation(model, attn_implementation=attention, row_tokens=4096)
        assert (
            f"ForCausalLM has {kind} positions, which change for all texts of a batch once one has more "
            in (said := str(caught.value))
        )
        assert "than 20 tokens, and rows have 4,096. Build a corpus of rows of at most 20 tokens. Set" in said


def flash(query: Any, key: Any, value: Any, *, softmax_scale: float | None, causal: bool, **_: Any) -> Any:
    """Result of flash attention: arrays of shape (B, T, heads, head size), the causal mask alone."""
    answer = scaled_dot_product_attention(
        *(each.transpose(1, 2) for each in (query, key, value)),
        is_causal=causal,
        scale=softmax_scale,
        enable_gqa=True,
    )
    return answer.transpose(1, 2)


def flash_varlen(query: Any, key: Any, value: Any, *, cu_seqlens_q: Any, **options: Any) -> Any:
    """The same for texts laid end to end, arrays of shape (tokens, heads, head size)."""
    assert int(cu_seqlens_q.diff().max()) == options["max_seqlen_q"] == options["max_seqlen_k"]
    spans = itertools.pairwise(cu_seqlens_q.tolist())
    parts = [
        flash(query[None, start:end], key[None, start:end], value[None, start:end], **options)[0]
        for start, end in spans
    ]
    return torch.cat(parts)


@pytest.fixture
def flash_model(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A model on transformers' own path for flash_attention_2, its two kernels computed on the CPU."""
    from transformers import modeling_flash_attention_utils as kernels

    if not hasattr(kernels, "flash_attn_2_func"):
        pytest.skip("transformers 5 finds its kernels another way; they were not stood in for there")
    monkeypatch.setattr(kernels, "flash_attn_2_func", flash)
    monkeypatch.setattr(kernels, "flash_attn_2_varlen_func", flash_varlen)
    model = loaded(tiny_model, "sdpa")
    model.config._attn_implementation = "flash_attention_2"
    yield model


def test_flash_attention_is_given_the_lengths_of_all_texts_of_a_batch(flash_model: Any) -> None:
    expected = copy.deepcopy(flash_model)
    expected.config._attn_implementation = "sdpa"
    hand_over_text_lengths(flash_model)
    before = logits_of(flash_model, batch_of(TOKENS, TOKENS))
    after = logits_of(flash_model, batch_of(TOKENS, CHANGED))
    assert torch.equal(before[0], after[0])
    assert_apart(before[1], after[1])
    torch.testing.assert_close(after, logits_of(expected, batch_of(TOKENS, CHANGED)))


def test_flash_attention_learns_the_same_as_a_mask(flash_model: Any) -> None:
    expected = copy.deepcopy(flash_model)
    expected.config._attn_implementation = "sdpa"
    hand_over_text_lengths(flash_model)
    batch = batch_of(TOKENS, CHANGED)
    for each in (flash_model, expected):
        each(**batch).loss.backward()
    for ours, theirs in zip(flash_model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)


def test_transformers_alone_keeps_the_texts_of_one_row_apart_under_flash_attention(flash_model: Any) -> None:
    """In a batch of two rows, transformers alone lets the texts of a row attend to each other."""
    assert_apart(logits_of(flash_model, batch_of(TOKENS))[0], logits_of(flash_model, batch_of(CHANGED))[0])
    before = logits_of(flash_model, batch_of(TOKENS, TOKENS))
    after = logits_of(flash_model, batch_of(TOKENS, CHANGED))
    assert (before[1, 9:14] - after[1, 9:14]).abs().max() > 1e-3


def test_a_pass_with_a_mask_is_left_as_it_is(tiny_model: str) -> None:
    model = loaded(tiny_model, "sdpa")
    seen: list[set[str]] = []
    hand_over_text_lengths(model)
    model.register_forward_pre_hook(lambda _, args, named: seen.append(set(named)), with_kwargs=True)
    ids = torch.tensor([TOKENS])
    with torch.no_grad():
        model(input_ids=ids, position_ids=torch.arange(16)[None], attention_mask=torch.ones_like(ids))
        model(input_ids=ids)
        model(input_ids=ids, position_ids=torch.arange(16)[None])
    assert [names & {"cu_seq_lens_q", "max_length_q"} for names in seen] == [
        set(),
        set(),
        {"cu_seq_lens_q", "max_length_q"},
    ]


def test_text_lengths_run_over_all_rows() -> None:
    lengths = text_lengths(torch.tensor([[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]]))
    assert lengths["cu_seq_lens_q"].tolist() == lengths["cu_seq_lens_k"].tolist() == [0, 3, 5, 6, 10]
    assert lengths["cu_seq_lens_q"].dtype == torch.int32
    assert lengths["max_length_q"] == lengths["max_length_k"] == 4


def test_a_model_that_hands_nothing_on_is_refused() -> None:
    class Closed(torch.nn.Module):
        def forward(self, input_ids: Any, position_ids: Any = None) -> None:
            raise AssertionError("never run")

    with pytest.raises(TrainingError, match="Closed does not pass text lengths to flash_attention_2"):
        hand_over_text_lengths(Closed())
