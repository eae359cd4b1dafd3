"""Support of each model family, tested on a tiny model of the family; docs/models.md has the table.

Each model is random, with the family's own peculiarities switched on: soft caps, windows shorter than the
rows, experts, scaled logits, partly rotary positions, a state.
"""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from plugins.attention_probe import CannotCopy
from plugins.causal_lm import load_causal_lm
from plugins.tasks.rows import GenerateRow
from plugins.tokenizers import fingerprint, load_tokenizer
from schemas.errors import ConfigError, TutelageError
from schemas.train_config import ModelConfig
from tests.conftest import ROOT
from tests.trainer.conftest import WORDS, random_rows
from tests.trainer.evaluation.scoring.test_choice import plain_scores, row, score
from trainer import export, train
from trainer.data.batches import RowRules, to_batch
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.causal_model import CausalModel, as_causal_model, evaluating
from trainer.evaluation.scoring.generation import (
    first_line,
    plan_generations,
    run_generations,
    stop_token_ids,
)
from trainer.model.packed_model import build_model

EMBEDDINGS = 640
CONTEXT = 96
ROW = 40
TEXTS = ([24, 9, 5], [7, 31])
"""Lengths of the texts of two packed rows: beyond a window, within one, and some padding."""

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "max_position_embeddings": CONTEXT}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
USUAL = {**SIZES, **HEADS}
WINDOW = {"sliding_window": 16}


@dataclass(frozen=True, kw_only=True)
class Family:
    """A tiny model.

    Attributes:
        model_type: Name of the family in transformers.
        options: Options of its configuration.
        tied: Whether its head is its embedding.
        refused: The trainer's message about an attention implementation that it refuses.
        boundaries: Whether it can be trained with attention boundaries.
        names_context: Whether its configuration names a context length.
        no_estimate: Message of a dry run that cannot estimate its memory; "" if it can.
    """

    model_type: str
    options: dict[str, Any]
    tied: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    boundaries: bool = True
    names_context: bool = True
    no_estimate: str = ""

    @property
    def attention(self) -> str:
        return "eager" if "sdpa" in self.refused else "sdpa"


