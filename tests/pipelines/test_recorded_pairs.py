"""Corpora whose pairs come from a file: the same bytes again, plans, counts, and pairs of another corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.planning.plan import plan_increment
from schemas.corpus_config import CorpusConfig

pytestmark = pytest.mark.slow


@pytest.fixture
def config_of(
    tmp_path: Path, corpus_config: Callable[..., CorpusConfig], passages: Any, write_jsonl: Any
) -> Callable[..., CorpusConfig]:
    """A corpus of four documents; pairs are about two of them and about one that the corpus lacks."""
    source = write_jsonl(tmp_path / "in.jsonl", passages(4))
    pair = {"instruction": "What is the dose?", "response": "2 mg"}
    rows = [{"document_id": name, **pair} for name in ("doc-1", "doc-2", "doc-2", "doc-9")]
    pairs = write_jsonl(tmp_path / "pairs.jsonl", rows)

    def config(name: str, pairs: str = pairs) -> CorpusConfig:
        synthesis = {"backend": "recorded", "options": {"pairs": pairs}}
        return corpus_config(tmp_path / name, source, synthesis=synthesis)

    return config


def test_two_builds_are_equal_and_need_no_journal(
    config_of: Callable[..., CorpusConfig], build: Any, digests_of: Any
) -> None:
    one, two = config_of("one"), config_of("two")
    build(one)
    build(two, "--direct_num_workers=2", "--direct_running_mode=multi_threading")
    assert digests_of(one.corpus) == digests_of(two.corpus) != {}
    assert list(Path(one.corpus).glob("journal/**/*.zst")) == []


def test_a_plan_counts_documents_and_no_requests(config_of: Callable[..., CorpusConfig]) -> None:
    total = plan_increment(config_of("planned"), quiet=True).total
    assert (total.num_new, total.num_requests) == (4, 0)


def test_a_build_reports_every_line_that_made_no_pair(
    config_of: Callable[..., CorpusConfig], tutelage: Any, tmp_path: Path
) -> None:
    yaml = tmp_path / "c.yaml"
    yaml.write_text(json.dumps(config_of("built").model_dump(mode="json")))
    done = tutelage("corpus", "build", str(yaml))
    assert done.status == 0
    assert "  synthesis: 2 pairs for 2 of 4 documents\n" in done.out
    assert "  of the answers were dropped: 1 repeated pairs\n" in done.out
    assert (
        "  1 recorded pairs are about 1 documents that this increment lacks; the first: doc-9\n" in done.out
    )


def test_exported_pairs_make_the_same_texts_again(
    config_of: Callable[..., CorpusConfig], build: Any, tutelage: Any, texts_in: Any, tmp_path: Path
) -> None:
    first = config_of("first")
    build(first)
    done = tutelage(
        "corpus", "export-pairs", first.corpus, "--with-passage", "--output", f"{tmp_path}/out.jsonl"
    )
    assert done.status == 0
    again = config_of("again", f"{tmp_path}/out.jsonl")
    build(again)
    assert [text.text for text in texts_in(again.corpus)] == [text.text for text in texts_in(first.corpus)]
