"""`corpus compact` and `corpus withdraw`, on real corpora."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.compact import compact
from pipelines.increments.prepared_run import for_rewriting
from pipelines.increments.withdraw import is_of, withdraw
from pipelines.inspect.verify import verify_corpus
from pipelines.runners.remote.reachability import check_reachable
from pipelines.store.packed_rows import read_rows
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import CorpusConfig, DecontaminationConfig
from schemas.errors import ConfigError, CorpusError
from schemas.manifest import Manifest, read_manifest
from schemas.synthesis_config import SynthesisConfig

Config = Callable[..., CorpusConfig]
SHAPE = {"chains": {"max_documents": 3}, "pack": {"seq_len": 256}}


@pytest.fixture(scope="module")
def origin(
    tmp_path_factory: pytest.TempPathFactory,
    passages: Any,
    write_jsonl: Any,
    corpus_config: Config,
    build: Any,
) -> Path:
    """The folder of a corpus with three increments: 12 documents, then 5 new ones, then 2 changed ones."""
    root = tmp_path_factory.mktemp("origin")
    rows = passages(17)
    config = corpus_config(root / "corpus", f"{root}/in/*.jsonl", **SHAPE)
    write_jsonl(root / "in/a.jsonl", rows[:12])
    build(config)
    write_jsonl(root / "in/b.jsonl", rows[12:])
    build(config)
    rows[4]["text"] = "An entirely new text stands here. Because it changed, the old one is superseded."
    rows[13]["text"] = "Another text, quite unlike the others. However, it is short."
    write_jsonl(root / "in/a.jsonl", rows[:12])
    write_jsonl(root / "in/b.jsonl", rows[12:])
    assert build(config).increments[2].superseded_document_ids == ("doc-13", "doc-4")
    return root


@pytest.fixture
def three(origin: Path, tmp_path: Path, corpus_config: Config) -> CorpusConfig:
    """A copy of that corpus and of its sources."""
    shutil.copytree(origin, tmp_path, dirs_exist_ok=True)
    return corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl", **SHAPE)


def decoded(config: CorpusConfig, manifest: Manifest, stream: str = "domain") -> list[str]:
    """Decoded rows of a stream, text by text."""
    tokenizer = load_tokenizer(config.tokenizer.name)
    texts = []
    for shards in manifest.shard_sets(stream):
        rows = list(read_rows(config.corpus, shards))
        assert len(rows) == shards.num_samples
        for row in rows:
            at = 0
            for length in row["segment_lengths"].tolist():
                texts.append(tokenizer.decode(row["tokens"][at : at + length].tolist()))
                at += length
    return texts


def all_texts(config: CorpusConfig, texts_in: Any, manifest: Manifest) -> list[Any]:
    return [text for number in manifest.numbers() for text in texts_in(config.corpus, number=number)]


@pytest.mark.slow
def test_compacting_leaves_one_increment_with_the_texts_of_all_but_what_is_superseded(
    three: CorpusConfig, texts_in: Any, tmp_path: Path, passages: Any
) -> None:
    before = read_manifest(three.corpus)
    old = {text.text for text in all_texts(three, texts_in, before)}
    manifest = compact(three, quiet=True)
    (increment,) = manifest.increments
    assert (manifest.number, increment.number, increment.replaces) == (4, 4, (1, 2, 3))
    assert (increment.num_documents, increment.num_withdrawn) == (17, 0)
    texts = texts_in(three.corpus, number=4)
    assert sorted(name for text in texts for name in text.document_ids) == sorted(
        f"doc-{number}" for number in range(17)
    )
    untouched = [text for text in texts if text.text in old]
    cut = [text for text in texts if text.text not in old]
    assert len(cut) <= 2  # texts that contained a superseded passage among others
    for text in cut:
        assert any(text.text.split("\n")[0] in each for each in old)
    assert untouched
    rows = decoded(three, manifest)
    for number in (4, 13):
        assert not any(passages(14)[number]["text"] in row for row in rows)
    assert sum(shards.num_texts for shards in increment.streams.values()) == len(texts)
    assert [row for row in rows if "An entirely new text stands here." in row]


@pytest.mark.slow
def test_an_older_manifest_is_served_as_before(three: CorpusConfig, tmp_path: Path) -> None:
    pinned = read_manifest(three.corpus)
    before = decoded(three, pinned)
    compact(three, quiet=True)
    assert read_manifest(three.corpus, 3) == pinned
    assert decoded(three, pinned) == before


@pytest.mark.slow
def test_a_build_after_compacting_finds_nothing_new_and_goes_on_from_there(
    three: CorpusConfig, build: Any, tmp_path: Path, write_jsonl: Any, passages: Any
) -> None:
    compact(three, quiet=True)
    assert build(three) is None
    rows = passages(20)
    write_jsonl(tmp_path / "in/c.jsonl", rows[17:])
    manifest = build(three)
    assert [each.number for each in manifest.increments] == [4, 5]
    assert manifest.increments[1].num_documents == 3
    copy = {"id": "copy", "text": rows[5]["text"]}
    write_jsonl(tmp_path / "in/d.jsonl", [copy])
    assert build(three) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ("--direct_num_workers=2", "--direct_running_mode=multi_processing"), id="two processes"
        ),
        pytest.param(("--direct_runner_bundle_repeat=1",), id="every bundle twice"),
    ],
)
def test_compacting_gives_the_same_bytes_on_any_number_of_workers(
    three: CorpusConfig, options: tuple[str, ...], tmp_path: Path, digests_of: Any
) -> None:
    other = three.model_copy(update={"corpus": str(tmp_path / "other")})
    shutil.copytree(three.corpus, other.corpus)
    compact(three, quiet=True)
    compact(other, options, quiet=True)
    assert digests_of(three.corpus) == digests_of(other.corpus)


def test_one_increment_is_compact_already(three: CorpusConfig) -> None:
    compact(three, quiet=True)
    assert compact(three, quiet=True) is None


def test_a_withdrawn_document_is_in_no_row_of_the_next_manifest_and_its_chain_mates_stay(
    three: CorpusConfig, texts_in: Any, tmp_path: Path, passages: Any
) -> None:
    gone = passages(17)[7]["text"]
    before = read_manifest(three.corpus)
    (holder,) = (text for text in all_texts(three, texts_in, before) if "doc-7" in text.document_ids)
    manifest = withdraw(three, document_ids=["doc-7"], quiet=True)
    assert [each.number for each in manifest.increments] == [2, 3, 4]
    newest = manifest.increments[2]
    assert (newest.replaces, newest.num_withdrawn, newest.num_documents) == ((1,), 1, 10)  # no old doc-4
    rows = decoded(three, manifest)
    assert not any(gone in row for row in rows)
    mates = [name for name in holder.document_ids if name not in ("doc-7", "doc-4")]
    names = [name for text in all_texts(three, texts_in, manifest) for name in text.document_ids]
    assert set(mates) <= set(names)
    # Increment 2 is unchanged and still contains the old doc-13.
    assert sorted(names) == sorted([*(f"doc-{number}" for number in range(17) if number != 7), "doc-13"])


@pytest.mark.slow
def test_a_withdrawn_document_does_not_come_back_even_with_another_text(
    three: CorpusConfig, build: Any, rejects_in: Any, tmp_path: Path, write_jsonl: Any, passages: Any
) -> None:
    withdraw(three, document_ids=["doc-7"], quiet=True)
    assert build(three) is None
    rows = [{"id": "doc-7", "text": "Quite another text under the same old name."}, *passages(19)[17:]]
    write_jsonl(tmp_path / "in/c.jsonl", rows)
    assert build(three).increments[-1].num_documents == 2
    (reject,) = (
        each for each in rejects_in(three.corpus, "ledger", number=5) if each["reason"] == "withdrawn"
    )
    assert reject["document_id"] == "doc-7"
    compact(three, quiet=True)
    write_jsonl(tmp_path / "in/d.jsonl", [{"id": "doc-7", "text": "A third text under the same old name."}])
    assert build(three) is None


def test_every_version_of_a_withdrawn_document_goes(
    three: CorpusConfig, texts_in: Any, tmp_path: Path, passages: Any
) -> None:
    manifest = withdraw(three, document_ids=["doc-13"], quiet=True)
    assert manifest.increments[-1].replaces == (2, 3)
    assert "doc-13" not in {
        name for text in all_texts(three, texts_in, manifest) for name in text.document_ids
    }
    assert not any("quite unlike the others" in row for row in decoded(three, manifest))


@pytest.mark.parametrize("pattern", ["{root}/in/b.jsonl", "{root}/in/b*", "{root}/in/[b].jsonl"])
def test_all_documents_of_a_source_can_be_withdrawn(
    three: CorpusConfig, texts_in: Any, origin: Path, pattern: str
) -> None:
    manifest = withdraw(three, sources=[pattern.format(root=origin)], quiet=True)
    assert manifest.increments[-1].num_withdrawn == 5
    names = {name for text in all_texts(three, texts_in, manifest) for name in text.document_ids}
    assert names == {f"doc-{number}" for number in range(12)}


@pytest.mark.slow
def test_the_whole_corpus_can_be_withdrawn(three: CorpusConfig, origin: Path, build: Any) -> None:
    manifest = withdraw(three, sources=[f"{origin}/in"], quiet=True)
    (increment,) = manifest.increments
    assert (increment.streams, increment.num_documents, increment.num_withdrawn) == ({}, 0, 17)
    assert manifest.stream_names() == []
    assert build(three) is None


@pytest.mark.slow
def test_copies_of_a_withdrawn_document_come_in_by_the_next_build(
    three: CorpusConfig, build: Any, tmp_path: Path, write_jsonl: Any, passages: Any, texts_in: Any
) -> None:
    write_jsonl(tmp_path / "in/copies.jsonl", [{"id": "copy", "text": passages(8)[7]["text"]}])
    assert build(three) is None
    withdraw(three, document_ids=["doc-7"], quiet=True)
    assert build(three).increments[-1].num_documents == 1
    assert [text.document_ids for text in texts_in(three.corpus, number=5)] == [("copy",)]


@pytest.mark.slow
def test_near_copies_are_known_by_after_a_rewriting_what_they_were_known_by_before(
    tmp_path: Path, corpus_config: Config, write_jsonl: Any, build: Any, rejects_in: Any
) -> None:
    def story(name: str, last: str) -> str:
        return (
            " ".join(f"Sentence {number} of {name} says a thing of its own." for number in range(40)) + last
        )

    config = corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl")
    write_jsonl(tmp_path / "in/a.jsonl", [{"id": "kept", "text": story("one", "")}])
    build(config)
    write_jsonl(tmp_path / "in/b.jsonl", [{"id": "gone", "text": story("two", "")}])
    build(config)
    withdraw(config, document_ids=["gone"], quiet=True)
    compact(config, quiet=True)
    near = [{"id": f"near-{name}", "text": story(name, " And one more.")} for name in ("one", "two")]
    write_jsonl(tmp_path / "in/c.jsonl", near)
    manifest = build(config)
    assert manifest.increments[-1].num_documents == 1
    (reject,) = rejects_in(config.corpus, "dedup", number=manifest.number)
    assert (reject["reason"], reject["document_id"]) == ("near_duplicate", "near-one")


@pytest.mark.parametrize(
    ("names", "sources", "message"),
    [
        (["doc-7", "nobody"], [], "{corpus}: holds no document 'nobody', or no longer. Nothing was changed."),
        ([], ["{root}/in/z.jsonl"], "{corpus}: holds no document of source '{root}/in/z.jsonl'."),
    ],
)
def test_what_the_corpus_does_not_hold_cannot_be_withdrawn(
    three: CorpusConfig, tmp_path: Path, names: list[str], sources: list[str], message: str
) -> None:
    with pytest.raises(CorpusError) as caught:
        withdraw(
            three, document_ids=names, sources=[each.format(root=tmp_path) for each in sources], quiet=True
        )
    assert str(caught.value).startswith(message.format(corpus=three.corpus, root=tmp_path))
    assert read_manifest(three.corpus).number == 3
    assert not list(Path(three.corpus).glob("increments/000004*"))


def test_a_document_cannot_be_withdrawn_twice(three: CorpusConfig) -> None:
    withdraw(three, document_ids=["doc-7"], quiet=True)
    with pytest.raises(CorpusError, match="holds no document 'doc-7', or no longer"):
        withdraw(three, document_ids=["doc-7"], quiet=True)


def test_a_configuration_that_leaves_a_stream_out_is_refused(three: CorpusConfig) -> None:
    other = three.model_copy(update={"streams": {"other": three.streams["domain"]}})
    with pytest.raises(CorpusError, match="has a stream 'domain' that `streams` does not name"):
        compact(other, quiet=True)


def test_there_must_be_a_corpus(corpus_config: Config, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no published corpus"):
        compact(corpus_config(tmp_path / "none", f"{tmp_path}/none.jsonl"), quiet=True)


@pytest.mark.parametrize(
    ("source", "pattern", "expected"),
    [
        ("in/a.jsonl:@17", "in/a.jsonl", True),
        ("in/a.jsonl", "in/a.jsonl", True),
        ("in/a.jsonl.zst:3", "in/a.jsonl", False),
        ("in/a.jsonl:@17 part 1/2", "in/a.jsonl", True),
        ("in/deep/a.txt", "in", True),
        ("in/deep/a.txt", "in/", True),
        ("into/a.txt", "in", False),
        ("gs://b/x/a.jsonl:1", "gs://b/*/a.jsonl", True),
        ("gs://b/x/b.jsonl:1", "gs://b/*/a.jsonl", False),
    ],
)
def test_a_source_is_a_file_a_folder_or_a_glob(source: str, pattern: str, expected: bool) -> None:
    assert is_of(source, pattern) is expected


@pytest.mark.slow
def test_the_commands_say_what_they_did(three: CorpusConfig, tutelage: Any, tmp_path: Path) -> None:
    yaml = tmp_path / "corpus.yaml"
    yaml.write_text(json.dumps(three.model_dump(mode="json")))
    (tmp_path / "ids.txt").write_text("doc-1\ndoc-2\n")
    said = tutelage("corpus", "withdraw", str(yaml), "--ids-from", str(tmp_path / "ids.txt"), "--id", "doc-3")
    assert said.status == 0
    assert said.out.startswith(f"{three.corpus}: increment 4 published, 8 documents, ")
    assert "replaces 1; 3 documents withdrawn, 4 outdated passages removed" in said.out
    said = tutelage("corpus", "compact", str(yaml), "--json")
    assert json.loads(said.out)["increments"][0]["replaces"] == [2, 3, 4]
    assert tutelage("corpus", "compact", str(yaml)).out == (
        f"{three.corpus}: is one increment already; nothing was changed.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "corpus withdraw needs --id, --ids-from or --source to name the documents."),
        (("--ids-from", "{root}/none"), "--ids-from '{root}/none': [Errno 2] No such file"),
    ],
)
def test_wrong_use_of_withdraw_is_told(
    corpus_config: Config, tutelage: Any, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    yaml = tmp_path / "corpus.yaml"
    config = corpus_config(tmp_path / "corpus", f"{tmp_path}/a.jsonl")
    yaml.write_text(json.dumps(config.model_dump(mode="json")))
    said = tutelage("corpus", "withdraw", str(yaml), *(each.format(root=tmp_path) for each in arguments))
    assert said.status == 2
    assert message.format(root=tmp_path) in said.err


def test_withdraw_is_refused_a_wrong_option(three: CorpusConfig) -> None:
    with pytest.raises(ConfigError, match="Beam option"):
        withdraw(three, ["--direct_num_werkers=2"], document_ids=["doc-1"], quiet=True)
    assert read_manifest(three.corpus).number == 3


def test_settings_that_only_a_build_uses_are_not_checked(three: CorpusConfig) -> None:
    of_a_build = {
        "synthesis": SynthesisConfig(backend="sglang", endpoints=("not a URL",), protocol="no such protocol"),
        "decontaminate": DecontaminationConfig(tasks=("/nowhere/tasks",)),
        "filters": {"no_such_filter": None},
        "templates": "no_such_family",
    }
    config = three.model_copy(update=of_a_build)
    withdrawn = withdraw(config, document_ids=["doc-1"], quiet=True)
    assert (withdrawn.number, withdrawn.increments[-1].num_withdrawn) == (4, 1)
    other = config.model_copy(
        update={"synthesis": config.synthesis.model_copy(update={"backend": "no such backend"})}
    )
    compacted = compact(other, quiet=True)
    assert compacted is not None and compacted.numbers() == (5,)


def test_workers_elsewhere_need_not_reach_what_a_rewriting_does_not_use(corpus_config: Config) -> None:
    config = corpus_config(
        "gs://bucket/corpus",
        "/here/*.jsonl",
        synthesis={"backend": "sglang", "model": "./here", "endpoints": ["http://127.0.0.1:1"]},
        decontaminate={"tasks": ["/here/tasks"]},
        tokenizer={"name": "some/model"},
    )
    with pytest.raises(ConfigError, match="is on this machine, and Dataflow's workers are on others"):
        check_reachable(config, image=False)
    check_reachable(for_rewriting(config), image=False)


@pytest.mark.slow
def test_a_corpus_of_folders_without_tokens_is_read_extended_and_compacted(
    corpus_config: Config, tmp_path: Path, passages: Any, write_jsonl: Any, build: Any, monkeypatch: Any
) -> None:
    """Older versions wrote such corpora, before each run had its own folder."""
    config = corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl")
    write_jsonl(tmp_path / "in/0.jsonl", passages(3))
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.increments.prepared_run.new_token", lambda: "")
        build(config)
    path = Path(config.corpus) / "manifest/000001.json"
    path.write_text(path.read_text().replace('      "token": "",\n', ""))
    assert (
        '"token"' not in path.read_text() and (Path(config.corpus) / "increments/000001/stats.json").exists()
    )
    assert not verify_corpus(config.corpus, read_manifest(config.corpus)).damages
    write_jsonl(tmp_path / "in/1.jsonl", passages(5)[3:])
    extended = build(config)
    assert extended.increments[1].num_documents == 2, "the ledger of before knows the others"
    first, second = extended.names()
    assert (first, second[:7], len(second)) == ("000001", "000002-", 19)
    assert not verify_corpus(config.corpus, extended).damages
    compacted = compact(config, quiet=True)
    assert compacted is not None and compacted.increments[0].num_documents == 5
    assert not verify_corpus(config.corpus, compacted).damages
