"""Whole builds on this machine, with the real readers and the rule-mining synthesizer."""

from __future__ import annotations

import gzip
import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import yaml
import zstandard

from pipelines.increments.build import build_increment
from pipelines.increments.increment_summary import print_increment
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.mined import MinedSynthesizer
from plugins.tokenizers import load_tokenizer
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError, CorpusError, InputError, SynthesisError
from schemas.manifest import read_manifest
from schemas.records import Chain, SynthesizedDocument
from tests.published import read_stats

Config = Callable[..., CorpusConfig]
Build = Callable[..., Any]
NOTE = "sources.jsonl.zst"
"""Note of files already read. Test files are too new to be recognized by their time."""

TOKENIZER = ("files.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def three_readers(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer_dir: str,
    passages: Any,
    corpus_config: Config,
    build: Build,
) -> CorpusConfig:
    """A corpus of one increment, read from jsonl.zst, text, text.gz and parquet, with two streams."""
    root = tmp_path_factory.mktemp("three-readers")
    rows = passages(16)
    lines = "".join(json.dumps({"uid": row["id"], "body": {"text": row["text"]}}) + "\n" for row in rows[:8])
    (root / "a.jsonl.zst").write_bytes(zstandard.compress(f"{lines}{{broken\n".encode()))
    (root / "notes").mkdir()
    (root / "notes/one.txt").write_text(rows[8]["text"])
    (root / "notes/two.txt.gz").write_bytes(gzip.compress(rows[9]["text"].encode()))
    (root / "notes/short.txt").write_text("Two words.")
    table = pyarrow.table({"text": [row["text"] for row in rows[10:]], "n": list(range(6))})
    pyarrow.parquet.write_table(table, root / "b.parquet")
    qa = [{"q": f"What is {number}?", "a": f"It is the number {number}, no more."} for number in range(5)]
    (root / "general.jsonl").write_text("".join(json.dumps(row) + "\n" for row in qa))
    streams = {
        "domain": {
            "synthesize": True,
            "sources": [
                {
                    "reader": "jsonl",
                    "uri": f"{root}/a.jsonl.zst",
                    "text_field": "body.text",
                    "id_field": "uid",
                },
                {"reader": "text", "uri": f"{root}/notes"},
                {"reader": "parquet", "uri": f"{root}/*.parquet"},
            ],
        },
        "general": {"sources": [{"reader": "jsonl", "uri": f"{root}/general.jsonl", "format": "{q} {a}"}]},
    }
    config = corpus_config(root / "corpus", streams=streams)
    build(config)
    return config


@pytest.fixture
def one_file(tmp_path: Path, passages: Any, write_jsonl: Any, corpus_config: Config) -> CorpusConfig:
    """A corpus not yet built, of twelve documents in one file."""
    return corpus_config(tmp_path / "corpus", write_jsonl(tmp_path / "in/a.jsonl", passages(12)))


def contents(folder: str | Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.parent.name != "lock"
    }


@pytest.mark.slow
def test_an_increment_holds_what_the_design_names(
    three_readers: CorpusConfig, files_of: Any, rejects_in: Any, texts_in: Any
) -> None:
    corpus = three_readers.corpus
    shards = ["00000/group.json", "00000/index.json", "00000/shard.00000.mds.zstd", "index.json"]
    assert files_of(corpus) == sorted(
        [
            *(
                f"dedup/000001.{stream}/{name}"
                for stream in ("domain", "general")
                for name in ("00000.near", "index.json")
            ),
            "increments/000001/README.md",
            "increments/000001/lineage/domain-00000.jsonl.zst",
            "increments/000001/lineage/general-00000.jsonl.zst",
            "increments/000001/pairs/domain-00000.jsonl.zst",
            "increments/000001/rejects/clean.jsonl.zst",
            "increments/000001/rejects/read.jsonl.zst",
            "increments/000001/report.html",
            *(
                f"increments/000001/shards/{stream}/{name}"
                for stream in ("domain", "general")
                for name in shards
            ),
            "increments/000001/stats.json",
            "increments/000001/texts/domain-00000.jsonl.zst",
            "increments/000001/texts/general-00000.jsonl.zst",
            "ledger/000001.domain.ledger",
            "ledger/000001.general.ledger",
            "manifest/000001.json",
            *(f"tokenizer/{read_manifest(corpus).tokenizer}/{name}" for name in TOKENIZER),
            NOTE,
        ]
    )
    root = Path(corpus).parent
    (broken,) = rejects_in(corpus, "read")
    assert (broken["reason"], broken["source"]) == ("invalid_json", f"{root}/a.jsonl.zst:9")
    assert rejects_in(corpus, "clean") == [
        {
            "stage": "clean",
            "reason": "too_short",
            "document_id": f"{root}/notes/short.txt",
            "source": f"{root}/notes/short.txt",
            "detail": "2 words, at least 5",
        }
    ]
    names = [name for text in texts_in(corpus) for name in text.document_ids]
    assert sorted(names) == sorted(
        [
            *(f"doc-{number}" for number in range(8)),
            f"{root}/notes/one.txt",
            f"{root}/notes/two.txt.gz",
            *(f"{root}/b.parquet:{row}" for row in range(6)),
        ]
    )
    assert sorted(text.text for text in texts_in(corpus, "general")) == [
        f"What is {number}? It is the number {number}, no more." for number in range(5)
    ]


