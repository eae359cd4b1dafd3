from __future__ import annotations

from typing import Any

import pytest

from plugins.filters.base import Verdict
from plugins.filters.c4 import C4Filter
from schemas.content_hash import content_hash
from schemas.records import Document, InstructionPair

PROSE = "The nerve leaves the plexus. It supplies the thigh. A lesion weakens the knee."


def judge(text: str, **options: Any) -> str | Verdict:
    outcome = C4Filter(options)(Document.of("d", text, source="s", metadata={"title": "T"}))
    if isinstance(outcome, Verdict):
        return outcome
    assert (outcome.document_id, outcome.source, outcome.metadata) == ("d", "s", {"title": "T"})
    assert outcome.content_hash == content_hash(outcome.text)
    return outcome.text


def test_a_line_of_a_script_without_spaces_has_its_words() -> None:
    text = "肾动脉起自腹主动脉。\n左肾动脉较短，右肾动脉较长。\n手术后患者需要休息两周。"
    assert judge(text) == text


def test_prose_stays_as_it_is() -> None:
    document = Document.of("d", f"{PROSE}\n\n{PROSE}", source="s")
    assert C4Filter()(document) is document


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("Home and products and contact us", "terminal_punctuation"),
        ("Read more about this here...", "terminal_punctuation"),
        ("Only four words here.", "min_line_words"),
        ("Please turn on JavaScript in your browser.", "javascript"),
        ("By going on you accept our Privacy Policy.", "policy"),
        ("This site uses cookies for its own good.", "policy"),
    ],
)
def test_a_line_that_is_no_prose_goes_unless_its_rule_is_off(line: str, rule: str) -> None:
    text = f"{PROSE}\n{line}\n{PROSE}"
    assert judge(text) == f"{PROSE}\n{PROSE}"
    assert judge(text, **{rule: 0 if rule == "min_line_words" else False}) == text


def test_a_line_of_five_words_that_ends_a_quotation_stays() -> None:
    text = f'{PROSE}\nShe said "it is so"\nHe said: „so ist es.”'
    assert judge(text) == text


def test_a_document_keeps_the_pairs_that_came_with_it() -> None:
    pairs = (InstructionPair(instruction="Why?", response="So."),)
    document = Document.of("d", f"{PROSE}\nHome and products", source="s", pairs=pairs, dataset="squad")
    assert C4Filter()(document) == Document.of("d", PROSE, source="s", pairs=pairs, dataset="squad")


def test_citation_markers_go() -> None:
    assert judge(f"{PROSE} It was described before [12][citation needed].") == (
        f"{PROSE} It was described before."
    )


def test_one_blank_line_is_left_where_a_paragraph_went() -> None:
    assert judge(f"{PROSE}\n\nMenu\n\n{PROSE}") == f"{PROSE}\n\n{PROSE}"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (f"{PROSE} f() {{ {{ }} }}.", Verdict(rule="curly_bracket", value=2, limit="at most 0")),
        (f"{PROSE} Lorem ipsum dolor.", Verdict(rule="lorem_ipsum", value=1, limit="at most 0")),
        (
            "The nerve leaves the plexus. It supplies the thigh.",
            Verdict(rule="min_sentences", value=2, limit="at least 3"),
        ),
        (f"Menu\n{PROSE[:-1]}", Verdict(rule="min_sentences", value=0, limit="at least 3")),
    ],
)
def test_a_page_is_refused_unless_its_rule_is_off(text: str, verdict: Verdict) -> None:
    assert judge(text) == verdict
    off = {verdict.rule: 0 if verdict.rule == "min_sentences" else False}
    assert not isinstance(judge(text, **off), Verdict)
