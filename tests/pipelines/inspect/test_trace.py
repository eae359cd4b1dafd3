"""Traces of documents in a corpus that was built through a server, extended and compacted."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pipelines.increments.compact import compact
from pipelines.increments.withdraw import withdraw
from pipelines.inspect.export_pairs import current_pairs
from pipelines.inspect.lineage import find_row
from pipelines.inspect.trace import Entry, Holding, trace_document
from plugins.tokenizers import load_tokenizer
from schemas.content_hash import content_hash
from schemas.corpus_config import CorpusConfig
from schemas.errors import CorpusError
from schemas.manifest import Manifest, read_manifest

pytestmark = pytest.mark.slow

Config = Callable[..., CorpusConfig]
CHANGED = "Study 3 was written anew. Because nothing of it stayed, the older text is superseded now."


class StandIn:
    """Server that answers `/generate` like SGLang, and refuses requests about study 5."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/generate", self._generate)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _generate(self, request: web.Request) -> web.Response:
        prompt = (await request.json())["input_ids"]
        study = re.findall(r"Study (\d+)", self._tokenizer.decode(prompt))[-1]
        if study == "5":
            return web.json_response({"error": {"message": "not about study 5"}}, status=400)
        text = f"<QUE> Which study is told of in {len(prompt)}? <ANS> Study {study}. </END>"
        meta = {
            "finish_reason": {"type": "stop"},
            "prompt_tokens": len(prompt),
            "completion_tokens": 9,
            "cached_tokens": 0,
        }
        return web.json_response({"text": text, "meta_info": meta})


@pytest.fixture
def config(
    serve: Callable[[web.Application], str],
    tmp_path: Path,
    tokenizer_dir: str,
    passages: Any,
    write_jsonl: Any,
    corpus_config: Config,
    build: Any,
) -> CorpusConfig:
    """A corpus of two increments: ten documents, one long and one too short; then a changed document."""
    synthesis = {
        "backend": "sglang",
        "protocol": "instruction_synthesizer",
        "model": tokenizer_dir,
        "endpoints": [serve(StandIn(load_tokenizer(tokenizer_dir)).app())],
        "max_new_tokens": 32,
        "max_document_tokens": 170,
        "max_failure_share": 1,
    }
    streams = {
        "domain": {
            "synthesize": True,
            "sources": [{"reader": "jsonl", "uri": f"{tmp_path}/in/a.jsonl", "id_field": "id"}],
        },
        "general": {
            "sources": [{"reader": "jsonl", "uri": f"{tmp_path}/in/g.jsonl", "id_field": "id"}],
        },
    }
    made = corpus_config(
        tmp_path / "corpus",
        streams=streams,
        synthesis=synthesis,
        chains={"max_documents": 3},
        pack={"seq_len": 256, "method": "concat"},
    )
    rows = passages(8)
    long = " ".join(f"Study 77 has a sentence {number}, as long as any other." for number in range(20))
    write_jsonl(
        tmp_path / "in/a.jsonl", [*rows, {"id": "long", "text": long}, {"id": "short", "text": "Study 9."}]
    )
    write_jsonl(tmp_path / "in/g.jsonl", [{"id": "g", "text": "Water runs down from the hills to the sea."}])
    build(made)
    rows[3]["text"] = CHANGED
    write_jsonl(tmp_path / "in/a.jsonl", [*rows, {"id": "long", "text": long}])
    assert build(made).increments[1].superseded_document_ids == ("doc-3",)
    return made


def newest(config: CorpusConfig) -> Manifest:
    return read_manifest(config.corpus)


def check_rows(config: CorpusConfig, holding: Holding) -> None:
    """Check that exactly the named rows contain the text."""
    manifest = newest(config)
    num_rows = sum(shards.num_samples for shards in manifest.shard_sets(holding.stream))
    holders = [
        index
        for index in range(num_rows)
        for segment in find_row(config.corpus, manifest, holding.stream, index).segments
        if segment.text.text_id == holding.text_id
    ]
    assert list(holding.rows) == holders != []


def test_a_stored_pair_names_the_model_and_its_answer_and_stands_in_its_part(
    config: CorpusConfig, tokenizer_dir: str
) -> None:
    (holding,) = trace_document(config.corpus, newest(config), "doc-2").holdings
    counts: Counter[str] = Counter()
    found = [*current_pairs(config.corpus, newest(config), "domain", counts, with_passage=True)]
    assert counts == {"superseded": 1}
    ((pair, passage),) = (each for each in found if each[0].document_id == "doc-2")
    assert pair.synthesizer == f"sglang:instruction_synthesizer:{tokenizer_dir}"
    assert pair.generation == holding.passage.generation != ""
    assert "Study 2 " in passage and pair.span == ()  # the text has no "Study 2."
    parts = {pair.part: passage for pair, passage in found if pair.document_id == "long"}
    assert len(parts) > 1 and [*parts] != [""]
    assert all(passage.startswith("Study 77 has a sentence ") for passage in parts.values())


