"""Files of pairs: stored with each increment, kept by compaction, exported in common formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.compact import compact
from pipelines.increments.withdraw import withdraw
from pipelines.store.pair_files import find_words, read_texts
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from schemas import storage
from schemas.content_hash import content_hash
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import increment_uri, text_uris
from schemas.errors import CorpusError
from schemas.manifest import Manifest, read_manifest
from schemas.records import InstructionPair, StoredPair, SynthesizedDocument, from_json
from tests.published import name_of

pytestmark = pytest.mark.slow

Config = Callable[..., CorpusConfig]

WITH_WRITER = {**SYNTHESIZERS.targets(), "writer": f"{__name__}:Writer"}
SKY = "The sky is blue. Is it a no or a yes? Nobody knows the diagnosis."
SEA = "The sea is deep. It holds salt and many fish that swim about in it."


class Writer(Synthesizer):
    """Synthesizer that writes the same three pairs about every document."""

    async def synthesize(self, chain: Any) -> tuple[SynthesizedDocument, ...]:
        return tuple(
            SynthesizedDocument(
                document=document,
                pairs=(
                    InstructionPair(instruction="What comes first?", response=document.text[:7]),
                    InstructionPair(
                        instruction="Right?", response="no", options=("yes", "no"), rationale="It says so."
                    ),
                    InstructionPair(instruction="Who?", response="A whale"),
                ),
                follows_previous=number > 0,
                generation="ab" * 16,
            )
            for number, document in enumerate(chain.documents)
        )


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, write_jsonl: Any, make: Any, build: Any) -> Path:
    """The folder of a corpus: two documents, one of them changed, and general texts."""
    root = tmp_path_factory.mktemp("origin")
    rows = [{"id": "sky", "text": SKY}, {"id": "sea", "text": SEA}]
    write_jsonl(root / "in.jsonl", rows)
    write_jsonl(root / "g.jsonl", [{"id": "g", "text": "Water runs down from the hills to the sea."}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SYNTHESIZERS, "_targets", WITH_WRITER)
        build(make(root))
        write_jsonl(root / "in.jsonl", [rows[0], {"id": "sea", "text": f"{SEA} So it goes on and on."}])
        build(make(root))
    return root


@pytest.fixture(scope="module")
def make(corpus_config: Config) -> Callable[[Path], CorpusConfig]:
    """Configuration of the corpus in a folder."""
    return lambda root: corpus_config(
        root / "corpus",
        streams={
            "domain": {
                "synthesize": True,
                "sources": [{"reader": "jsonl", "uri": f"{root}/in.jsonl", "id_field": "id"}],
            },
            "general": {"sources": [{"reader": "jsonl", "uri": f"{root}/g.jsonl", "id_field": "id"}]},
        },
        synthesis={"backend": "writer"},
    )


@pytest.fixture
def corpus(origin: Path, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> CorpusConfig:
    """A copy of that corpus and of its sources."""
    monkeypatch.setattr(SYNTHESIZERS, "_targets", WITH_WRITER)
    shutil.copytree(origin, tmp_path, dirs_exist_ok=True)
    config: CorpusConfig = make(tmp_path)
    return config


def stored(config: CorpusConfig, number: int, stream: str = "domain") -> list[StoredPair]:
    folder = Path(increment_uri(config.corpus, name_of(config.corpus, number))) / "pairs"
    return [
        from_json(StoredPair, line)
        for path in sorted(folder.glob(f"{stream}-*.jsonl.zst"))
        for line in storage.read_lines_zst(str(path))
    ]


def exported(tutelage: Any, config: CorpusConfig, *options: str) -> list[dict[str, Any]]:
    done = tutelage("corpus", "export-pairs", config.corpus, *options)
    assert done.status == 0
    return [json.loads(line) for line in done.out.splitlines()]


def built_before(config: CorpusConfig) -> Manifest:
    """Reduce the corpus to the form of older versions, which stored no pairs."""
    for path in Path(config.corpus).glob("increments/*/pairs"):
        shutil.rmtree(path)
    for path in Path(config.corpus).glob("manifest/*.json"):
        values = json.loads(path.read_text())
        for increment in values["increments"]:
            for shards in increment["streams"].values():
                del shards["num_stored_pairs"]
        path.write_text(json.dumps(values))
    return read_manifest(config.corpus)


def test_each_pair_is_stored_with_its_document_its_place_in_it_and_who_wrote_it(corpus: CorpusConfig) -> None:
    found = stored(corpus, 1)
    assert [each.document_id for each in found] == [found[0].document_id] * 3 + [found[3].document_id] * 3
    (text,) = read_texts(
        text_uris(corpus.corpus, "domain", name_of(corpus.corpus, 1))[0],
        read_manifest(corpus.corpus).increments[0].streams["domain"],
    )
    assert list(text.pairs) == found
    of_sky = [each for each in found if each.document_id == "sky"]
    (share,) = (each for each in text.passages if each.document_id == "sky")
    at = text.text.index(SKY) - share.start
    assert of_sky[0] == StoredPair(
        text_id=text.text_id,
        document_id="sky",
        content_hash=content_hash(SKY),
        source=share.source,
        part="",
        instruction="What comes first?",
        response="The sky",
        options=(),
        rationale="",
        span=(0, 7),
        passage_span=(at, at + len(SKY)),
        synthesizer="writer",
        generation="ab" * 16,
    )
    assert (of_sky[1].options, of_sky[1].rationale) == (("yes", "no"), "It says so.")
    assert SKY[slice(*of_sky[1].span)] == "no" and of_sky[1].span == (25, 27)
    assert of_sky[2].span == ()


def test_the_manifest_counts_them_and_streams_without_pairs_have_no_file(corpus: CorpusConfig) -> None:
    first, second = read_manifest(corpus.corpus).increments
    assert (first.streams["domain"].num_pairs, first.streams["domain"].num_stored_pairs) == (6, 6)
    assert second.streams["domain"].num_stored_pairs == len(stored(corpus, 2)) == 3
    assert first.streams["general"].num_stored_pairs == 0
    names = {
        path.name for path in Path(increment_uri(corpus.corpus, name_of(corpus.corpus, 1)), "pairs").iterdir()
    }
    assert names == {"domain-00000.jsonl.zst"}


@pytest.mark.parametrize(
    ("wanted", "text", "expected"),
    [
        ("no", "diagnosis, or no", (14, 16)),
        ("no", "diagnosis", ()),
        ("5 mg", "15 mg and 5 mg", (10, 14)),
        ("蛋白", "这种蛋白质结合基因", (2, 4)),
        ("Blue.", "It is Blue.", (6, 11)),
        ("blue", "It is Blue.", ()),
        ("", "text", ()),
    ],
)
def test_a_response_is_found_as_whole_words_only(wanted: str, text: str, expected: tuple[int, ...]) -> None:
    assert find_words(wanted, text) == expected


def test_only_pairs_of_current_documents_are_exported(tutelage: Any, corpus: CorpusConfig) -> None:
    done = tutelage("corpus", "export-pairs", corpus.corpus)
    rows = [json.loads(line) for line in done.out.splitlines()]
    (sea,) = {row["content_hash"] for row in rows if row["document_id"] == "sea"}
    assert sea == content_hash(f"{SEA} So it goes on and on.")
    assert sorted(row["document_id"] for row in rows) == ["sea"] * 3 + ["sky"] * 3
    assert done.err == (
        f"{corpus.corpus}, manifest 2: 6 pairs written; left out: 3 of superseded documents.\n"
    )
    pinned = exported(tutelage, corpus, "--manifest", "1")
    assert {row["content_hash"] for row in pinned} == {content_hash(SKY), content_hash(SEA)}
    assert exported(tutelage, corpus, "--stream", "general") == []


def test_formats_are_those_of_other_trainers(tutelage: Any, corpus: CorpusConfig) -> None:
    asked = ["What comes first?", "Right?\nA. yes\nB. no", "Who?"]
    answers = ["The sky", "It says so.\n\nno", "A whale"]
    options = ("--manifest", "1", "--stream", "domain")
    place = [row["document_id"] for row in exported(tutelage, corpus, *options)].index("sky")
    alpaca = exported(tutelage, corpus, *options, "--format", "alpaca")
    assert alpaca[place : place + 3] == [
        {"instruction": question, "input": "", "output": answer}
        for question, answer in zip(asked, answers, strict=True)
    ]
    messages = exported(tutelage, corpus, *options, "--format", "messages", "--with-passage")
    assert messages[place : place + 3] == [
        {
            "messages": [
                {"role": "user", "content": f"{SKY}\n\n{question}"},
                {"role": "assistant", "content": answer},
            ]
        }
        for question, answer in zip(asked, answers, strict=True)
    ]
    with_passage = exported(tutelage, corpus, *options, "--format", "alpaca", "--with-passage")
    assert [row["input"] for row in with_passage[place : place + 3]] == [SKY] * 3


def test_an_export_to_a_file_says_nothing_on_standard_output(
    tutelage: Any, corpus: CorpusConfig, tmp_path: Path
) -> None:
    to_screen = tutelage("corpus", "export-pairs", corpus.corpus).out
    done = tutelage("corpus", "export-pairs", corpus.corpus, "--output", str(tmp_path / "out/pairs.jsonl"))
    assert (done.status, done.out) == (0, "")
    assert (tmp_path / "out/pairs.jsonl").read_text() == to_screen
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pairs.jsonl"]


def test_an_unknown_stream_is_wrong_use(tutelage: Any, corpus: CorpusConfig) -> None:
    done = tutelage("corpus", "export-pairs", corpus.corpus, "--stream", "domian")
    assert done.status == 2
    assert "Did you mean 'domain'?" in done.err


def test_compacting_and_withdrawing_carry_them(tutelage: Any, corpus: CorpusConfig) -> None:
    before = exported(tutelage, corpus)
    compact(corpus, quiet=True)
    after = exported(tutelage, corpus)
    assert len(stored(corpus, 3)) == 6

    def without_text(rows: list[dict[str, Any]]) -> list[str]:
        kept = [{name: value for name, value in row.items() if name != "text_id"} for row in rows]
        return sorted(json.dumps(row, sort_keys=True) for row in kept)

    assert without_text(after) == without_text(before)
    texts = {text.text_id for text in all_texts(corpus, 3)}
    assert {row["text_id"] for row in after} == texts
    passages = exported(tutelage, corpus, "--with-passage")
    assert {row["passage"] for row in passages} == {SKY, f"{SEA} So it goes on and on."}
    withdraw(corpus, document_ids=["sky"], quiet=True)
    assert {pair.document_id for pair in stored(corpus, 4)} == {"sea"}
    assert read_manifest(corpus.corpus).increments[-1].streams["domain"].num_stored_pairs == 3
    assert tutelage("corpus", "verify", corpus.corpus).status == 0


def all_texts(config: CorpusConfig, number: int) -> list[Any]:
    shards = read_manifest(config.corpus).increments[-1].streams["domain"]
    return [
        text
        for uri in text_uris(config.corpus, "domain", name_of(config.corpus, number))
        for text in read_texts(uri, shards)
    ]


def test_a_corpus_built_before_says_what_to_do(tutelage: Any, corpus: CorpusConfig) -> None:
    assert built_before(corpus).increments[0].streams["domain"].num_stored_pairs == 0
    assert tutelage("corpus", "verify", corpus.corpus).status == 0
    done = tutelage("corpus", "export-pairs", corpus.corpus)
    assert (done.status, done.out) == (1, "")
    assert f"{corpus.corpus}: its 9 pairs are only inside its texts." in done.err
    assert "build a new corpus from the same YAML and copy this one's journal/ into it first" in done.err
    assert compact(corpus, quiet=True) is not None
    assert tutelage("corpus", "verify", corpus.corpus).status == 0


def test_increments_built_before_are_counted_beside_those_that_have_pairs(
    tutelage: Any, corpus: CorpusConfig, build: Any, tmp_path: Path, write_jsonl: Any
) -> None:
    built_before(corpus)
    write_jsonl(tmp_path / "in.jsonl", [{"id": "new", "text": "A new text about the cells of a patient."}])
    build(corpus)
    done = tutelage("corpus", "export-pairs", corpus.corpus)
    assert done.status == 0
    assert {json.loads(line)["document_id"] for line in done.out.splitlines()} == {"new"}
    assert "3 pairs written. 9 more are only inside texts." in done.err
    manifest = compact(corpus, quiet=True)
    assert manifest is not None
    shards = manifest.increments[0].streams["domain"]
    assert (shards.num_pairs, shards.num_stored_pairs) == (9, 3)
    assert tutelage("corpus", "verify", corpus.corpus).status == 0


def test_lost_pairs_are_found_by_verify_export_and_compaction(tutelage: Any, corpus: CorpusConfig) -> None:
    lost = Path(increment_uri(corpus.corpus, name_of(corpus.corpus, 1)), "pairs/domain-00000.jsonl.zst")
    lines = list(storage.read_lines_zst(str(lost)))
    storage.write_lines_zst(str(lost), lines[:-1])
    done = tutelage("corpus", "verify", corpus.corpus)
    assert done.status == 1
    assert f"{lost}: is damaged: it holds 5 of the 6 pairs of text " in done.out
    lost.unlink()
    assert tutelage("corpus", "verify", corpus.corpus).status == 1
    done = tutelage("corpus", "export-pairs", corpus.corpus)
    assert done.status == 1
    assert "pairs: is damaged: it holds 0 pairs of stream 'domain', the manifest says 6." in done.err
    with pytest.raises(CorpusError, match="it holds 0 of the 6 pairs of text"):
        compact(corpus, quiet=True)
