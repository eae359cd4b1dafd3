from __future__ import annotations

import dataclasses
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.increments.increment_summary import _wordings
from pipelines.increments.prepared_run import check_protocol
from pipelines.steps.render import RenderTexts, raw_text, runs
from pipelines.steps.tokenize import TokenizedText
from schemas.content_hash import content_hash, digest
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.records import AugmentedText, Document, InstructionPair, Passage, SynthesizedDocument


def done(name: str, *, pairs: int = 1, follows: bool = False) -> SynthesizedDocument:
    return SynthesizedDocument(
        document=Document.of(name, f"Text of {name}.", source=name),
        pairs=tuple(
            InstructionPair(instruction=f"Ask {name} {i}?", response=f"Answer {i}.") for i in range(pairs)
        ),
        follows_previous=follows,
    )


Config = Callable[..., CorpusConfig]
Render = Callable[..., list[Any]]


@pytest.fixture
def render(corpus_config: Config) -> Render:
    """Render chains to texts, or with `tokens=True` to TokenizedTexts and rejects; keywords change keys."""

    def run(*chains: list[SynthesizedDocument], tokens: bool = False, **changes: Any) -> list[Any]:
        config = corpus_config("corpus", "none", **{"seed": 3, **changes})
        step: RenderTexts = pickle.loads(pickle.dumps(RenderTexts(config)))
        step.setup()
        found = list(step.process(chains))
        return found if tokens else [each.text for each in found]

    return run


def test_a_chain_is_cut_where_a_document_does_not_follow_the_one_before() -> None:
    chain = [
        done("a"),
        done("b", follows=True),
        done("c"),
        done("d", pairs=0),
        done("e"),
        done("f", follows=True),
    ]
    assert [[each.document.document_id for each in run] for run in runs(chain)] == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e", "f"],
    ]


def test_an_empty_chain_has_no_runs() -> None:
    assert list(runs([])) == []


def test_each_run_becomes_one_text_that_names_its_documents(render: Render) -> None:
    first, second = render([done("a", pairs=2), done("b", follows=True), done("c", pairs=0)])
    assert (first.document_ids, first.num_pairs) == (("a", "b"), 3)
    assert first.template.startswith("reading_comprehension/")
    for part in ("Text of a.", "Text of b.", "Ask a 0?", "Ask a 1?", "Ask b 0?"):
        assert part in first.text
    assert (second.document_ids, second.num_pairs, second.template) == (("c",), 0, "raw")
    assert second.text == "Text of c."


def test_a_passage_tells_where_its_document_and_pairs_come_from(render: Render) -> None:
    whole = Document.of("long", "Text one. Text two.", source="file:7")
    part = dataclasses.replace(
        Document.of("long", "Text two.", source="file:7 part 2/2"), part="2/2", whole_hash=whole.content_hash
    )
    pairs = (InstructionPair(instruction="Ask?", response="Answer."),)
    (text,) = render(
        [
            dataclasses.replace(done("a", pairs=2), generation="key of a"),
            SynthesizedDocument(document=part, pairs=pairs, follows_previous=True, generation="key of part"),
        ]
    )
    (raw,) = render([SynthesizedDocument(document=part, failure="timeout: none")])
    first, second = text.passages
    assert (first.document_id, first.part, first.num_pairs, first.generation) == ("a", "", 2, "key of a")
    assert (second.document_id, second.part, second.num_pairs) == ("long", "2/2", 1)
    assert (second.source, second.generation) == ("file:7 part 2/2", "key of part")
    assert first.content_hash == content_hash("Text of a.")
    assert second.content_hash == whole.content_hash
    one, two = (text.text[each.start : each.end] for each in text.passages)
    assert "Text of a." in one and "Ask a 1?" in one and "Ask?" not in one
    assert "Text two." in two and "Ask?" in two and "Ask a" not in two
    assert (first.start, second.end) == (0, len(text.text))
    assert (raw.passages[0].failure, raw.passages[0].generation) == ("timeout: none", "")


def test_the_same_run_gives_the_same_text_and_another_seed_another_choice(render: Render) -> None:
    def texts(seed: int) -> list[AugmentedText]:
        return render(*([done(f"doc {i}", pairs=2)] for i in range(20)), seed=seed)

    assert texts(3) == texts(3)
    assert [text.text_id for text in texts(3)] == [text.text_id for text in texts(4)]
    assert [text.text for text in texts(3)] != [text.text for text in texts(4)]


def long(name: str, words: int, *, pairs: int, follows: bool = False) -> SynthesizedDocument:
    document = Document.of(name, " ".join(["cell"] * words), source=name)
    return dataclasses.replace(done(name, pairs=pairs, follows=follows), document=document)


def test_a_run_longer_than_a_row_is_cut_between_documents_and_nothing_is_lost(render: Render) -> None:
    chain = [long(name, 110, pairs=2, follows=name != "a") for name in "abcd"]
    (whole,) = render(chain, pack={"seq_len": 4096})
    found = render(chain, tokens=True, pack={"seq_len": 384})
    assert all(isinstance(each, TokenizedText) and len(each.tokens) <= 384 for each in found)
    assert [each.text.document_ids for each in found] == [("a",), ("b",), ("c",), ("d",)]
    assert sum(each.text.num_pairs for each in found) == whole.num_pairs == 8
    (alone,) = render([chain[0]])
    assert found[0].text == alone


