from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.planning.plan import plan_increment
from pipelines.steps.base import REJECTS
from pipelines.steps.filter import FilterDocuments, make_filters
from schemas.errors import ConfigError
from schemas.records import Document, Reject

PROSE = "The nerve leaves the plexus. It supplies the thigh. A lesion weakens the knee."


def test_the_first_filter_that_refuses_decides_and_changed_documents_go_on_changed() -> None:
    documents = [
        Document.of("good", f"{PROSE}\nMenu", source="a:1"),
        Document.of("short", "{ two", source="a:2"),
        Document.of("code", "{ one two three four five", source="a:3"),
    ]
    filters = {"gopher_quality": {"min_words": 5, "min_stop_words": None}, "c4": None}
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = (
            pipeline
            | beam.Create(documents)
            | beam.ParDo(FilterDocuments(filters)).with_outputs(REJECTS, main="ok")
        )
        assert_that(done.ok, equal_to([Document.of("good", PROSE, source="a:1")]), label="kept")
        rejected = [
            ("gopher_quality.min_words", "short", "a:2", "1, at least 5"),
            ("c4.curly_bracket", "code", "a:3", "1, at most 0"),
        ]
        assert_that(
            done[REJECTS],
            equal_to(
                [
                    Reject(stage="filter", reason=reason, document_id=name, source=source, detail=detail)
                    for reason, name, source, detail in rejected
                ]
            ),
            label="rejected",
        )
    counters = pipeline.result.metrics().query()["counters"]
    assert {each.key.metric.name: each.committed for each in counters} == {
        "documents": 1,
        "shortened_by_c4": 1,
        "rejected_gopher_quality.min_words": 1,
        "rejected_c4.curly_bracket": 1,
    }


def test_documents_in_other_languages_pass_over_a_filter_and_are_counted() -> None:
    text = (
        "Der Nerv verlässt das Geflecht und versorgt den Oberschenkel. Eine Verletzung schwächt das Knie: {"
    )
    german = Document.of("de", text, source="a:1")
    english = Document.of("en", f"{PROSE} And that is the code: {{", source="a:2")
    step = FilterDocuments({"c4": {"languages": ["en"]}})
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = pipeline | beam.Create([german, english]) | beam.ParDo(step).with_outputs(REJECTS, main="ok")
        assert_that(done.ok, equal_to([german]))
    counters = pipeline.result.metrics().query()["counters"]
    assert {each.key.metric.name: each.committed for each in counters} == {
        "documents": 1,
        "passed_over_by_c4": 1,
        "rejected_c4.curly_bracket": 1,
    }


def test_documents_that_a_rule_cannot_judge_pass_and_are_counted() -> None:
    yoruba = "Ilé ìkàwé kékeré tí ó wà lẹ́gbẹ̀ẹ́ odò tún ṣí ní ìgbà ìrúwé, àwọn ọmọdé sì máa ń lọ síbẹ̀."
    document = Document.of("yo", yoruba, source="a:1")
    step = FilterDocuments({"gopher_quality": {"min_words": 10}})
    step.setup()
    assert list(step.process(document)) == [document]
    assert step.counters.counts == {
        "filter/passed_over_by_gopher_quality.min_stop_words": 1,
        "filter/documents": 1,
    }


def test_filters_are_applied_in_the_order_in_which_they_are_written() -> None:
    assert list(make_filters({"fineweb": {}, "c4": None})) == ["fineweb", "c4"]
    assert list(make_filters({"c4": None, "fineweb": {}})) == ["c4", "fineweb"]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"gopher_qualty": {}}, r"^filter 'gopher_qualty' is unknown\. Did you mean 'gopher_quality'\?"),
        (
            {"gopher_quality": {"min_word": 3}},
            r"^filters\.gopher_quality: key 'min_word' is unknown\. Did you mean 'min_words'\?",
        ),
        ({"fineweb": {"max_short_lines": "all"}}, r"^filters\.fineweb: max_short_lines is 'all': "),
    ],
)
def test_what_is_unknown_is_refused_with_a_suggestion(
    filters: dict[str, dict[str, object]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_filters(filters)


@pytest.mark.slow
def test_a_build_keeps_what_its_filters_keep_and_plans_the_same(
    tmp_path: Path, corpus_config: Any, write_jsonl: Any, build: Any, rejects_in: Any, texts_in: Any
) -> None:
    source = write_jsonl(
        tmp_path / "in.jsonl",
        [
            {"id": "good", "text": f"{PROSE}\nHome and contact"},
            {"id": "code", "text": f"{PROSE} int main() {{ }}"},
            {"id": "french", "text": "Le nerf quitte le plexus. Il innerve la cuisse. Une lésion affaiblit."},
        ],
    )
    filters = {"language": {"keep": ["en"]}, "c4": {}}
    config = corpus_config(tmp_path / "corpus", source, filters=filters)
    plan = plan_increment(config, quiet=True)
    build(config)
    assert [text.document_ids for text in texts_in(config.corpus)] == [("good",)]
    assert "Home and contact" not in texts_in(config.corpus)[0].text
    rejects = rejects_in(config.corpus, "filter")
    assert {(each["document_id"], each["reason"]) for each in rejects} == {
        ("code", "c4.curly_bracket"),
        ("french", "language.keep"),
    }
    assert plan.total.rejects["filter"] == {"c4.curly_bracket": 1, "language.keep": 1}


def test_a_build_with_an_unknown_filter_touches_nothing(
    tmp_path: Path, corpus_config: Any, write_jsonl: Any, build: Any
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": "a", "text": PROSE}])
    config = corpus_config(tmp_path / "corpus", source, filters={"c5": {}})
    with pytest.raises(ConfigError, match=r"^filter 'c5' is unknown\. Did you mean 'c4'\?"):
        build(config)
    assert not (tmp_path / "corpus").exists()