@pytest.mark.slow
def test_the_manifest_and_statistics_say_what_was_done(three_readers: CorpusConfig, texts_in: Any) -> None:
    manifest = read_manifest(three_readers.corpus)
    (increment,) = manifest.increments
    assert (manifest.number, manifest.seq_len, manifest.pad_token_id) == (1, 4096, 0)
    assert (increment.num_documents, increment.superseded_document_ids) == (21, ())
    assert increment.streams["domain"].num_texts == len(texts_in(three_readers.corpus))
    assert increment.streams["general"].num_texts == 5
    stats = read_stats(three_readers.corpus, 1)
    counts = stats["counts"]
    assert {name: counts[name] for name in ("read/documents", "ledger/new", "synthesize/documents")} == {
        "read/documents": 22,
        "ledger/new": 21,
        "synthesize/documents": 16,
    }
    once = sum(shards.num_tokens - shards.num_repeated_tokens for shards in increment.streams.values())
    assert counts["tokenize/tokens"] == once
    assert stats["config"] == three_readers.model_dump(mode="json")
    assert stats["versions"].keys() >= {"apache-beam", "tokenizers", "transformers", "zstandard"}


def test_rows_read_through_a_cache_hold_every_text_token_by_token(
    three_readers: CorpusConfig, texts_in: Any, tmp_path: Path
) -> None:
    StreamingDataset = pytest.importorskip("streaming").StreamingDataset

    tokenizer = load_tokenizer(three_readers.tokenizer.name)
    for stream, shards in read_manifest(three_readers.corpus).increments[0].streams.items():
        rows = StreamingDataset(
            remote=f"{three_readers.corpus}/{shards.path}",
            local=str(tmp_path / stream),
            batch_size=1,
            shuffle=False,
        )
        assert len(rows) == shards.num_samples
        whole: dict[str, int] = {}
        beginnings, num_tokens = [], 0
        for row in rows:
            at = 0
            for length in row["segment_lengths"].tolist():
                segment = row["tokens"][at : at + length].tolist()
                if segment[-1] == tokenizer.eos_token_id:
                    whole[tokenizer.decode(segment[:-1])] = length
                else:
                    beginnings.append(tokenizer.decode(segment))
                at += length
            assert (row["tokens"][at:] == 0).all()
            num_tokens += at
        texts = [text.text for text in texts_in(three_readers.corpus, stream)]
        assert sorted(whole) == sorted(texts)
        assert all(any(text.startswith(each) for text in texts) for each in beginnings)
        assert num_tokens == shards.num_tokens
        assert sum(whole.values()) == num_tokens - shards.num_repeated_tokens  # some texts repeat


@pytest.mark.slow
def test_a_build_without_anything_new_publishes_nothing(three_readers: CorpusConfig, build: Build) -> None:
    def published() -> dict[str, bytes]:
        return {name: data for name, data in contents(three_readers.corpus).items() if name != NOTE}

    before = published()
    assert build(three_readers) is None
    assert published() == before