def test_a_document_is_traced_to_its_text_rows_source_and_answer(
    config: CorpusConfig, passages: Any, tmp_path: Path
) -> None:
    trace = trace_document(config.corpus, newest(config), "doc-2")
    text = passages(8)[2]["text"]
    assert trace.document_id == "doc-2"
    assert trace.entries == (
        Entry(
            stream="domain",
            increment=1,
            content_hash=content_hash(text),
            file=f"{tmp_path}/in/a.jsonl",
            state="current",
        ),
    )
    assert trace.refusals == ()
    (holding,) = trace.holdings
    assert (holding.stream, holding.place.increment, holding.is_current) == ("domain", 1, True)
    assert text in holding.text
    passage = holding.passage
    assert (passage.part, passage.num_pairs, passage.failure) == ("", 1, "")
    lines = Path(config.streams["domain"].sources[0].uri).read_text().splitlines(keepends=True)
    assert passage.source == f"{config.streams['domain'].sources[0].uri}:@{len(''.join(lines[:2]).encode())}"
    assert holding.generation is not None
    assert (holding.generation.completion_tokens, holding.generation.finish_reason) == (9, "stop")
    assert holding.generation.text.endswith("<ANS> Study 2. </END>")
    assert f"Which study is told of in {holding.generation.prompt_tokens}?" in holding.text
    check_rows(config, holding)


def test_a_changed_document_has_both_contents_and_says_which_is_current(
    config: CorpusConfig, passages: Any
) -> None:
    trace = trace_document(config.corpus, newest(config), "doc-3")
    old = content_hash(passages(8)[3]["text"])
    assert [(entry.increment, entry.state, entry.content_hash) for entry in trace.entries] == [
        (1, "superseded", old),
        (2, "current", content_hash(CHANGED)),
    ]
    first, second = trace.holdings
    assert (first.place.increment, first.is_current, first.passage.content_hash) == (1, False, old)
    assert (second.place.increment, second.is_current) == (2, True)
    assert CHANGED in second.text and CHANGED not in first.text
    for holding in trace.holdings:
        check_rows(config, holding)
    pinned = trace_document(config.corpus, read_manifest(config.corpus, 1), "doc-3")
    assert [entry.state for entry in pinned.entries] == ["current"]


def test_a_document_cut_into_parts_is_found_in_all_of_them(config: CorpusConfig) -> None:
    trace = trace_document(config.corpus, newest(config), "long")
    (entry,) = trace.entries
    parts = [holding.passage.part for holding in trace.holdings]
    num_parts = len(parts)
    assert num_parts > 2
    assert sorted(parts) == sorted(f"{number}/{num_parts}" for number in range(1, num_parts + 1))
    assert {holding.passage.content_hash for holding in trace.holdings} == {entry.content_hash}
    assert all(holding.is_current and holding.generation for holding in trace.holdings)
    for number in range(20):
        assert sum(f"a sentence {number}," in holding.text for holding in trace.holdings) == 1
    for holding in trace.holdings:
        check_rows(config, holding)


def test_a_document_whose_request_failed_is_in_raw_with_the_reason(config: CorpusConfig) -> None:
    trace = trace_document(config.corpus, newest(config), "doc-5")
    (holding,) = trace.holdings
    assert (holding.template, holding.passage.num_pairs, holding.passage.generation) == ("raw", 0, "")
    assert "not about study 5" in holding.passage.failure
    assert holding.generation is None
    (refusal,) = trace.refusals
    assert (refusal.increment, refusal.reject.stage) == (1, "synthesize")
    assert "not about study 5" in refusal.reject.detail


def test_a_refused_document_is_known_by_its_rejects_alone(config: CorpusConfig) -> None:
    trace = trace_document(config.corpus, newest(config), "short")
    assert (trace.entries, trace.holdings) == ((), ())
    (refusal,) = trace.refusals
    assert (refusal.increment, refusal.reject.stage, refusal.reject.reason) == (1, "clean", "too_short")
    assert refusal.reject.source.startswith(config.streams["domain"].sources[0].uri)


