"""Corpora from Python: building, planning, and reading records as iterators and tables."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import ConfigError, CorpusError
from tutelage import Corpus, build, plan


@pytest.fixture(scope="module")
def grown(
    tmp_path_factory: pytest.TempPathFactory,
    passages: Callable[[int], list[dict[str, str]]],
    write_jsonl: Callable[..., str],
    corpus_config: Callable[..., Any],
) -> Corpus:
    """A corpus of two increments; the second replaces doc-1."""
    folder = tmp_path_factory.mktemp("api")
    rows = passages(4)
    source = write_jsonl(folder / "raw" / "a.jsonl", rows)
    config = corpus_config(folder / "corpus", source)
    first = build(config, quiet=True)
    assert first.manifest.number == 1
    rows[1]["text"] = "Because the dose was doubled, patient one was well. However, the trial went on."
    write_jsonl(Path(source), rows)
    return build(config.model_dump(mode="json", exclude_unset=True), ["seed=17"], quiet=True)


def test_documents_are_the_current_ones_with_their_text(grown: Corpus) -> None:
    found = {each.document_id: each for each in grown.documents()}

    assert sorted(found) == ["doc-0", "doc-1", "doc-2", "doc-3"]
    assert found["doc-1"].text == (
        "Because the dose was doubled, patient one was well. However, the trial went on."
    )
    assert (found["doc-1"].increment, found["doc-1"].stream, found["doc-0"].increment) == (2, "domain", 1)
    assert all(each.num_pairs for each in found.values())


def test_pairs_are_those_of_current_documents_and_texts_are_all(grown: Corpus) -> None:
    pairs = list(grown.pairs())

    assert {pair.document_id for pair in pairs} == {"doc-0", "doc-1", "doc-2", "doc-3"}
    assert len(pairs) == sum(each.num_pairs for each in grown.documents())
    superseded = [text for text in grown.texts() if "doc-1" in text.document_ids]
    assert len(superseded) == 2  # the old one and the new one
    assert sum(len(text.pairs) for text in grown.texts()) > len(pairs)


def test_rows_are_as_many_as_the_manifest_says_and_end_with_their_segments(grown: Corpus) -> None:
    rows = list(grown.rows("domain"))

    assert len(rows) == sum(shards.num_samples for shards in grown.manifest.shard_sets("domain"))
    assert all(len(row.tokens) == 4096 and row.segment_lengths.sum() <= 4096 for row in rows)


def test_records_are_read_anew_by_each_iteration(grown: Corpus) -> None:
    pairs = grown.pairs()

    assert list(pairs) == list(pairs) != []


@pytest.mark.parametrize("kind", ["texts", "pairs", "documents", "rows"])
def test_tables_have_the_rows_of_the_iterator(grown: Corpus, kind: str) -> None:
    records = getattr(grown, kind)()
    table = records.to_arrow()

    assert table.num_rows == len(list(records)) > 0
    assert table.schema == records.schema
    assert [batch.num_rows for batch in records.batches(1)] == [1] * table.num_rows
    frame = records.to_pandas()
    assert list(frame.columns) == table.column_names
    assert len(frame) == table.num_rows


def test_a_table_without_rows_has_its_columns(grown: Corpus) -> None:
    records = grown.pairs()
    records._read = lambda: iter(())  # type: ignore[method-assign]

    assert records.to_arrow().schema.field("options").type == pa.list_(pa.string())
    assert records.to_arrow().num_rows == 0


def test_pairs_are_a_dataset(grown: Corpus) -> None:
    pytest.importorskip("datasets")
    dataset = grown.pairs().to_dataset()

    assert dataset[0]["instruction"] == next(iter(grown.pairs())).instruction


def test_a_missing_package_is_named_with_its_cure(grown: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(ConfigError, match=r"datasets is not installed. .*tutelage\[huggingface\]"):
        grown.pairs().to_dataset()


def test_a_corpus_keeps_its_manifest_and_reads_older_ones(grown: Corpus) -> None:
    old = Corpus(grown.uri, manifest=1)

    assert (old.manifest.number, grown.manifest.number) == (1, 2)
    assert {each.increment for each in old.documents()} == {1}
    assert repr(old) == f"Corpus({grown.uri!r}, manifest=1)"
    assert old.stats()["counts"] == grown.stats(1)["counts"] != grown.stats()["counts"]


def test_wrong_names_are_refused_when_they_are_given(grown: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stream 'domian' is unknown. Did you mean 'domain'"):
        grown.texts("domian")
    with pytest.raises(ConfigError, match="no increment 7; manifest has 1, 2"):
        grown.stats(7)
    with pytest.raises(CorpusError, match="holds no published corpus"):
        Corpus(str(tmp_path))
    with pytest.raises(ConfigError, match="CorpusConfig: key 'copus' is unknown"):
        plan({"copus": "x"})


def test_a_plan_counts_and_writes_nothing(
    tmp_path: Path,
    passages: Callable[[int], list[dict[str, str]]],
    write_jsonl: Callable[..., str],
    corpus_config: Callable[..., Any],
) -> None:
    config = corpus_config(tmp_path / "corpus", write_jsonl(tmp_path / "a.jsonl", passages(3)))

    assert plan(config, quiet=True).total.num_new == 3
    assert not (tmp_path / "corpus").exists()


@pytest.mark.slow
def test_a_script_without_a_main_guard_builds_with_several_workers(
    tmp_path: Path,
    passages: Callable[[int], list[dict[str, str]]],
    write_jsonl: Callable[..., str],
    tokenizer_dir: str,
) -> None:
    write_jsonl(tmp_path / "a.jsonl", passages(6))
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            from tutelage import build
            corpus = build(
                {{
                    "corpus": "corpus",
                    "streams": {{"domain": {{"synthesize": True, "sources": [{{"uri": "a.jsonl"}}]}}}},
                    "tokenizer": {{"name": {tokenizer_dir!r}}},
                    "pack": {{"seq_len": 4096}},
                }},
                beam_options=["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
            )
            print(len(list(corpus.documents())))
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )

    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


@pytest.mark.slow
def test_reading_a_corpus_imports_no_beam() -> None:
    code = (
        "import sys; from tutelage import Corpus; sys.exit(bool({'apache_beam', 'torch'} & {*sys.modules}))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