@pytest.mark.slow
def test_new_and_changed_documents_make_an_increment_and_leave_the_old_as_it_was(
    one_file: CorpusConfig, passages: Any, write_jsonl: Any, build: Build, texts_in: Any, tmp_path: Path
) -> None:
    rows = passages(14)
    build(one_file)
    before = contents(one_file.corpus)
    rows[3]["text"] = "An entirely new text takes the place of what this document said."
    copy = {"id": "another name", "text": rows[5]["text"].upper()}
    write_jsonl(tmp_path / "in/a.jsonl", [*rows, copy])
    manifest = build(one_file)
    assert manifest.number == 2
    assert manifest.increments[0] == read_manifest(one_file.corpus, 1).increments[0]
    assert manifest.increments[1].num_documents == 3
    assert manifest.increments[1].superseded_document_ids == ("doc-3",)
    names = [name for text in texts_in(one_file.corpus, number=2) for name in text.document_ids]
    assert sorted(names) == ["doc-12", "doc-13", "doc-3"]
    del before[NOTE]
    assert {name: data for name, data in contents(one_file.corpus).items() if name in before} == before
    rows[3]["text"] = passages(4)[3]["text"]  # the original text
    write_jsonl(tmp_path / "in/a.jsonl", rows)
    third = build(one_file).increments[2]
    assert (third.num_documents, third.superseded_document_ids) == (1, ("doc-3",))


@pytest.fixture(scope="module")
def many(
    tmp_path_factory: pytest.TempPathFactory,
    passages: Any,
    write_jsonl: Any,
    corpus_config: Config,
    build: Build,
    digests_of: Any,
) -> tuple[Callable[[str | Path, str], CorpusConfig], list[dict[str, str]], dict[str, str]]:
    """A configuration with several buckets and groups, its rows, and the digests of a plain build."""
    root = tmp_path_factory.mktemp("many")
    rows = passages(60)

    def config(corpus: str | Path, source: str) -> CorpusConfig:
        return corpus_config(
            corpus,
            source,
            chains={"max_documents": 3, "bucket_documents": 15},
            pack={"seq_len": 512},
            shards={"group_tokens": 8192, "size_limit_bytes": 4096},
        )

    build(config(root / "corpus", write_jsonl(root / "a.jsonl", rows)))
    return config, rows, digests_of(root / "corpus")


@pytest.mark.slow
def test_the_determinism_tests_compare_several_buckets_groups_and_shards(many: Any) -> None:
    _, _, digests = many
    groups = {name.split("/")[4] for name in digests if name.endswith("group.json")}
    shards = [name for name in digests if name.endswith(".mds.zstd")]
    assert len(groups) >= 3
    assert len(shards) > len(groups)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ("--direct_num_workers=2", "--direct_running_mode=multi_processing"), id="two processes"
        ),
        pytest.param(
            ("--direct_num_workers=3", "--direct_running_mode=multi_processing"), id="three processes"
        ),
        pytest.param(("--direct_num_workers=2", "--direct_running_mode=multi_threading"), id="two threads"),
        pytest.param(("--direct_runner_bundle_repeat=1",), id="every bundle twice"),
    ],
)
def test_the_bytes_do_not_depend_on_workers_or_retries(
    many: Any, options: tuple[str, ...], tmp_path: Path, write_jsonl: Any, build: Build, digests_of: Any
) -> None:
    config, rows, expected = many
    manifest = build(config(tmp_path / "corpus", write_jsonl(tmp_path / "a.jsonl", rows)), *options)
    assert digests_of(tmp_path / "corpus") == expected
    assert manifest.increments[0].num_documents == 60


