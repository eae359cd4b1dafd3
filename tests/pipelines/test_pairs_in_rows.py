"""Pairs and their passages in one row: builds of documents longer than a row, read back row by row."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import increment as corpus
from pipelines.increments.compact import compact
from pipelines.planning.plan import plan_increment
from pipelines.steps.render import RenderTexts
from pipelines.steps.split_documents import SplitDocuments
from pipelines.store.packed_rows import read_rows
from plugins.synthesizers.generator import GenerationRequest, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from plugins.tokenizers import load_tokenizer
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.manifest import ShardSet, read_manifest
from schemas.records import AugmentedText, Generation
from schemas.synthesis_config import SynthesisConfig
from tests.published import read_stats
from tests.tiny import located

pytestmark = pytest.mark.slow

Config = Callable[..., CorpusConfig]
Texts = Callable[..., list[AugmentedText]]

GENERAL = "What is water? " + "It is what rivers carry to the sea. " * 40


class Asks(Generator):
    """Synthesizer that asks three times about the first words of a passage."""

    def __init__(self, model: str):
        self._tokenizer = load_tokenizer(model)

    async def generate(self, request: GenerationRequest) -> Generation:
        *_, passage = self._tokenizer.decode(request.prompt_ids).split("<CON> ")
        words = " ".join(passage.partition(" </CON>")[0].split()[:4])
        answer = "\n\n".join(
            f"<QUE> Ask {number} of '{words}'? <ANS> {number}. </END>" for number in range(3)
        )
        return Generation(
            text=answer, finish_reason="stop", prompt_tokens=len(request.prompt_ids), completion_tokens=60
        )


class AskingSynthesizer(LanguageModelSynthesizer):
    def __init__(self, config: SynthesisConfig, *, seed: int):
        super().__init__(config, seed=seed, generator=Asks(config.model or ""))


@pytest.fixture(autouse=True)
def wide_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def asking(synthesizer: Any, tokenizer_dir: str) -> dict[str, Any]:
    return {
        "backend": synthesizer(AskingSynthesizer),
        "protocol": "instruction_synthesizer",
        "model": tokenizer_dir,
        "max_new_tokens": 150,
    }


@pytest.fixture
def config_of(tmp_path: Path, corpus_config: Config, write_jsonl: Any, passages: Any) -> Config:
    """A corpus of twelve documents of one to twelve passages with mined pairs, and a general text."""
    rows = passages(78)
    documents = [
        {"id": f"doc-{n}", "text": "\n\n".join(row["text"] for row in rows[n * (n + 1) // 2 :][: n + 1])}
        for n in range(12)
    ]
    write_jsonl(tmp_path / "domain.jsonl", documents)
    write_jsonl(tmp_path / "general.jsonl", [{"id": "g", "text": GENERAL}])
    streams = {
        name: {
            "synthesize": name == "domain",
            "sources": [{"reader": "jsonl", "uri": f"{tmp_path}/{name}.jsonl", "id_field": "id"}],
        }
        for name in ("domain", "general")
    }

    def make(seq_len: int, **changes: Any) -> CorpusConfig:
        pack = {"seq_len": seq_len, **changes.pop("pack", {})}
        return corpus_config(
            tmp_path / "corpus",
            **{"streams": streams, "chains": {"max_documents": 3}, "pack": pack, **changes},
        )

    return make


def decoded_rows(config: CorpusConfig, number: int = 1) -> list[str]:
    """The segments of each row of `domain` in an increment, as text."""
    tokenizer = load_tokenizer(config.tokenizer.name)
    shards = read_manifest(config.corpus, number).shard_sets("domain")[-1]
    return [tokenizer.decode(row["tokens"]) for row in read_rows(config.corpus, shards)]


def num_parted(rows: list[str], texts: list[AugmentedText]) -> int:
    """Count the pairs in rows that lack a part of their passage; pieces are found by their text."""
    parted = set()
    for piece in (piece for row in rows for piece in row.split("<|endoftext|>") if piece):
        found, *others = [text for text in texts if piece in text.text]
        if others:  # too short to be unique
            assert len(piece) < 100
            continue
        start = found.text.index(piece)
        for number, each in enumerate(found.passages):
            pairs_start = each.start if each.asks_first else each.text_end
            holds_some = each.num_pairs and max(start, pairs_start) < min(start + len(piece), each.end)
            if holds_some and not start <= each.text_start <= each.text_end <= start + len(piece):
                parted.add((found.text_id, number, each.num_pairs))
    return sum(num_pairs for _, _, num_pairs in parted)


def domain(config: CorpusConfig, number: int = 1) -> ShardSet:
    (found,) = [each for each in read_manifest(config.corpus).increments if each.number == number]
    return found.streams["domain"]


@pytest.mark.parametrize(
    ("backend", "seq_len"), [("mined", 256), ("mined", 512), ("asking", 128), ("asking", 512)]
)
def test_no_pair_stands_in_a_row_without_its_passage(
    backend: str, seq_len: int, config_of: Config, asking: Any, build: Any, texts_in: Texts, rejects_in: Any
) -> None:
    config = config_of(seq_len, **({"synthesis": asking} if backend == "asking" else {}))
    build(config)
    texts = texts_in(config.corpus)
    rows = decoded_rows(config)
    assert num_parted(rows, texts) == 0
    for words, before in (
        (found[1], row[: found.start()]) for row in rows for found in re.finditer(r"Ask 0 of '(.*?)'", row)
    ):
        (own,) = [
            (text.text[each.text_start : each.text_end], each.asks_first)
            for text in texts
            for each in text.passages
            if text.text[each.text_start : each.text_end].startswith(words)
        ]
        assert own[1] or own[0] in before
    tokenizer = load_tokenizer(config.tokenizer.name)
    assert all(len(tokenizer(each.text).input_ids) < seq_len for each in texts)
    shards = domain(config)
    assert (shards.num_parted_pairs, shards.num_cut_texts) == (0, 0)
    counts = read_stats(config.corpus, 1)["counts"]
    assert counts["split/documents"] > 3
    assert shards.num_pairs > 5
    lost = counts.get("render/rejected_pairs_beyond_row", 0)
    assert counts["synthesize/pairs"] == shards.num_pairs + lost
    assert lost == (len(rejects_in(config.corpus, "render")) if lost else 0)
    found = " ".join(
        "".join(text.text[p.text_start : p.text_end] if p.text_end else text.text[p.start : p.end])
        for text in texts
        for p in text.passages
    )
    assert set(re.findall(r"Study \d+", found)) == {f"Study {n}" for n in range(78)}


def test_pairs_parted_at_row_ends_are_counted_and_said(
    config_of: Config, asking: Any, build: Any, texts_in: Texts, tutelage: Any, tmp_path: Path
) -> None:
    config = config_of(512, synthesis=asking, pack={"method": "concat", "top_up": False})
    (tmp_path / "c.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    done = tutelage("corpus", "build", f"{tmp_path}/c.yaml")
    assert done.status == 0, done.err
    shards = domain(config)
    assert (
        0
        < num_parted(decoded_rows(config), texts_in(config.corpus))
        <= shards.num_parted_pairs
        < shards.num_pairs
    )
    share = f"{shards.num_parted_pairs} ({shards.num_parted_pairs / shards.num_pairs:.1%})"
    assert f"    pairs without their whole passage in the row: {share}" in done.out
    assert f"    texts that go on in another row: {shards.num_cut_texts} of {shards.num_texts}" in done.out
    stats = read_stats(config.corpus, 1)["streams"]["domain"]
    assert stats["num_parted_pairs"] == shards.num_parted_pairs
    assert share in tutelage("corpus", "show", config.corpus, "--texts", "0").out


def test_pairs_before_their_passage_are_counted_apart_and_fill_no_row_without_it(
    config_of: Config, asking: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugins.templates.reading_comprehension.TEXT_LAST_SHARE", 1.0)
    config = config_of(512, synthesis=asking)
    build(config)
    shards = domain(config)
    assert shards.num_pairs_asked_first == shards.num_pairs > 0
    assert shards.num_parted_pairs == 0


def test_the_model_reads_pairs_apart_from_their_text_before_and_after_compaction(
    config_of: Config, asking: Any, build: Any, texts_in: Texts, tmp_path: Path, write_jsonl: Any
) -> None:
    config = config_of(512, synthesis=asking, templates="pairs_apart", pack={"top_up": False})
    build(config)

    def check(number: int) -> None:
        tokenizer = load_tokenizer(config.tokenizer.name)
        shards = read_manifest(config.corpus, number).shard_sets("domain")[-1]
        segments: Counter[str] = Counter()
        for row in read_rows(config.corpus, shards):
            ends = np.cumsum(row["segment_lengths"])
            for start, end in zip([0, *ends], ends, strict=False):
                segments[tokenizer.decode(row["tokens"][start:end], skip_special_tokens=True)] += 1
        texts = texts_in(config.corpus, number=number)
        assert segments == Counter(part for text in texts for part in text.parts)
        for text in texts:
            (passage,) = text.passages
            own, pairs = text.parts
            assert own == text.text[passage.text_start : passage.text_end]
            assert "Ask" not in own and [pairs.count(f"Ask {n} of") for n in range(3)] == [1, 1, 1]
        assert shards.num_parted_pairs == shards.num_pairs == 3 * shards.num_texts
        assert shards.num_cut_texts == 0

    check(1)
    lines = (tmp_path / "domain.jsonl").read_text().splitlines()
    changed = json.loads(lines[0])
    write_jsonl(tmp_path / "domain.jsonl", [changed | {"text": changed["text"] + " It was said again."}])
    build(config)
    compact(config, quiet=True)
    check(3)


def test_a_general_text_that_goes_on_in_another_row_is_counted_planned_and_said(
    config_of: Config, asking: Any, tutelage: Any, tmp_path: Path
) -> None:
    config = config_of(128, synthesis=asking)
    (tmp_path / "c.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    planned = plan_increment(config, quiet=True)
    assert planned.streams["general"].num_cut_texts == 1
    done = tutelage("corpus", "build", f"{tmp_path}/c.yaml")
    general = read_manifest(config.corpus).increments[0].streams["general"]
    assert (general.num_cut_texts, general.num_parted_pairs, general.num_pairs) == (1, 0, 0)
    assert "    texts that go on in another row: 1 of 1" in done.out
    counts = read_stats(config.corpus, 1)["counts"]
    assert planned.streams["domain"].num_parts == counts["split/parts"]
    assert planned.streams["general"].num_rows == general.num_samples


def test_a_plan_estimates_texts_and_rows_of_documents_longer_than_a_row(
    config_of: Config, asking: Any, build: Any
) -> None:
    config = config_of(512, synthesis=asking)
    planned = plan_increment(config, quiet=True).streams["domain"]
    build(config)
    shards = domain(config)
    assert planned.num_texts == pytest.approx(shards.num_texts, rel=0.3)
    assert planned.num_rows == pytest.approx(shards.num_samples, rel=0.3)


def test_a_row_without_room_for_any_document_is_refused_before_anything_is_read(config_of: Config) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_increment(config_of(24), quiet=True)
    assert str(caught.value) == (
        "pack.seq_len 24 leaves 11 tokens of a row for a document, beside 1 of BOS and EOS and half a row "
        "for its pairs; at least 16 are needed. Raise pack.seq_len."
    )


def test_a_corpus_built_before_is_shown_extended_and_compacted_with_its_long_texts_counted(
    config_of: Config,
    build: Any,
    tutelage: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    write_jsonl: Any,
    passages: Any,
    texts_in: Texts,
) -> None:
    config = config_of(512)
    wide = config.model_copy(update={"pack": config.pack.model_copy(update={"seq_len": 4096})})
    with monkeypatch.context() as before:
        before.setattr(corpus, "SplitDocuments", lambda _: SplitDocuments(wide))
        before.setattr(corpus, "RenderTexts", lambda _: RenderTexts(wide))
        build(config)
    forget(config)
    assert domain(config).num_parted_pairs is None
    assert "not counted" in tutelage("corpus", "show", config.corpus, "--texts", "0").out
    old = {text.text for text in texts_in(config.corpus)}
    write_jsonl(tmp_path / "domain.jsonl", [{"id": "more", "text": passages(80)[79]["text"]}])
    build(config)
    assert domain(config, 2).num_parted_pairs == 0
    compact(config, quiet=True)
    assert {text.text for text in texts_in(config.corpus, number=3)} >= old
    shards = domain(config, 3)
    assert 0 < shards.num_cut_texts < shards.num_texts
    assert 0 < shards.num_parted_pairs < shards.num_pairs


def forget(config: CorpusConfig) -> None:
    """Remove the values that older versions did not write from increment 1."""
    manifest = Path(config.corpus) / "manifest/000001.json"
    values = json.loads(manifest.read_text())
    for shards in values["increments"][0]["streams"].values():
        for name in ("num_cut_texts", "num_parted_pairs", "num_pairs_asked_first"):
            del shards[name]
    manifest.write_text(json.dumps(values))
    for path in (located(config.corpus, "increments/000001/texts")).iterdir():
        texts = [json.loads(line) for line in storage.read_lines_zst(str(path))]
        for text in texts:
            for passage in text["passages"]:
                for name in ("text_start", "text_end", "asks_first"):
                    passage.pop(name, None)
        storage.write_lines_zst(str(path), (json.dumps(text) for text in texts))
