"""Answers without pairs: limits that fail a build, and retries, each of them paid for once."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.build import build_increment
from pipelines.increments.compact import compact
from pipelines.increments.increment_summary import print_increment
from pipelines.increments.retry_empty import documents_without_pairs
from plugins.synthesizers.generator import GenerationRequest, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.corpus_config import CorpusConfig
from schemas.errors import SynthesisError
from schemas.manifest import Manifest, read_manifest
from schemas.records import Generation
from schemas.synthesis_config import SynthesisConfig
from tests.published import read_stats

pytestmark = pytest.mark.slow

PAIR = "<QUE> Which dose? <ANS> It was small. </END>"
NUM_DOCUMENTS = 8


class Model(Generator):
    """Model that chooses its answer by the text in the prompt.

    Attributes:
        answers: Answers by a text in the prompt; other prompts get a pair.
        asked: How often each prompt was answered.
    """

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.asked: collections.Counter[str] = collections.Counter()
        self.decode: Callable[..., str] = str

    async def generate(self, request: GenerationRequest) -> Generation:
        prompt = self.decode(request.prompt_ids).rsplit("<CON>", 1)[-1]
        self.asked[prompt.split("tells", 1)[0].strip()] += 1
        text = next((answer for name, answer in self.answers.items() if name in prompt), PAIR)
        return Generation(text=text, finish_reason="stop", prompt_tokens=9, completion_tokens=3)

    def take_asked(self) -> dict[str, int]:
        asked, self.asked = dict(self.asked), collections.Counter()
        return dict(sorted(asked.items()))


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def config(
    model: Model,
    synthesizer: Callable[[type], str],
    tmp_path: Path,
    tokenizer_dir: str,
    passages: Any,
    write_jsonl: Any,
    corpus_config: Callable[..., CorpusConfig],
) -> CorpusConfig:
    class Asking(LanguageModelSynthesizer):
        def __init__(self, config: SynthesisConfig, *, seed: int):
            super().__init__(config, seed=seed, generator=model)

        def open(self) -> None:
            model.decode = self.protocol.tokenizer.decode
            super().open()

    write_jsonl(tmp_path / "a.jsonl", passages(NUM_DOCUMENTS))
    return corpus_config(
        tmp_path / "corpus",
        str(tmp_path / "a.jsonl"),
        chains={"max_documents": 1},
        synthesis={
            "backend": synthesizer(Asking),
            "protocol": "instruction_synthesizer",
            "model": tokenizer_dir,
            "max_new_tokens": 32,
        },
    )


def allowing(config: CorpusConfig, **shares: float) -> CorpusConfig:
    return config.model_copy(update={"synthesis": config.synthesis.model_copy(update=shares)})


def build(config: CorpusConfig, **how: Any) -> Manifest | None:
    return build_increment(config, **{"quiet": True, **how})


def test_answers_of_which_nothing_can_be_read_fail_the_build(
    config: CorpusConfig, model: Model, files_of: Any
) -> None:
    model.answers = {"": "I am sorry, I cannot."}
    with pytest.raises(
        SynthesisError, match=r"documents failed.*unreadable: no pair in the answer .*I am so"
    ):
        build(config)
    assert [name for name in files_of(config.corpus) if not name.startswith("journal/")] == []


def test_a_run_in_which_nothing_became_pairs_is_no_success(
    config: CorpusConfig, model: Model, files_of: Any
) -> None:
    model.answers = {"": ""}
    with pytest.raises(SynthesisError) as caught:
        build(config)
    assert str(caught.value).startswith(
        "8 of 8 documents got no pairs, more than synthesis.max_empty_share 0.9 allows; nothing was published"
    )
    assert [name for name in files_of(config.corpus) if not name.startswith("journal/")] == []
    assert build(allowing(config, max_empty_share=1.0)).number == 1
    assert model.take_asked() == {f"Study {number}": 1 for number in range(8)}


def test_a_few_documents_without_pairs_may_come_later_but_not_without_a_word(
    config: CorpusConfig, model: Model, passages: Any, write_jsonl: Any, capsys: Any
) -> None:
    build(config)
    model.answers = {"": ""}
    write_jsonl(Path(config.streams["domain"].sources[0].uri), passages(NUM_DOCUMENTS + 2))
    manifest = build(config)
    assert manifest is not None and manifest.number == 2
    print_increment(config, manifest)
    said = capsys.readouterr().out
    assert "  without pairs: 2 of 2 documents, 0 of them failed; `corpus build FILE --retry-empty`" in said
    assert "  synthesis: 0 pairs for 0 of 2 documents" in said


def test_empty_and_failed_documents_are_counted_apart_and_shown(
    config: CorpusConfig, model: Model, rejects_in: Any, tutelage: Any
) -> None:
    model.answers = {"Study 1 ": "", "Study 2 ": "<think>Which", "Study 3 ": f"<QUE> a <ANS> </END>{PAIR}"}
    build(allowing(config, max_failure_share=0.2))
    counts = read_stats(config.corpus, 1)["counts"]
    assert counts["synthesize/documents_with_pairs"] == 6
    assert (counts["synthesize/empty_documents"], counts["synthesize/failed_documents"]) == (1, 1)
    assert counts["synthesize/bad_pieces"] == 2
    (reject,) = rejects_in(config.corpus, "synthesize")
    assert (reject["reason"], reject["document_id"]) == ("unreadable", "doc-2")
    assert reject["detail"] == ("kept as raw text: no pair in the answer (finished by stop): '<think>Which'")
    shown = tutelage("corpus", "show", config.corpus)
    assert "increment 1, without pairs: 2 of 8 documents, 1 of them failed" in shown.out


class TestAskedAgain:
    @pytest.fixture
    def built(self, config: CorpusConfig, model: Model) -> CorpusConfig:
        """A corpus whose documents 1 (empty) and 2 (failed) have no pairs."""
        model.answers = {"Study 1 ": "", "Study 2 ": "Sorry."}
        config = allowing(config, max_failure_share=0.2)
        build(config)
        model.take_asked()
        model.answers = {}
        assert documents_without_pairs(config, read_manifest(config.corpus)) == {
            "domain": {
                f"doc-{number}": f"{config.streams['domain'].sources[0].uri}:{place}"
                for number, place in zip((1, 2), _places(config), strict=True)
            }
        }
        return config

    def test_a_build_asks_for_nothing_again_unless_told(self, built: CorpusConfig, model: Model) -> None:
        assert build(built) is None
        assert build(built, reread=True) is None
        assert model.take_asked() == {}

    def test_only_documents_without_pairs_are_asked_about_and_their_texts_superseded(
        self, built: CorpusConfig, model: Model, texts_in: Any, capsys: Any
    ) -> None:
        manifest = build(built, retry_empty=True, quiet=False)
        assert "2 of 2 documents without pairs were found again" in capsys.readouterr().err
        assert model.take_asked() == {"Study 1": 1, "Study 2": 1}
        assert manifest.increments[1].superseded_document_ids == ("doc-1", "doc-2")
        assert [text.num_pairs for text in texts_in(built.corpus, number=2)] == [1, 1]
        assert documents_without_pairs(built, manifest) == {"domain": {}}
        assert build(built, retry_empty=True) is None
        assert model.take_asked() == {}

    def test_a_compacted_corpus_holds_each_document_once(self, built: CorpusConfig, texts_in: Any) -> None:
        build(built, retry_empty=True)
        compact(built, quiet=True)
        texts = texts_in(built.corpus, number=3)
        assert sorted(name for text in texts for name in text.document_ids) == [
            f"doc-{number}" for number in range(NUM_DOCUMENTS)
        ]
        assert all(text.num_pairs for text in texts)
        counts = read_stats(built.corpus, 3)["counts"]
        assert (counts["current/documents"], counts.get("current/empty_documents")) == (8, None)

    def test_one_in_which_nothing_became_pairs_publishes_nothing_and_may_be_tried_again(
        self, built: CorpusConfig, model: Model
    ) -> None:
        model.answers = {"Study ": ""}
        with pytest.raises(SynthesisError, match=r"^2 of 2 documents got no pairs"):
            build(built, retry_empty=True)
        model.take_asked()
        model.answers = {"Study 1 ": ""}
        assert build(built, retry_empty=True).number == 2
        assert model.take_asked() == {"Study 1": 1, "Study 2": 1}
        model.answers = {}
        assert build(built, retry_empty=True).increments[2].superseded_document_ids == ("doc-1",)
        assert model.take_asked() == {"Study 1": 1}


def test_stored_answers_of_a_build_that_failed_are_asked_for_again(
    config: CorpusConfig, model: Model
) -> None:
    model.answers = {f"Study {number} ": "Sorry." for number in range(4)}
    with pytest.raises(SynthesisError):
        build(config)
    before = model.take_asked()
    model.answers = {}
    build(config, retry_empty=True)
    again = {name for name, count in model.take_asked().items() if name in before}
    assert again <= {f"Study {number}" for number in range(4)}
    assert read_stats(config.corpus, 1)["counts"]["synthesize/documents_with_pairs"] == 8


def _places(config: CorpusConfig) -> list[str]:
    lines = Path(config.streams["domain"].sources[0].uri).read_bytes().splitlines(keepends=True)
    assert json.loads(lines[1])["id"] == "doc-1"
    return [f"@{len(b''.join(lines[:number]))}" for number in (1, 2)]