def test_a_document_of_a_stream_without_synthesis_has_no_answer(config: CorpusConfig) -> None:
    trace = trace_document(config.corpus, newest(config), "g")
    (holding,) = trace.holdings
    assert (holding.stream, holding.template, holding.passage.generation) == ("general", "raw", "")
    assert holding.text == "Water runs down from the hills to the sea."
    check_rows(config, holding)


def test_without_its_journal_all_but_the_answer_is_there(config: CorpusConfig, tutelage: Any) -> None:
    before = trace_document(config.corpus, newest(config), "doc-2").holdings[0]
    shutil.rmtree(Path(config.corpus) / "journal")
    after = trace_document(config.corpus, newest(config), "doc-2").holdings[0]
    assert before.generation is not None and after.generation is None
    assert (after.passage, after.rows, after.text) == (before.passage, before.rows, before.text)
    done = tutelage("corpus", "trace", config.corpus, "doc-2")
    assert "the journal no longer has its answer" in done.out


def test_the_beginning_of_a_contents_hash_stands_for_its_document(config: CorpusConfig) -> None:
    manifest = newest(config)
    by_name = trace_document(config.corpus, manifest, "doc-3")
    for entry in by_name.entries:  # includes entries of an older content
        assert trace_document(config.corpus, manifest, entry.content_hash[:8].upper()) == by_name
    with pytest.raises(CorpusError, match="nothing is known of a document"):
        trace_document(config.corpus, manifest, by_name.entries[0].content_hash[:7])


def test_an_unknown_document_is_answered_with_the_nearest_name(config: CorpusConfig, tutelage: Any) -> None:
    done = tutelage("corpus", "trace", config.corpus, "doc_3")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f"CorpusError: {config.corpus}: nothing is known of a document 'doc_3'. Did you mean 'doc-3'?\n"
    )
    assert "Did you mean 'short'?" in tutelage("corpus", "trace", config.corpus, "shorts").err
    assert tutelage("corpus", "trace", config.corpus, "?").err.endswith("a document '?'.\n")


def test_a_trace_is_printed(
    config: CorpusConfig, tutelage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    done = tutelage("corpus", "trace", config.corpus, "doc-3")
    assert (done.status, done.err) == (0, "")
    trace = trace_document(config.corpus, newest(config), "doc-3")
    assert "document doc-3\n" in done.out
    for entry in trace.entries:
        line = f"  increment {entry.increment}, domain: {entry.state}, content {entry.content_hash}"
        assert f"{line}, version of {tmp_path}/in/a.jsonl\n" in done.out
    for holding in trace.holdings:
        assert f" domain, increment {holding.place.increment}, text {holding.text_id} " in done.out
        assert f"rows {', '.join(f'domain:{row}' for row in holding.rows)} " in done.out
        assert holding.generation is not None and holding.generation.text in done.out
        assert f"{holding.generation.prompt_tokens} prompt tokens, 9 completion tokens" in done.out
        assert f"generation {holding.passage.generation}" in done.out
    assert done.out.count("; superseded") == 1
    refused = tutelage("corpus", "trace", config.corpus, "short").out
    assert "  not in the corpus\n  increment 1, clean: too_short (2 words, at least 5), " in refused


def test_json_of_a_trace_holds_all_of_it(config: CorpusConfig, tutelage: Any) -> None:
    done = tutelage("corpus", "trace", config.corpus, "doc-2", "--json")
    shown = json.loads(done.out)
    trace = trace_document(config.corpus, newest(config), "doc-2")
    (holding,) = trace.holdings
    assert shown["document_id"] == "doc-2"
    assert [entry["state"] for entry in shown["entries"]] == ["current"]
    assert shown["holdings"][0]["rows"] == list(holding.rows)
    assert shown["holdings"][0]["passage"]["source"] == holding.passage.source
    assert holding.generation is not None
    assert shown["holdings"][0]["generation"]["text"] == holding.generation.text


def test_what_was_compacted_and_withdrawn_is_still_told(config: CorpusConfig) -> None:
    compact(config, quiet=True)
    trace = trace_document(config.corpus, newest(config), "doc-3")
    assert [(entry.increment, entry.state) for entry in trace.entries] == [(3, "current")]
    (holding,) = trace.holdings
    assert (holding.place.increment, holding.is_current) == (3, True)
    check_rows(config, holding)
    assert trace_document(config.corpus, newest(config), "short").refusals[0].increment == 1
    withdraw(config, document_ids=["doc-3", "g"], quiet=True)
    for name in ("doc-3", "g"):
        gone = trace_document(config.corpus, newest(config), name)
        assert [(entry.increment, entry.state, entry.content_hash) for entry in gone.entries] == [
            (4, "withdrawn", "")
        ]
        assert gone.holdings == ()
