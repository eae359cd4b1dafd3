from __future__ import annotations

import random

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.steps.base import REJECTS
from pipelines.steps.clean import CleanDocuments, clean_text, drop_boilerplate
from schemas.corpus_config import BoilerplateConfig, CleanConfig, PersonalDataConfig
from schemas.records import Document, InstructionPair, Reject


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a b \n", "a b"),
        ("a\r\nb\rc\u2028d\u2029e", "a\nb\nc\nd\ne"),
        ("page one\x0cpage two\x0bline\x85line", "page one\npage two\nline\nline"),
        ("a \t\nb", "a\nb"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("a\n \n\t\n\nb", "a\n\nb"),
        ("e\u0301", "\u00e9"),
        ("a\x00b\x07c\ufeffd\x81e", "abcde"),
        ("12\x0034 mg, 5\x1f\x006, a\x001", "12 34 mg, 5 6, a1"),
        ("a \x00\nb", "a\nb"),
        ("\n\x00\n\nb", "b"),
        ("tab\tinside  and spaces stay", "tab\tinside  and spaces stay"),
        ("<|endoftext|> </END> {braces} %s", "<|endoftext|> </END> {braces} %s"),
    ],
)
def test_text_is_made_regular(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@pytest.mark.parametrize("seed", range(200))
def test_cleaning_twice_changes_nothing_more(seed: int) -> None:
    rng = random.Random(seed)
    raw = "".join(rng.choices("ae\u0301 \t\r\n\x00\x0b\x0c\x85\u2028\ufeff\u00a0", k=30))
    once = clean_text(raw)
    assert clean_text(once) == once


@pytest.mark.parametrize("seed", range(300))
def test_cleaning_twice_changes_nothing_more_where_there_is_mojibake(seed: int) -> None:
    rng = random.Random(seed)
    pieces = [
        "Ã",
        "Â",
        "â€",
        "™",
        "©",
        "\x9d",
        "\x85",
        "\xa0",
        "é",
        "a",
        " ",
        "\n",
        "\x00",
        "\ufeff",
        "\u0301",
    ]
    pieces += [text.encode().decode("cp1252", "replace") for text in ("é", "“a”", "ж", "特", "Ã©")]
    once = clean_text("".join(rng.choices(pieces, k=12)))
    assert clean_text(once) == once


def test_wrong_decodings_are_undone_before_the_controls_that_are_part_of_them_go() -> None:
    assert clean_text("â€œquotedâ€\x9d") == "“quoted”"
    assert clean_text("caf\ufeffÃ\x00©") == "café"
    assert clean_text("it\x92s \x93so\x94") == "it’s “so”"


def test_repair_can_be_switched_off() -> None:
    assert clean_text("cafÃ©", repair=False) == "cafÃ©"


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("javascript", "Please enable JavaScript to view this page."),
        ("javascript", "JavaScript is disabled in your browser"),
        ("policy", "This site uses cookies. See our Privacy Policy."),
        ("policy", "Terms of use"),
        ("lorem_ipsum", "Lorem ipsum dolor sit amet"),
    ],
)
def test_boilerplate_lines_go_by_their_rule_and_are_counted(rule: str, line: str) -> None:
    text = f"first\n\n{line}\n\nlast"
    assert drop_boilerplate(text, BoilerplateConfig(**{rule: True})) == ("first\n\nlast", {rule: 1})
    assert drop_boilerplate(text, BoilerplateConfig()) == (text, {})


def test_a_line_about_the_language_javascript_is_no_boilerplate() -> None:
    text = "JavaScript is a language with closures."
    assert drop_boilerplate(text, BoilerplateConfig(javascript=True)) == (text, {})


def test_lines_dropped_and_data_masked_are_counted_by_rule_and_kind() -> None:
    config = CleanConfig(
        min_words=1,
        boilerplate=BoilerplateConfig(policy=True),
        mask_personal_data=PersonalDataConfig(email=True),
    )
    document = Document.of("d", "Ask a@b.org or c@d.org.\nTerms of use", source="a.txt:1")
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = pipeline | beam.Create([document]) | beam.ParDo(CleanDocuments(config))
        assert_that(done, equal_to([Document.of("d", "Ask <EMAIL> or <EMAIL>.", source="a.txt:1")]))
    counters = pipeline.result.metrics().query()["counters"]
    found = {each.key.metric.name: each.committed for each in counters}
    assert found == {"documents": 1, "dropped_lines_policy": 1, "masked_email": 2}


def test_pairs_that_came_with_a_document_are_cleaned_as_it_is() -> None:
    pair = InstructionPair(instruction="Whom to\r\nask?", response="cafÃ© a@example.org")
    document = Document.of("d", "Ask a@example.org\x00.", source="s", pairs=(pair,), dataset="squad")
    config = CleanConfig(min_words=1, mask_personal_data=PersonalDataConfig(email=True))
    step = CleanDocuments(config)
    step.setup()
    clean = InstructionPair(instruction="Whom to\nask?", response="café <EMAIL>")
    assert list(step.process(document)) == [
        Document.of("d", "Ask <EMAIL>.", source="s", pairs=(clean,), dataset="squad")
    ]


def test_documents_outside_the_lengths_are_rejected_with_what_was_found() -> None:
    documents = [
        Document.of("short", "two words", source="a.txt:1"),
        Document.of("good", "these\r\nare four words", source="a.txt:2", metadata={"title": "T"}),
        Document.of("long", "one two three " * 4, source="a.txt:3"),
    ]
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = (
            pipeline
            | beam.Create(documents)
            | beam.ParDo(CleanDocuments(CleanConfig(min_words=3, max_characters=40))).with_outputs(
                REJECTS, main="ok"
            )
        )
        assert_that(
            done.ok,
            equal_to(
                [Document.of("good", "these\nare four words", source="a.txt:2", metadata={"title": "T"})]
            ),
            label="kept",
        )
        assert_that(
            done[REJECTS],
            equal_to(
                [
                    Reject(
                        stage="clean",
                        reason="too_short",
                        document_id="short",
                        source="a.txt:1",
                        detail="2 words, at least 3",
                    ),
                    Reject(
                        stage="clean",
                        reason="too_long",
                        document_id="long",
                        source="a.txt:3",
                        detail="55 characters, at most 40",
                    ),
                ]
            ),
            label="rejected",
        )