@pytest.mark.slow
@pytest.mark.parametrize("num_files", [1, 3])
def test_the_bytes_do_not_depend_on_files_or_order(
    many: Any, num_files: int, tmp_path: Path, write_jsonl: Any, build: Build, digests_of: Any
) -> None:
    config, rows, expected = many
    for number in range(num_files):
        write_jsonl(tmp_path / f"in/{number}.jsonl", rows[::-1][number::num_files])
    build(config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl"))
    assert digests_of(tmp_path / "corpus") == expected


@pytest.mark.slow
def test_another_seed_gives_other_texts(
    many: Any, tmp_path: Path, write_jsonl: Any, build: Build, digests_of: Any
) -> None:
    config, rows, expected = many
    other = config(tmp_path / "corpus", write_jsonl(tmp_path / "a.jsonl", rows))
    build(other.model_copy(update={"seed": 18}))
    assert digests_of(tmp_path / "corpus") != expected


@pytest.mark.slow
def test_a_corpus_can_lie_in_memory(
    one_file: CorpusConfig, build: Build, digests_of: Any, tmp_path: Path, texts_in: Any
) -> None:
    uri = f"memory://build-{uuid.uuid4().hex}"
    config = one_file.model_copy(update={"corpus": uri})
    assert build(config).number == 1
    assert build(config) is None
    (tmp_path / "in/b.jsonl").write_text(json.dumps({"id": "b", "text": "One more text for the corpus."}))
    sources = (one_file.streams["domain"].sources[0].model_copy(update={"uri": f"{tmp_path}/in/*.jsonl"}),)
    streams = {"domain": one_file.streams["domain"].model_copy(update={"sources": sources})}
    assert build(config.model_copy(update={"streams": streams})).number == 2
    build(one_file)
    assert texts_in(uri) == texts_in(one_file.corpus)
    fs, path = storage.filesystem(uri)
    fs.get(path, str(tmp_path / "copy"), recursive=True)
    local = digests_of(one_file.corpus)
    copied = digests_of(tmp_path / "copy")
    assert {name: copied[name] for name in local} == local


class Failing(Synthesizer):
    """Synthesizer that fails for every fourth document, by the number in its name."""

    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        return tuple(
            SynthesizedDocument(
                document=document,
                failure="unreachable: no answer" if int(document.document_id.split("-")[1]) % 4 == 0 else "",
            )
            for document in chain.documents
        )


@pytest.mark.slow
def test_more_failures_than_allowed_end_the_run_early_and_publish_nothing(
    one_file: CorpusConfig, synthesizer: Any, build: Build, files_of: Any
) -> None:
    synthesis = one_file.synthesis.model_copy(update={"backend": synthesizer(Failing)})
    with pytest.raises(SynthesisError, match=r"^1 of 12 documents failed, .*: unreachable: no answer$"):
        build(one_file.model_copy(update={"synthesis": synthesis}))
    assert files_of(one_file.corpus) == []


@pytest.mark.slow
def test_failures_of_several_streams_that_are_too_many_together_publish_nothing(
    one_file: CorpusConfig, synthesizer: Any, build: Build, files_of: Any
) -> None:
    """No single worker exceeds the limit."""
    synthesis = one_file.synthesis.model_copy(
        update={"backend": synthesizer(Failing), "max_failure_share": 0.2}
    )
    streams = {name: one_file.streams["domain"] for name in ("domain", "more")}
    with pytest.raises(SynthesisError) as caught:
        build(one_file.model_copy(update={"synthesis": synthesis, "streams": streams}))
    source = one_file.streams["domain"].sources[0].uri
    fifth = len(b"".join(Path(source).read_bytes().splitlines(keepends=True)[:4]))
    assert str(caught.value) == (
        "6 of 24 documents failed, more than synthesis.max_failure_share 0.2; nothing was published. "
        f"First failures: {source}:@0: unreachable (kept as raw text: no answer); "
        f"{source}:@0: unreachable (kept as raw text: no answer); "
        f"{source}:@{fifth}: unreachable (kept as raw text: no answer); and 3 more."
    )
    assert files_of(one_file.corpus) == []


@pytest.mark.slow
def test_failures_within_the_allowed_share_are_published_as_raw_text_with_their_rejects(
    one_file: CorpusConfig, synthesizer: Any, build: Build, rejects_in: Any, texts_in: Any
) -> None:
    synthesis = one_file.synthesis.model_copy(
        update={"backend": synthesizer(Failing), "max_failure_share": 0.25, "max_empty_share": 1.0}
    )
    manifest = build(one_file.model_copy(update={"synthesis": synthesis}))
    assert manifest.increments[0].num_documents == 12
    assert [each["document_id"] for each in rejects_in(one_file.corpus, "synthesize")] == [
        "doc-0",
        "doc-4",
        "doc-8",
    ]
    assert {text.template for text in texts_in(one_file.corpus)} == {"raw"}
    assert read_stats(one_file.corpus, 1)["counts"]["synthesize/failed_documents"] == 3


@pytest.mark.slow
def test_an_error_in_a_workers_setup_reaches_the_user_as_it_was_raised(
    one_file: CorpusConfig, synthesizer: Any, build: Build, files_of: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    class Closed(MinedSynthesizer):
        def open(self) -> None:
            raise ConfigError("synthesis.model 'x' is not there.\nGive another.")

    synthesis = one_file.synthesis.model_copy(update={"backend": synthesizer(Closed)})
    with pytest.raises(ConfigError) as caught:
        build(one_file.model_copy(update={"synthesis": synthesis}))
    assert str(caught.value) == "synthesis.model 'x' is not there.\nGive another."
    assert files_of(one_file.corpus) == []
    assert capfd.readouterr().err == ""


def test_an_error_in_a_worker_process_reaches_the_user_as_it_was_raised(
    one_file: CorpusConfig, build: Build, files_of: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    values = {"backend": "sglang", "model": str(tmp_path / "none"), "endpoints": ("http://127.0.0.1:9",)}
    synthesis = one_file.synthesis.model_copy(update=values)
    with pytest.raises(ConfigError, match=rf"^tokenizer '{tmp_path}/none' cannot be loaded: .*[^]]$"):
        build(
            one_file.model_copy(update={"synthesis": synthesis}),
            "--direct_num_workers=2",
            "--direct_running_mode=multi_processing",
        )
    assert files_of(one_file.corpus) == []
    assert capfd.readouterr().err == ""


def test_a_source_that_cannot_be_read_is_named(
    one_file: CorpusConfig, build: Build, files_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File permissions do not restrict root, so the reader itself raises the error."""

    def refuse(self: Any, uri: str, part: Any) -> Any:
        raise PermissionError(13, "Permission denied", uri)

    monkeypatch.setattr("plugins.readers.jsonl.JsonlReader.rows_of", refuse)
    source = one_file.streams["domain"].sources[0].uri
    with pytest.raises(InputError) as caught:
        build(one_file)
    assert str(caught.value) == (
        f"{source}: cannot be read: [Errno 13] Permission denied: '{source}'. Nothing was published."
    )
    assert files_of(one_file.corpus) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pack": {"seq_len": 512}},
            "{corpus}: has rows of 4096 tokens, pack.seq_len is 512. "
            "Keep the corpus's value, or build a new corpus.",
        ),
        (
            {"tokenizer": {"name": "{other}"}},
            "{corpus}: was tokenised by '{tokenizer}', which differs from tokenizer '{other}'. "
            "Use the corpus's tokenizer, or build a new corpus.",
        ),
    ],
)
def test_a_corpus_keeps_its_row_length_and_its_tokenizer(
    changes: dict[str, Any],
    message: str,
    three_readers: CorpusConfig,
    corpus_config: Config,
    build: Build,
    tmp_path: Path,
) -> None:
    other = tmp_path / "other"
    shutil.copytree(three_readers.tokenizer.name, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["model"]["merges"].pop()
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    values = yaml.safe_load(yaml.safe_dump(changes).replace("{other}", str(other)))
    streams = {name: stream.model_dump() for name, stream in three_readers.streams.items()}
    before = contents(three_readers.corpus)
    with pytest.raises(CorpusError) as caught:
        build(corpus_config(three_readers.corpus, streams=streams, **values))
    assert str(caught.value) == message.format(
        corpus=three_readers.corpus, tokenizer=three_readers.tokenizer.name, other=other
    )
    assert contents(three_readers.corpus) == before


@pytest.mark.slow
def test_the_first_line_says_what_a_build_does(
    one_file: CorpusConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    build_increment(one_file)
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == (
        f"Building increment 1 of {one_file.corpus} from 1 file (domain); pairs by mined."
    )


@pytest.mark.slow
def test_documents_rejected_by_a_build_without_anything_new_are_told(
    one_file: CorpusConfig, build: Build, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build(one_file)
    num_bytes = (tmp_path / "in/a.jsonl").stat().st_size
    with open(tmp_path / "in/a.jsonl", "a") as file:
        file.write('{"id": "s", "text": "Too short."}\n')
    capfd.readouterr()
    assert build_increment(one_file) is None
    source = one_file.streams["domain"].sources[0].uri
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"Nothing new. First rejects: {source}:@{num_bytes}: too_short (2 words, at least 5)."
    )


@pytest.mark.slow
def test_documents_that_are_not_english_prose_are_counted_and_told(
    tmp_path: Path,
    passages: Any,
    write_jsonl: Any,
    corpus_config: Config,
    build: Build,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = {"id": "code", "text": "import os\n\ndef names(path):\n    return sorted(os.listdir(path))\n"}
    german = {"id": "german", "text": "Renin ist ein Enzym der Niere. Die Zellen geben es dort ab."}
    source = write_jsonl(tmp_path / "in/a.jsonl", [*passages(6), code, german])
    config = corpus_config(tmp_path / "corpus", source)
    print_increment(config, build(config))
    assert read_stats(config.corpus, 1)["counts"]["synthesize/not_english"] == 2
    line = "  2 documents are not in English prose, so rules found no pairs about them\n"
    assert line in capsys.readouterr().out
