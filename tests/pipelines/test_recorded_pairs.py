"""Corpora whose pairs come from a file: the same bytes again, plans, unused pairs, changed and bad files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.preflight_checks import newest_manifest
from pipelines.planning.plan import plan_increment
from schemas.corpus_config import CorpusConfig

pytestmark = pytest.mark.slow


PAIR = {"instruction": "What is the dose?", "response": "2 mg"}


@pytest.fixture
def config_of(
    tmp_path: Path, corpus_config: Callable[..., CorpusConfig], passages: Any, write_jsonl: Any
) -> Callable[..., CorpusConfig]:
    """A corpus of four documents; pairs are about two of them and about one that the corpus lacks."""
    source = write_jsonl(tmp_path / "in.jsonl", passages(4))
    rows = [{"document_id": name, **PAIR} for name in ("doc-1", "doc-2", "doc-2", "doc-9")]
    pairs = write_jsonl(tmp_path / "pairs.jsonl", rows)

    def config(name: str, pairs: str = pairs, **changes: Any) -> CorpusConfig:
        synthesis = {"backend": "recorded", "options": {"pairs": pairs}}
        return corpus_config(tmp_path / name, source, synthesis=synthesis, **changes)

    return config


WHY = "(document_id is wrong, or they were rejected)"


def yaml_of(folder: Path, config: CorpusConfig) -> str:
    path = folder / "c.yaml"
    path.write_text(json.dumps(config.model_dump(mode="json")))
    return str(path)


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
    done = tutelage("corpus", "build", yaml_of(tmp_path, config_of("built")))
    assert done.status == 0
    assert "  synthesis: 2 pairs for 2 of 4 documents\n" in done.out
    assert "  of the answers were dropped: 1 repeated pairs\n" in done.out
    assert f"  1 recorded pairs are about 1 documents that the corpus lacks {WHY}: doc-9\n" in done.out


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


def test_pairs_that_no_text_has_are_told_by_where_their_documents_are(
    config_of: Callable[..., CorpusConfig], tutelage: Any, tmp_path: Path, passages: Any, write_jsonl: Any
) -> None:
    """Documents 10 to 29 come in the second increment. Seven documents of the file do not exist."""
    bad = [*(f"bad-{number}" for number in range(6)), "notes/doc-1"]
    named = [*(f"doc-{number}" for number in range(30)), *bad, *bad]
    pairs = write_jsonl(tmp_path / "all.jsonl", [{"document_id": name, **PAIR} for name in named])
    config = config_of("parted", pairs, holdout="20%")
    yaml = yaml_of(tmp_path, config)
    write_jsonl(tmp_path / "in.jsonl", passages(10))
    assert tutelage("corpus", "build", yaml).status == 0
    held_out_before = sum(newest_manifest(config).increments[0].num_held_out.values())
    write_jsonl(tmp_path / "in.jsonl", passages(30))
    done = tutelage("corpus", "build", yaml)
    held_out = held_out_before + sum(newest_manifest(config).increments[1].num_held_out.values())
    assert 0 < held_out_before < held_out
    lines = [line for line in done.out.splitlines() if "recorded pairs are" in line]
    assert lines == [
        f"  14 recorded pairs are about 7 documents that the corpus lacks {WHY}: bad-0, bad-1, bad-2, bad-3, "
        "bad-4, …",
        f"  {held_out} recorded pairs are about {held_out} documents that are held out",
        f"  {10 - held_out_before} recorded pairs are about {10 - held_out_before} documents of earlier "
        "increments, which keep the pairs that they have",
    ]


def test_documents_of_earlier_increments_are_known_by_the_end_of_their_path(
    config_of: Callable[..., CorpusConfig], tutelage: Any, tmp_path: Path, write_jsonl: Any
) -> None:
    rows = [{"id": f"/data/notes/{name}.txt", "text": f"The dose of {name} is 2 mg."} for name in "abc"]
    pairs = write_jsonl(
        tmp_path / "all.jsonl",
        [{"document_id": name, **PAIR} for name in ("notes/a.txt", "b.txt", "c.txt", "notes/d.txt")],
    )
    yaml = yaml_of(tmp_path, config_of("paths", pairs, dedup={"near": None}))
    write_jsonl(tmp_path / "in.jsonl", rows[:2])
    assert tutelage("corpus", "build", yaml).status == 0
    write_jsonl(tmp_path / "in.jsonl", rows)
    done = tutelage("corpus", "build", yaml)
    assert f"  1 recorded pairs are about 1 documents that the corpus lacks {WHY}: notes/d.txt\n" in done.out
    assert "  2 recorded pairs are about 2 documents of earlier increments" in done.out


def test_corrected_pairs_are_said_to_be_unused_until_the_corpus_takes_them(
    config_of: Callable[..., CorpusConfig], tutelage: Any, tmp_path: Path, passages: Any, write_jsonl: Any
) -> None:
    config = config_of("corrected")
    yaml = yaml_of(tmp_path, config)
    said = f"is not the pairs file that increment 1 of {config.corpus} noted. Documents in the corpus keep"
    assert said not in tutelage("corpus", "build", yaml).err
    assert said not in tutelage("corpus", "build", yaml).err
    rows = [{"document_id": f"doc-{number}", **PAIR, "response": "3 mg"} for number in range(9)]
    corrected = write_jsonl(tmp_path / "corrected.jsonl", rows)
    with_corrected = f"synthesis.options.pairs={corrected}"
    for command in (("plan",), ("build",), ("build", "--reread"), ("build",)):
        done = tutelage("corpus", command[0], yaml, with_corrected, *command[1:])
        assert (done.status, f"{corrected} {said}" in done.err) == (0, True)
    done = tutelage("corpus", "build", yaml, with_corrected, "--retry-empty")
    assert f"{corrected} {said}" in done.err
    assert "  synthesis: 2 pairs for 2 of 2 documents\n" in done.out  # those that had none
    assert "noted" not in tutelage("corpus", "build", yaml, with_corrected).err


@pytest.mark.parametrize("share", [0.9, 1])
def test_pairs_about_no_document_of_the_corpus_publish_nothing(
    config_of: Callable[..., CorpusConfig], tutelage: Any, tmp_path: Path, write_jsonl: Any, share: float
) -> None:
    rows = [{"document_id": f"pmid-{number}", **PAIR} for number in range(7)]
    pairs = write_jsonl(tmp_path / "others.jsonl", rows)
    config = config_of("others", pairs)
    done = tutelage("corpus", "build", yaml_of(tmp_path, config), f"synthesis.max_empty_share={share}")
    assert done.status == 2
    assert (
        f"ConfigError: synthesis.options.pairs {pairs}: the corpus has none of the 7 documents that the file "
        "names, such as 'pmid-0', 'pmid-1', 'pmid-2', 'pmid-3', 'pmid-4'; nothing was published. This "
        "increment has 'doc-0', 'doc-1', 'doc-2', 'doc-3'. Check document_id in the file, and id_field"
    ) in done.err
    assert newest_manifest(config) is None


def test_new_documents_without_pairs_are_published_if_the_file_is_about_earlier_ones(
    config_of: Callable[..., CorpusConfig], tutelage: Any, tmp_path: Path, passages: Any, write_jsonl: Any
) -> None:
    yaml = yaml_of(tmp_path, config_of("later"))
    assert tutelage("corpus", "build", yaml).status == 0
    write_jsonl(tmp_path / "in.jsonl", passages(6))
    done = tutelage("corpus", "build", yaml)
    assert done.status == 0
    assert "  domain: NO document of this increment has pairs\n" in done.out


@pytest.mark.parametrize("command", ["build", "plan", "watch"])
def test_a_bad_line_ends_a_command_before_a_source_is_read(
    config_of: Callable[..., CorpusConfig], tutelage: Any, tmp_path: Path, write_jsonl: Any, command: str
) -> None:
    pairs = write_jsonl(tmp_path / "bad.jsonl", [{"document_id": "doc-1", **PAIR, "options": "2 mg"}])
    config = config_of("bad", pairs)
    (tmp_path / "in.jsonl").unlink()
    done = tutelage("corpus", command, yaml_of(tmp_path, config))
    assert done.status == 2
    assert "bad.jsonl: line 1: key 'options' is \"2 mg\", expected a list of strings." in done.err
