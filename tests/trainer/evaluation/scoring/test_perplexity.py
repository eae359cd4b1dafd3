"""Bits of held-out texts against a plain computation that takes one token at a time."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from plugins.tasks.lookup import load_tasks
from plugins.tasks.rows import RefusedRow, TextRow
from plugins.tasks.task import Task
from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from tests.tiny import save_bytes, save_llama
from tests.trainer.evaluation.conftest import WORDS
from tests.trainer.evaluation.test_evaluator import evaluate_as_threads
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.scoring.causal_model import as_causal_model, evaluating
from trainer.evaluation.scoring.perplexity import Windows, plan_texts, run_texts, text_opening

Write = Callable[..., Path]
BOS, EOS = 0, 1
TEXTS = [WORDS, "fever", "the doctor gives aspirin — naïve 痛み", " ".join(WORDS.split()[::-1])]


def rows_of(texts: list[str]) -> list[TextRow]:
    return [TextRow(row_id=f"f:{at}", position=f"f:{at}", text=text) for at, text in enumerate(texts)]


def score(
    texts: list[str], model: Any, tokenizer: Any, windows: Windows, *, add_bos: bool, batch_tokens: int = 512
) -> list[Any]:
    with evaluating(model):
        causal = as_causal_model(model, kinds=["perplexity"])
        settings: dict[str, Any] = {"add_bos": add_bos, "windows": windows, "batch_tokens": batch_tokens}
        plan = plan_texts(rows_of(texts), causal, tokenizer, **settings)
        assert all(max(len(e.ids) for e in b) * len(b) <= batch_tokens for b in plan.batches if len(b) > 1)
        return run_texts(plan, causal, tokenizer, num_passes=plan.num_passes)


def plain_bits(text: str, model: Any, tokenizer: Any, windows: Windows, opening: int) -> float:
    """Bits of a text, each token by a pass of its own over the tokens that the first window with it holds."""
    ids = [opening, *tokenizer(text, add_special_tokens=False).input_ids]
    bits = 0.0
    for at in range(1, len(ids)):
        start = 0
        while at >= start + windows.window:
            start += windows.stride
        assert start == 0 or at - start >= windows.window - windows.stride
        with torch.no_grad():
            logprobs_V = model(torch.tensor([ids[start:at]])).logits[0, -1].log_softmax(-1)
        bits -= logprobs_V[ids[at]].item() / math.log(2)
    return bits


def test_windows_score_each_token_once() -> None:
    assert list(Windows(12, 6).over(21, 1)) == [(0, 1, 12), (6, 12, 18), (12, 18, 21)]
    assert list(Windows(12, 11).over(12, 1)) == [(0, 1, 12)]
    assert list(Windows(2, 1).over(4, 2)) == [(1, 2, 3), (2, 3, 4)]  # the opening fills the first window
    for window, stride in ((7, 1), (7, 3), (7, 6), (2, 1)):
        found = [
            (at, at - start) for start, a, b in Windows(window, stride).over(40, 1) for at in range(a, b)
        ]
        assert [at for at, _ in found] == list(range(1, 40))
        assert all(context >= window - stride for at, context in found if at >= window)


@pytest.mark.parametrize(
    "windows", [Windows(128, 64), Windows(16, 8), Windows(10, 3), Windows(9, 8)], ids=str
)
@pytest.mark.parametrize(("add_bos", "opening"), [(True, BOS), (False, EOS)])
def test_bits_are_those_of_one_token_at_a_time(
    windows: Windows, add_bos: bool, opening: int, model: Any, tokenizer: Any
) -> None:
    expected = [plain_bits(text, model, tokenizer, windows, opening) for text in TEXTS]
    for batch_tokens in (1, 40, 4096):
        found = score(TEXTS, model, tokenizer, windows, add_bos=add_bos, batch_tokens=batch_tokens)
        assert [answer.value for answer in found] == pytest.approx(expected, rel=1e-5)
    if windows.window == 128:  # no text is cut
        ids = [opening, *tokenizer(WORDS, add_special_tokens=False).input_ids]
        assert len(ids) < 128
        loss = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
        assert expected[0] == pytest.approx(loss * (len(ids) - 1) / math.log(2), rel=1e-5)


def test_bits_a_byte_of_two_tokenizers_are_comparable(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    """A model that knows nothing needs log2(V) bits a token, and fewer tokens where they are longer."""
    folder = save_bytes(tmp_path / "bytes", ["<s>", "</s>"], bos_token="<s>", eos_token="</s>")
    from transformers import AutoModelForCausalLM

    save_llama(folder, vocab_size=258, seed=3, max_position_embeddings=512)
    other = AutoModelForCausalLM.from_pretrained(folder)
    num_bytes = len(WORDS.encode())
    found = []
    for each, its, size in ((model, tokenizer, 2000), (other, load_tokenizer(folder), 258)):
        each.lm_head.weight.data.zero_()
        (answer,) = score([WORDS], each, its, Windows(64, 32), add_bos=True)
        num_tokens = len(its(WORDS, add_special_tokens=False).input_ids)
        assert answer.value / num_bytes == pytest.approx(num_tokens * math.log2(size) / num_bytes, rel=1e-5)
        found.append(answer.value / num_bytes)
    assert found[1] == pytest.approx(math.log2(258)) and 1 < found[0] < 8


def test_a_text_that_has_no_score_is_refused_by_name(model: Any, tokenizer: Any) -> None:
    model.lm_head.weight.data.fill_(float("nan"))
    found = score(["fever"], model, tokenizer, Windows(8, 4), add_bos=True)
    assert found == [RefusedRow(position="f:0", reason="the model gives it a score that is not a number")]


def test_windows_that_a_model_cannot_read_are_refused() -> None:
    task = Task(name="t", domain="d", kind="perplexity", metrics=("bits_per_byte",), source=lambda: [])
    assert Windows.of(task, 131072) == Windows(2048, 1024) and Windows.of(task, 100) == Windows(100, 50)
    chosen = dataclasses.replace(task, window_tokens=64, stride_tokens=16)
    assert Windows.of(chosen, 100) == Windows(64, 16)
    with pytest.raises(ConfigError, match="window_tokens is 64, but the model reads 32 tokens; lower it"):
        Windows.of(chosen, 32)
    with pytest.raises(ConfigError, match="stride_tokens is 64, expected less than a window of 64 tokens"):
        Windows.of(dataclasses.replace(chosen, stride_tokens=64), 100)


def test_a_tokenizer_without_bos_and_eos_opens_no_text(tmp_path: Path) -> None:
    bare = load_tokenizer(save_bytes(tmp_path / "bare", []))
    with pytest.raises(ConfigError, match="neither BOS nor EOS"):
        text_opening(bare, None)
    bos = load_tokenizer(save_bytes(tmp_path / "bos", ["<s>"], bos_token="<s>"))
    assert text_opening(bos, None) == [0]


@pytest.fixture
def held_out(tmp_path: Path, write_rows: Write) -> Path:
    """`general`, four texts, as a file; and `medicine`, the same ones with windows of 16 tokens, in YAML."""
    folder = tmp_path / "held-out"
    write_rows(folder / "general.jsonl", *({"text": text} for text in TEXTS))
    write_rows(folder / "rows.jsonl", *({"text": text} for text in TEXTS))
    (folder / "medicine.yaml").write_text(
        "{name: medicine, domain: d, kind: perplexity, rows: rows.jsonl, window_tokens: 16, stride_tokens: 4}"
    )
    return folder


def test_a_result_states_its_windows_and_keeps_bits_and_bytes_of_each_text(
    held_out: Path, model: Any, tokenizer: Any
) -> None:
    from tokenizers import normalizers

    tasks = load_tasks([str(held_out)])
    evaluator = Evaluator(tasks, tokenizer, intervals=True, add_bos=True)
    results = evaluator.run(model)
    general, medicine = (json.loads(json.dumps(result.summary())) for result in results)
    assert (general["window"], general["stride"]) == (128, 64)
    assert (medicine["window"], medicine["stride"]) == (16, 4)
    predictions = results[0].predictions()
    assert [each["bytes"] for each in predictions] == [len(text.encode()) for text in TEXTS]
    bits = [plain_bits(text, model, tokenizer, Windows(128, 64), BOS) for text in TEXTS]
    assert [each["bits"] for each in predictions] == pytest.approx(bits, rel=1e-5)
    score = general["scores"]["bits_per_byte"]
    assert score == pytest.approx(sum(bits) / sum(len(text.encode()) for text in TEXTS), rel=1e-5)
    low, high = general["intervals"]["bits_per_byte"]
    assert low < score < high

    # A saved result is used again until the windows of its task change.
    saved = json.loads(json.dumps(results[1].summary() | {"answers": results[1].predictions()}))
    again = evaluator.restored(tasks[1], saved)
    assert again is not None and (again.windows, again.scores) == (Windows(16, 4), results[1].scores)
    other = dataclasses.replace(tasks[1], stride_tokens=8)
    assert Evaluator([other], tokenizer, intervals=True).restored(other, saved) is None

    # A tokenizer that drops accents predicts fewer bytes than the text has; those of the text count.
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents()]
    )
    try:
        (lossy, _) = Evaluator(tasks, tokenizer).run(model)
    finally:
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([])
    assert [each["bytes"] for each in lossy.predictions()] == [each["bytes"] for each in predictions]


def test_text_that_the_tokenizer_does_not_know_is_counted(
    tmp_path: Path, write_rows: Write, model: Any
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "fever": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="</s>").save_pretrained(
        tmp_path
    )
    path = write_rows(tmp_path / "held.jsonl", {"text": "fever fever"}, {"text": "fever rises"})
    (result,) = Evaluator(load_tasks([str(path)]), load_tokenizer(str(tmp_path))).run(model)
    assert result.remarks() == {"held: 1 texts have unknown tokens, and too few bits for them": [f"{path}:2"]}
    assert result.predictions()[1]["has_unknown"] is True


def test_ranks_together_score_what_one_scores(held_out: Path, model: Any, tokenizer: Any) -> None:
    tasks = load_tasks([str(held_out)])
    alone = Evaluator(tasks, tokenizer, batch_tokens=64).run(model)
    expected = [result.scores["bits_per_byte"] for result in alone]
    # A sharded model needs as many passes on each rank; one whole model a rank does not.
    for options in ({}, {"is_whole": True}):
        for results in evaluate_as_threads(
            3, lambda ranks: Evaluator(tasks, tokenizer, batch_tokens=64, ranks=ranks), model, **options
        ):
            assert [each.scores["bits_per_byte"] for each in results] == pytest.approx(expected, rel=1e-5)
    wrong = [dataclasses.replace(tasks[1], window_tokens=4096)]
    for failed in evaluate_as_threads(
        2, lambda ranks: Evaluator(wrong, tokenizer, ranks=ranks), model, keep_going=True
    ):
        assert "window_tokens is 4096, but the model reads 128 tokens" in failed[0].error


def test_a_chat_template_leaves_held_out_texts_as_they_are(
    held_out: Path, model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}")
    tasks = load_tasks([str(held_out / "general.jsonl")])
    (plain,) = Evaluator(tasks, tokenizer).run(model)
    (chatted,) = Evaluator(tasks, tokenizer, chat_template=str(template)).run(model)
    assert (chatted.scores, chatted.chat) == (plain.scores, None)