NO_CAP = "attention 'sdpa' computes another Gemma2ForCausalLM than eager"
FAMILIES = {
    "Llama": Family(model_type="llama", options=USUAL),
    "Qwen2": Family(
        model_type="qwen2", options={**USUAL, **WINDOW, "use_sliding_window": True, "max_window_layers": 1}
    ),
    "Qwen3": Family(
        model_type="qwen3", options={**USUAL, "head_dim": 16, "tie_word_embeddings": True}, tied=True
    ),
    "Mistral": Family(model_type="mistral", options={**USUAL, **WINDOW}),
    "Gemma 2": Family(
        model_type="gemma2",
        options={
            **USUAL,
            **WINDOW,
            "head_dim": 8,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
            "query_pre_attn_scalar": 16,
        },
        tied=True,
        refused={"sdpa": NO_CAP},
    ),
    "Gemma 3, text": Family(
        model_type="gemma3_text",
        options={**USUAL, **WINDOW, "head_dim": 8, "num_hidden_layers": 6},  # the sixth sees the whole row
        tied=True,
    ),
    "Gemma 3, text and images": Family(
        model_type="gemma3",
        options={
            "text_config": {**USUAL, **WINDOW, "head_dim": 8, "vocab_size": EMBEDDINGS},
            "vision_config": {
                **{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
                **{"intermediate_size": 32, "image_size": 28, "patch_size": 14},
            },
            "mm_tokens_per_image": 4,
        },
        tied=True,
    ),
    "Phi-3": Family(model_type="phi3", options={**USUAL, "partial_rotary_factor": 0.5, "pad_token_id": 1}),
    "OLMo 2": Family(model_type="olmo2", options=USUAL),
    "GPT-NeoX": Family(
        model_type="gpt_neox",
        options={**SIZES, "num_attention_heads": 4, "intermediate_size": 48, "rotary_pct": 0.5},
    ),
    "Mixtral": Family(
        model_type="mixtral",
        options={**USUAL, "num_local_experts": 4, "num_experts_per_tok": 2},
        no_estimate="the activations of MixtralForCausalLM cannot be counted",
    ),
    "Cohere": Family(
        model_type="cohere", options={**USUAL, "use_qk_norm": True, "logit_scale": 0.25}, tied=True
    ),
    "Cohere 2": Family(model_type="cohere2", options={**USUAL, **WINDOW, "num_hidden_layers": 4}, tied=True),
    "Granite": Family(
        model_type="granite",
        options={
            **USUAL,
            "logits_scaling": 3.0,
            "embedding_multiplier": 2.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.5,
        },
    ),
    "SmolLM3": Family(
        model_type="smollm3",
        options={
            **USUAL,
            "no_rope_layer_interval": 2,
            "pad_token_id": 1,
        },
        tied=True,
    ),
    "GLM-4": Family(
        model_type="glm", options={**USUAL, "head_dim": 8, "partial_rotary_factor": 0.5, "pad_token_id": 1}
    ),
    "GLM-4-0414": Family(
        model_type="glm4", options={**USUAL, "head_dim": 8, "partial_rotary_factor": 0.5, "pad_token_id": 1}
    ),
    "Mamba": Family(
        model_type="mamba",
        options={"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
        tied=True,
        refused={
            "sdpa": "MambaForCausalLM lacks this attention. Set attn_implementation: eager",
            "eager": "MambaForCausalLM takes no position_ids, so texts packed in a row cannot be kept apart.",
        },
        boundaries=False,
        names_context=False,
    ),
}


def table() -> dict[str, tuple[str, ...]]:
    """The rows of docs/models.md by family: model type, packed training, dry run, options, answers."""
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\| [^|]+ \| `", line)
    ]
    return {name: (kind.strip("`"), *facts) for name, kind, *facts, _ in rows if name != "family"}


TABLE = table()


def test_the_table_has_the_families_that_are_tried_and_no_others() -> None:
    assert {name: facts[0] for name, facts in TABLE.items()} == {
        name: family.model_type for name, family in FAMILIES.items()
    }


@pytest.fixture(scope="module", params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def family(name: str) -> Family:
    return FAMILIES[name]


@pytest.fixture(scope="module")
def folder(name: str, family: Family, tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The family's model as a Hugging Face directory, with the tiny tokenizer."""
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM

    options = dict(family.options)
    if "text_config" not in options:
        ids = {"bos_token_id": 0, "eos_token_id": 1}
        options |= {"vocab_size": EMBEDDINGS, "tie_word_embeddings": family.tied, **ids}
    try:
        config = AutoConfig.for_model(family.model_type, **options)
    except ValueError:
        pytest.skip(f"transformers {transformers.__version__} has no {name} ({family.model_type})")
    path = str(tmp_path_factory.mktemp("family") / "model")
    shutil.copytree(tiny_model, path, ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
    shutil.copy(Path(tiny_model, "tokenizer_config.json"), path)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for each in model.parameters():
        if each.ndim == 2:  # far from flat: attention, experts and answers then differ clearly
            torch.nn.init.normal_(each, std=1.5 * each.shape[-1] ** -0.5)
    model.save_pretrained(path)
    return path


@pytest.fixture
def corpus(make_corpus: Callable[..., str], folder: str) -> str:
    """A corpus of the family's own tokenizer: from the same files, transformers 5 makes another for Qwen2."""
    made_by = fingerprint(load_tokenizer(folder))
    return make_corpus(
        {"domain": [random_rows(20, first=100)], "general": [random_rows(20, first=300, seed=2)]},
        fingerprint=made_by,
    )


def load(folder: str) -> Any:
    return load_causal_lm("--model", folder, naming="", torch_dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: str) -> Any:
    return load_tokenizer(tiny_model)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: on models this small, more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def every_family_is_compared_with_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if the probe cannot copy a family: training would start untested, with a line only."""

    def refuse(self: CannotCopy, *reason: str) -> None:
        raise AssertionError(reason)

    monkeypatch.setattr(CannotCopy, "__init__", refuse)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    return found


def test_packed_texts_learn_what_they_learn_by_themselves(
    name: str, family: Family, folder: str, tokenizer: Any
) -> None:
    generator = torch.Generator().manual_seed(1)
    tokens_BT = torch.randint(5, EMBEDDINGS, (len(TEXTS), ROW), generator=generator, dtype=torch.int32)
    batch = to_batch(
        tokens_BT, TEXTS, RowRules(seq_len=ROW, vocab_size=EMBEDDINGS, attention_boundaries=True)
    )
    texts = [
        text
        for ids, lengths in zip(tokens_BT.long(), TEXTS, strict=True)
        for text in ids.split([*lengths, ROW - sum(lengths)])[: len(lengths)]
    ]
    num_tokens = sum(len(text) - 1 for text in texts)
    apart: dict[str, float] = {}
    for attention in ("sdpa", "eager"):
        config = ModelConfig(pretrained_model_name_or_path=folder, attn_implementation=attention)
        try:
            model = build_model(config, tokenizer, row_tokens=ROW, attention_boundaries=True).model.train()
        except TutelageError as error:
            assert family.refused[attention] in str(error)
            continue
        packed = model(**batch).loss
        packed.backward()
        found = gradients(model)
        alone = 0.0
        for text in texts:
            loss = model(input_ids=text[None], labels=text[None]).loss * (len(text) - 1) / num_tokens
            loss.backward()
            alone += loss.item()
        assert packed.item() == pytest.approx(alone, abs=1e-5)
        expected = gradients(model)
        assert expected.keys() == found.keys()
        largest = max(float(each.abs().max()) for each in expected.values())
        for each, gradient in expected.items():
            torch.testing.assert_close(found[each], gradient, atol=1e-5 * largest, rtol=1e-4)
        apart[attention] = alone
    assert max(apart.values(), default=0.0) == pytest.approx(min(apart.values(), default=0.0), abs=1e-5)
    assert TABLE[name][1] == (", ".join(apart) or "no")


@pytest.mark.slow
def test_it_trains_and_its_export_is_what_was_trained(
    name: str,
    family: Family,
    folder: str,
    write_config: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from transformers import AutoModelForCausalLM

    from plugins.callbacks.export_while_training import HuggingFaceExport, hugging_face_model

    trained: list[Any] = []
    fit_end = HuggingFaceExport.fit_end

    def remember(self: HuggingFaceExport, state: Any, logger: Any) -> None:
        fit_end(self, state, logger)
        trained.append(hugging_face_model(state.model).eval())

    monkeypatch.setattr(HuggingFaceExport, "fit_end", remember)
    config = write_config(
        model={"pretrained_model_name_or_path": folder, "attn_implementation": family.attention},
        max_duration="4ba",
        optimizer={"name": "adamw", "lr": 1e-2},
        scheduler={"name": "constant_with_warmup", "t_warmup": "0ba"},
        save_folder=str(tmp_path / "checkpoints"),
        callbacks={"hf_export": {"folder": str(tmp_path / "export"), "dtype": "float32"}},
    )
    boundaries = f"train_loader.dataset.attention_boundaries={str(family.boundaries).lower()}"
    assert train.main([config, boundaries]) == 0
    lines = (tmp_path / "checkpoints" / "metrics.jsonl").read_text().splitlines()
    losses = [step["loss/train/total"] for step in map(json.loads, lines) if "loss/train/total" in step]
    assert len(losses) == 4 and all(map(math.isfinite, losses)) and losses[-1] < losses[0]

    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "export", attn_implementation=family.attention)
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        expected = trained[0](input_ids=ids).logits
        torch.testing.assert_close(exported.eval()(input_ids=ids).logits, expected, rtol=0, atol=1e-6)
        base = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=family.attention).eval()
        assert (base(input_ids=ids).logits - expected).abs().max() > 0.01
    assert export.main([config, boundaries, "--output", str(tmp_path / "again")]) == 0
    for each, dtype in (("export", "float32"), ("again", "bfloat16")):
        assert config_of(tmp_path / each) == config_of(folder, dtype)
    capsys.readouterr()
    assert train.main([config, boundaries, "--dry-run"]) == (0 if TABLE[name][2] == "yes" else 2)
    assert family.no_estimate in capsys.readouterr().err
    first, again = (load_file(tmp_path / each / "model.safetensors") for each in ("export", "again"))
    assert first.keys() == again.keys() == load_file(Path(folder, "model.safetensors")).keys()
    assert all(torch.equal(first[each].bfloat16(), again[each]) for each in first)


def config_of(folder: str | Path, dtype: str = "") -> dict[str, Any]:
    """A model's configuration; with a dtype, the one for weights of that dtype."""
    config: dict[str, Any] = json.loads(Path(folder, "config.json").read_text())
    key = "dtype" if "dtype" in config else "torch_dtype"
    for part in (config, config.get("text_config", {}), config.get("vision_config", {})) if dtype else ():
        if part:
            part[key] = dtype
    return config


def prompts() -> list[str]:
    generator = random.Random(2)
    return [" ".join(generator.choices(WORDS.split(), k=length)) for length in (2, 30, 9, 21)]


def greedy(model: Any, ids: list[int], num_tokens: int) -> list[int]:
    """Greedy tokens of one row, each from a whole forward pass."""
    ids = list(ids)
    for _ in range(num_tokens):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids


def test_scores_and_answers_are_those_of_each_row_alone(
    name: str, family: Family, folder: str, tokenizer: Any
) -> None:
    model = load(folder).eval()
    with evaluating(model):
        seen = as_causal_model(model)
    rows = [row(prompt, "the gene", "a patient dose of", "blood") for prompt in prompts()]
    expected = [plain_scores(each, model, tokenizer, add_bos=False) for each in rows]
    for changes in ({}, {"no_trees": "the test says so"}):
        for answer, scores in zip(score(rows, model, tokenizer, **changes), expected, strict=True):
            assert isinstance(answer, Answer)
            assert answer.option_scores == pytest.approx(scores, abs=2e-5)

    asked = [GenerateRow(row_id=each, position=each, input=each, labels=()) for each in prompts()]
    with evaluating(model):
        plan = plan_generations(asked, seen, tokenizer, add_bos=False, batch_tokens=4096, max_new_tokens=8)
        answers = run_generations(plan, seen, tokenizer, num_passes=plan.num_passes)
    stops = stop_token_ids(tokenizer)
    for each, answer in zip(asked, answers, strict=True):
        ids = tokenizer(each.input).input_ids
        alone = greedy(model, ids, 8)[len(ids) :]
        assert isinstance(answer, Answer) and answer.value == first_line(alone, stops, tokenizer)

    assert TABLE[name][3:] == ("whole" if seen.no_trees else "trees", together(seen))
    assert seen.head is not None
    assert (seen.num_embeddings, seen.names_context) == (EMBEDDINGS, family.names_context)
    assert not family.names_context or seen.context_tokens == CONTEXT


def together(seen: CausalModel) -> str:
    return "equal lengths" if seen.right_padding.harm or seen.left_padding.harm else "any lengths"


def test_weights_that_its_files_lack_are_refused(family: Family, folder: str, tmp_path: Path) -> None:
    weights = load_file(Path(folder, "model.safetensors"))
    heads = [each for each in weights if "lm_head" in each or "embed_out" in each]
    assert len(heads) == (0 if family.tied else 1)
    lost = next(each for each in sorted(weights, reverse=True) if re.search(r"layers\.\d", each))
    for each in (lost, *heads):
        copy = tmp_path / each
        shutil.copytree(folder, copy)
        save_file(
            {key: value for key, value in weights.items() if key != each},
            copy / "model.safetensors",
            metadata={"format": "pt"},
        )
        with pytest.raises(ConfigError, match=r": 1 missing from its files, thus random \("):
            load(str(copy))