def test_as_many_documents_as_fit_stay_together(render: Render) -> None:
    chain = [long(name, 15, pairs=1, follows=name != "a") for name in "abcdef"]
    found = render(chain, tokens=True, pack={"seq_len": 400})
    assert all(len(each.tokens) <= 400 for each in found)
    assert [name for each in found for name in each.text.document_ids] == list("abcdef")
    assert 1 < len(found) < 6


def test_pairs_that_no_row_has_room_for_beside_their_passage_are_rejected(render: Render) -> None:
    (short,) = render([long("a", 40, pairs=2)], tokens=True)
    *rejects, text = render([long("a", 40, pairs=9)], tokens=True, pack={"seq_len": 230})
    kept = text.text.num_pairs
    assert 0 < kept < 9 and len(text.tokens) <= 230 and long("a", 40, pairs=0).document.text in text.text.text
    assert (text.text.text_id, text.text.seed) == (short.text.text_id, short.text.seed)
    assert [each.value.detail.partition(": passage")[0] for each in rejects] == [
        f"pair 'Ask a {number - 1}?'" for number in range(9, kept, -1)
    ]
    assert {(each.value.stage, each.value.reason) for each in rejects} == {("render", "pairs_beyond_row")}


def test_of_pairs_that_do_not_fit_the_longest_goes_first(render: Render) -> None:
    document = long("a", 20, pairs=3)
    first, *others = document.pairs
    pairs = (dataclasses.replace(first, response="and so on " * 100), *others)
    reject, text = render([dataclasses.replace(document, pairs=pairs)], tokens=True, pack={"seq_len": 300})
    assert reject.value.detail.startswith("pair 'Ask a 0?': passage and pairs have ")
    assert text.text.num_pairs == 2


def test_a_passage_alone_longer_than_a_row_goes_on_raw_without_its_pairs(render: Render) -> None:
    *rejects, text = render([long("a", 300, pairs=2)], tokens=True, pack={"seq_len": 64})
    assert [each.value.reason for each in rejects] == ["pairs_beyond_row"] * 2
    assert (text.text.text, text.text.num_pairs) == (long("a", 300, pairs=0).document.text, 0)
    assert len(text.tokens) > 64


@pytest.mark.parametrize("asks_first", [False, True])
def test_a_passage_says_where_its_own_text_stands_and_whether_questions_stand_before(
    render: Render, monkeypatch: pytest.MonkeyPatch, asks_first: bool
) -> None:
    share = "plugins.templates.reading_comprehension.TEXT_LAST_SHARE"
    monkeypatch.setattr(share, float(asks_first))
    chains = ([done(f"a{i}", pairs=2), done(f"b{i}", pairs=2, follows=True)] for i in range(100))
    texts = render(*chains)
    assert len({text.template for text in texts}) == 5
    for text in texts:
        for passage in text.passages:
            assert text.text[passage.text_start : passage.text_end] == f"Text of {passage.document_id}."
            assert passage.asks_first is asks_first
            before = text.text[passage.start : passage.text_start]
            assert (f"Ask {passage.document_id} 0?" in before) is asks_first
    (raw,) = render([done("c", pairs=0)])
    assert (raw.passages[0].text_start, raw.passages[0].text_end) == (0, 0)


def test_a_stream_without_synthesis_keeps_its_texts_as_they_are() -> None:
    document = Document.of("a", "Text of a.", source="file")
    assert raw_text(document) == AugmentedText(
        text_id=digest("a", document.content_hash),
        text="Text of a.",
        passages=(
            Passage(
                document_id="a",
                content_hash=document.content_hash,
                source="file",
                start=0,
                end=len("Text of a."),
            ),
        ),
        num_pairs=0,
        template="raw",
        seed=0,
    )


def test_documents_are_counted_by_the_language_of_their_wordings(
    corpus_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text('language: de\nextends: true\npairs: ["Rätsel: {question}\\nLösung: {answer}"]\n')
    step = RenderTexts(corpus_config("corpus", "none", template_files=[str(mine)]))
    step.setup()
    added: list[str] = []
    monkeypatch.setattr(step.counters, "add", lambda name, count=1: added.append(name))
    for name, language in (("a", "de"), ("b", "it"), ("c", "en"), ("d", "it"), ("e", "a hostile name")):
        one = done(name, pairs=2)
        metadata = {"language": language, "language_probability": "0.9"}
        one = dataclasses.replace(one, document=dataclasses.replace(one.document, metadata=metadata))
        list(step.process([[one]]))
    assert Counter(name for name in added if name.startswith("worded_")) == {
        "worded_de": 1,
        "worded_en": 1,
        "worded_en_for_it": 2,
        "worded_en_for_unknown": 1,
    }


def test_a_bad_template_file_is_refused_before_anything_runs(corpus_config: Config, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        'language: de\nextends: true\npairs: ["{question}\\nAntwort: {answer}, sagt der Text."]\n'
    )
    config = corpus_config("corpus", "none", template_files=[str(mine)])
    with pytest.raises(ConfigError, match=r"mine\.yaml: pairs\.0: .* must end in \{answer\}"):
        check_protocol(config, PipelineOptions(["--runner=FnApiRunner"]))


def test_the_summary_says_in_which_languages_the_wordings_are() -> None:
    counts = {"render/worded_en": 3, "render/worded_de": 1200, "render/worded_en_for_it": 2, "read/rows": 9}
    assert _wordings(counts) == (
        "wordings around the pairs of documents: 1,200 in de, 3 in en; English ones for languages that are "
        "uncertain or without a file: 2 it"
    )
    assert _wordings({"render/worded_en": 3}) == ""
