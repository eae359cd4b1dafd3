"""The loss in chunks equals the loss of transformers on all logits, and gradients too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from plugins.tokenizers import load_tokenizer
from schemas.train_config import ModelConfig
from tests.trainer.ranks import recorded, run_ranks, said
from trainer.data.batches import IGNORE_INDEX
from trainer.model.chunked_loss import chunk_tokens, cross_entropy, loss_in_chunks, whole_loss_because
from trainer.model.packed_model import build_model


def batch(*, no_loss: slice = slice(0, 9)) -> dict[str, torch.Tensor]:
    """Two rows of 24 tokens, with labels except in a part of each row."""
    torch.manual_seed(2)
    ids = torch.randint(2, 2000, (2, 24))
    labels = ids.clone()
    labels[:, no_loss] = IGNORE_INDEX
    return {"input_ids": ids, "labels": labels}


def llama(*, tied: bool = True) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=2048, tie_word_embeddings=tied, use_cache=False, **sizes))


def build(model: str, **changes: Any) -> Any:
    config = ModelConfig(pretrained_model_name_or_path=model, **changes)
    return build_model(config, load_tokenizer(model), row_tokens=24, attention_boundaries=False)


def step(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss of a model of transformers, and gradients by name."""
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return loss.detach(), {name: each.grad for name, each in model.named_parameters() if each.requires_grad}


def assert_same(model: Any, batch: dict[str, torch.Tensor], *, size: int | None, share: float = 1e-5) -> None:
    """Differences are at most a share of the loss, and of a parameter's largest gradient."""
    expected_loss, expected = step(model, batch)
    with loss_in_chunks(model, size=size):
        loss, gradients = step(model, batch)
    torch.testing.assert_close(loss, expected_loss, rtol=share, atol=0)
    assert gradients.keys() == expected.keys()
    for name, each in expected.items():
        assert gradients[name].dtype == each.dtype
        largest = float(each.abs().max())
        torch.testing.assert_close(
            gradients[name], each, rtol=0, atol=share * largest, msg=lambda _, n=name: n
        )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [7, None])
def test_loss_and_gradients_are_those_of_whole_logits(tied: bool, size: int | None) -> None:
    assert_same(llama(tied=tied), batch(), size=size)


@pytest.mark.parametrize("size", [7, None])
def test_the_same_holds_for_computations_in_bfloat16(size: int | None) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(llama(), batch(), size=size, share=2e-2)


def test_the_same_holds_for_weights_in_bfloat16_whose_gradients_are_summed_in_float32() -> None:
    assert_same(llama(tied=False).bfloat16(), batch(), size=3, share=2e-2)


@pytest.mark.parametrize("where", [["lm_head"], ["q_proj"]])
def test_adapters_learn_the_same(where: list[str]) -> None:
    from trainer.model.lora import add_adapters

    model = llama(tied=False)
    add_adapters(
        model, {"peft_type": "LORA", "r": 4, "target_modules": where, "init_lora_weights": False}, seed=3
    )
    assert_same(model, batch(), size=7)


def test_a_bias_learns_the_same() -> None:
    from transformers import PhiConfig, PhiForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = PhiForCausalLM(PhiConfig(vocab_size=2048, use_cache=False, **sizes)).eval()
    torch.nn.init.normal_(model.lm_head.bias)
    assert_same(model, batch(), size=7)


def test_tokens_without_loss_do_not_reach_the_output_layer() -> None:
    model = llama()
    seen: list[int] = []
    with loss_in_chunks(model, size=12):
        model.lm_head.register_forward_hook(lambda _, given, out: seen.append(out.shape[-1] * len(given[0])))
        model(**batch(no_loss=slice(0, 10)))
    assert seen[1:] == [2048 * 12, 2048 * 12, 2048 * 4]  # 2 rows of 14 tokens; the first call gives them all


def test_a_batch_without_loss_tokens_has_loss_and_gradients_of_0(tiny_model: str) -> None:
    model = build(tiny_model)
    assert model.chunked_loss
    nothing = batch(no_loss=slice(0, None))
    loss = model.loss(model(nothing), nothing)
    loss.backward()
    assert loss.item() == 0.0
    assert all(torch.count_nonzero(each.grad) == 0 for each in model.parameters())


def test_a_model_gives_logits_again_after_its_loss_even_if_a_forward_fails() -> None:
    model = llama()
    ids = batch()["input_ids"]
    expected = model(ids).logits
    own_loss = model.loss_function
    with loss_in_chunks(model), pytest.raises(IndexError):
        model(input_ids=ids + 2048, labels=ids)
    assert torch.equal(model(ids).logits, expected)
    assert model.loss_function is own_loss and "forward" not in vars(model.lm_head)


def test_without_gradients_the_loss_is_the_same() -> None:
    model = llama()
    with torch.no_grad(), loss_in_chunks(model, size=7):
        loss = model(**batch()).loss
    assert not loss.requires_grad
    torch.testing.assert_close(loss, model(**batch()).loss.detach(), rtol=1e-6, atol=0)


def test_gradients_are_computed_once() -> None:
    head, hidden = torch.nn.Linear(4, 8), torch.randn(1, 5, 4, requires_grad=True)
    loss = cross_entropy(head, hidden, torch.arange(5)[None])
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can be computed once only"):
        loss.backward()


def test_tokens_are_one_chunk_where_more_chunks_would_need_more_memory() -> None:
    def size(num_tokens: int, device: str = "cuda", *, trained: bool = True) -> int:
        return chunk_tokens(num_tokens, device, hidden_size=4096, head_is_trained=trained)

    assert (size(6144), size(6145), size(32_768)) == (6144, 2048, 2048)
    assert (size(2048, trained=False), size(2049, trained=False)) == (2048, 2048)
    assert (size(4608, "cpu"), size(4609, "cpu"), size(0)) == (4608, 512, 1)


def test_a_soft_cap_after_the_output_layer_keeps_the_whole_loss(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    heads = {"head_dim": 16, "num_key_value_heads": 2}
    Gemma2ForCausalLM(Gemma2Config(vocab_size=2048, **sizes, **heads)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    model = build(str(tmp_path), attn_implementation="eager")
    assert not model.chunked_loss
    assert (
        "Gemma2ForCausalLM: the loss is computed on whole logits, not in chunks: it changes the logits after "
        "its output layer, or has a loss of its own.\n"
    ) in capsys.readouterr().err
    torch.testing.assert_close(
        model.loss(model(batch()), batch()), model.model(**batch()).loss, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(
    ("family", "changes", "because"),
    [
        ("LlamaConfig", {}, None),
        ("GPT2Config", {}, None),
        ("GraniteConfig", {"logits_scaling": 8.0}, None),  # a factor is the same before the layer
        ("CohereConfig", {"logit_scale": 0.25}, None),
        ("OPTConfig", {}, None),
        ("Gemma3Config", {}, "a multimodal model computes its loss itself"),
        ("MambaConfig", {}, "no small copy can be made of a model without attention heads"),
    ],
)
def test_the_family_decides(family: str, changes: dict[str, Any], because: str | None) -> None:
    import transformers

    found = whole_loss_because(
        ModelConfig(pretrained_model_name_or_path="-"), getattr(transformers, family)(**changes)
    )
    assert found == because or (because and found and found.startswith(because))


def test_chunks_can_be_turned_off_without_a_word(tiny_model: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = build(tiny_model, chunked_loss=False)
    assert not model.chunked_loss
    assert model(batch())["logits"].shape == (2, 24, 2048)
    assert "whole logits" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(260)
def test_two_ranks_that_share_the_output_layer_learn_the_same(
    write_config: Callable[..., str], tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FSDP2 on gloo, in microbatches; a corpus of rows with padding."""
    runs = []
    for chunked in (True, False):
        name = "chunks" if chunked else "whole"
        config = write_config(
            callbacks={"recorder": {"path": str(tmp_path / name)}},
            device_train_microbatch_size=1,
            parallelism_config={"fsdp": {}},
            model={"pretrained_model_name_or_path": tiny_model, "chunked_loss": chunked},
        )
        runs.append((name, 2, str(Path(config).rename(tmp_path / f"{name}.yaml"))))
    assert run_ranks(tmp_path, runs) == {"chunks": 0, "whole": 0}, said(tmp_path, "chunks")[-4000:]
    for rank in (0, 1):
        chunks, whole = (
            [float.fromhex(loss) for _, _, loss in recorded(tmp_path / name, rank)]
            for name in ("chunks", "whole")
        )
        assert chunks == pytest.approx(whole, rel=1e-5)
        assert len(chunks) == 6 and chunks[-1] < chunks[0]
