"""Plans and the builds that follow them. A test synthesizer counts requests: plans send none."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.planning.assumptions import Answers, expected_answers, expected_speed
from pipelines.planning.estimate_tokens import Round, estimate_rounds
from pipelines.planning.plan import IncrementPlan, plan_increment
from plugins.protocols.base import Example, Parsed, SynthesisProtocol
from plugins.synthesizers.generator import GenerationRequest, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.corpus_config import CorpusConfig
from schemas.manifest import read_manifest
from schemas.records import Chain, Document, Generation
from schemas.synthesis_config import SynthesisConfig
from tests.published import name_of, read_stats
from tests.tiny import save_bytes

Config = Callable[..., CorpusConfig]

ANSWER = "<QUE> What is it? <ANS> A study. </END>"
ANSWER_TOKENS = 7
LONG_AGO = 1_700_000_000


class Asked(Generator):
    """Generator that gives one answer to every request, and counts its uses."""

    num_opened = 0
    num_asked = 0

    def open(self) -> None:
        Asked.num_opened += 1

    async def generate(self, request: GenerationRequest) -> Generation:
        Asked.num_asked += 1
        return Generation(
            text=ANSWER,
            finish_reason="stop",
            prompt_tokens=len(request.prompt_ids),
            completion_tokens=ANSWER_TOKENS,
        )


class AskedSynthesizer(LanguageModelSynthesizer):
    """A language-model synthesizer without a language model."""

    def __init__(self, config: SynthesisConfig, *, seed: int):
        super().__init__(config, seed=seed, generator=Asked())


@pytest.fixture
def asked(
    synthesizer: Any, tokenizer_dir: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """A synthesis section with the synthesizer above; keywords replace keys."""
    monkeypatch.setattr(Asked, "num_opened", 0)
    monkeypatch.setattr(Asked, "num_asked", 0)
    backend = synthesizer(AskedSynthesizer)

    def make(**changes: Any) -> dict[str, Any]:
        values = {"backend": backend, "protocol": "instruction_synthesizer", "model": tokenizer_dir}
        return {**values, "max_new_tokens": 64, "context_tokens": 1024, **changes}

    return make


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tokenizer of one token a byte with EOS `</s>` and BOS `<s>`; it adds no BOS."""
    return save_bytes(tmp_path_factory.mktemp("bytes"), ["</s>", "<s>"], bos_token="<s>", eos_token="</s>")


@pytest.fixture
def nobody_calls() -> Iterator[str]:
    """URL of a server; the fixture fails if anyone connects to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def contents(folder: str | Path) -> dict[str, bytes]:
    paths = Path(folder).rglob("*")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in paths}


def plan(config: CorpusConfig, *options: str, **speed: float) -> IncrementPlan:
    """Make a plan and check that the corpus is unchanged."""
    before = contents(config.corpus) if Path(config.corpus).exists() else None
    found = plan_increment(config, options, quiet=True, **speed)
    assert (contents(config.corpus) if Path(config.corpus).exists() else None) == before
    return found


def counted(found: IncrementPlan) -> dict[str, int]:
    """Counts of a plan, under the names of a build's counters."""
    total = found.total
    counts = {
        "read/files": total.num_files,
        "read/documents": total.num_read,
        "ledger/new": total.num_new,
        "ledger/changed": total.num_changed,
        "ledger/unchanged": total.num_unchanged,
        "split/documents": total.num_split,
        "split/parts": total.num_parts,
        "chains/chains": total.num_chains,
        "synthesize/requests": total.num_requests,
        **{
            f"{stage}/rejected_{reason}": count
            for stage, reasons in total.rejects.items()
            for reason, count in reasons.items()
        },
    }
    return {name: count for name, count in counts.items() if count}


@pytest.mark.slow
def test_the_counts_are_those_of_the_build_that_follows(
    asked: Any, tmp_path: Path, passages: Any, write_jsonl: Any, corpus_config: Config, build: Any
) -> None:
    rows = passages(11)
    rows[4]["text"] = " ".join(row["text"] for row in passages(60))
    rows[5]["text"] = "Too short."
    write_jsonl(tmp_path / "a/1.jsonl", [*rows, {"id": "copy", "text": rows[2]["text"]}])
    write_jsonl(tmp_path / "a/2.jsonl", [{"id": "doc-3", "text": "Another text of the same name, see?"}])
    with open(tmp_path / "a/2.jsonl", "a") as file:
        file.write("{broken\n")
    general = [{"id": f"g{number}", "text": f"What is {number}? A whole number."} for number in range(4)]
    write_jsonl(tmp_path / "general.jsonl", general)
    streams = {
        name: {
            "synthesize": name == "domain",
            "sources": [{"reader": "jsonl", "uri": f"{tmp_path}/{where}", "id_field": "id"}],
        }
        for name, where in (("domain", "a/*.jsonl"), ("general", "general.jsonl"))
    }
    config = corpus_config(tmp_path / "corpus", streams=streams, synthesis=asked())
    for path in tmp_path.rglob("*.jsonl"):
        os.utime(path, (LONG_AGO, LONG_AGO))

    def plan_and_build() -> tuple[IncrementPlan, dict[str, int]]:
        sent = Asked.num_opened, Asked.num_asked
        found = plan(config)
        assert (Asked.num_opened, Asked.num_asked) == sent
        counts = read_stats(config.corpus, build(config).number)["counts"]
        assert counted(found) == {name: counts[name] for name in counted(found)}
        rejected = {name for name in counts if "/rejected_" in name}
        assert {name for name in counted(found) if "/rejected_" in name} == rejected
        return found, counts

    first, counts = plan_and_build()
    assert first.increment == 1
    assert first.total.rejects == {
        "clean": {"too_short": 1},
        "dedup": {"conflict": 1, "exact_duplicate": 1},
        "read": {"invalid_json": 1},
    }
    assert first.streams["domain"].num_new == 10
    assert first.streams["domain"].num_parts == counts["split/parts"] > 1
    assert first.streams["general"].num_new == 4
    assert first.streams["general"].num_requests == 0
    packed = read_manifest(config.corpus).increments[0].streams
    assert first.streams["general"].training_tokens == packed["general"].num_tokens

    rows[0]["text"] = "This document says something else than it has said before."
    more = {"id": "more", "text": "One more document that nobody has seen."}
    again = {"id": "again", "text": rows[6]["text"].upper()}  # now the first document with this content
    write_jsonl(tmp_path / "a/1.jsonl", [*rows, more, again])
    second, _ = plan_and_build()
    assert (second.increment, second.total.num_new, second.total.num_changed) == (2, 2, 1)
    assert second.total.rejects["ledger"] == {"already_ingested": 2}
    assert second.total.rejects["dedup"] == {"conflict": 1}
    assert second.total.num_files == 2  # the changed file, and the later, unchanged one
    assert second.total.num_unchanged == 8

    third = plan(config)
    assert (third.increment, third.total.num_new, third.total.num_requests) == (3, 0, 0)
    assert (third.total.training_tokens, third.total.num_rows, third.synthesis_hours) == (0, 0, 0.0)


@pytest.mark.slow
def test_prompts_without_examples_are_counted_to_the_token(
    asked: Any, tmp_path: Path, passages: Any, write_jsonl: Any, corpus_config: Config, build: Any
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", passages(9))
    config = corpus_config(tmp_path / "corpus", source, synthesis=asked(), chains={"max_documents": 1})
    found = plan(config)
    build(config)
    assert found.total.prompt_tokens == read_stats(config.corpus, 1)["synthesis"]["prompt_tokens"]
    assert (found.total.num_chains, found.total.num_requests) == (9, 9)


@pytest.mark.slow
def test_a_plan_is_what_can_be_counted_by_hand(
    nobody_calls: str, byte_tokenizer: str, tmp_path: Path, write_jsonl: Any, tutelage: Any
) -> None:
    """Each text has 20 bytes; the prompt of a single text is `<s> <CON> text </CON>⏎⏎`, 37 tokens."""
    write_jsonl(tmp_path / "a.jsonl", [{"id": c, "text": f"{c} is a text of bytes"[:20]} for c in "abc"])
    stream = {"synthesize": True, "sources": [{"reader": "jsonl", "uri": f"{tmp_path}/a.jsonl"}]}
    config = {
        "corpus": f"{tmp_path}/corpus",
        "streams": {"domain": stream},
        "chains": {"max_documents": 2},
        "synthesis": {
            "backend": "sglang",
            "protocol": "instruction_synthesizer",
            "model": byte_tokenizer,
            "endpoints": [nobody_calls],
            "max_new_tokens": 30,
        },
        "tokenizer": {"name": byte_tokenizer},
        "pack": {"seq_len": 64},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    before = contents(tmp_path)
    done = tutelage("corpus", "plan", f"{tmp_path}/c.yaml", "--json", "--quiet", "--tokens-per-sec", "0.5")
    assert (done.status, done.err) == (0, "")
    # The second prompt of a chain: 37 tokens and </s> of the first, its answer, and 37 own tokens. Cached
    # tokens: `<s> <CON> ` of a single prompt, and in the second prompt the first prompt and its answer.
    domain = {
        "num_files": 1,
        "num_read": 3,
        "num_new": 3,
        "num_changed": 0,
        "num_deleted": 0,
        "num_held_out": 0,
        "num_unchanged": 0,
        "num_rejected": 0,
        "rejects": {},
        "num_split": 0,
        "num_parts": 0,
        "num_chains": 2,
        "num_texts": 3,  # a text has 20 tokens and its answer 30: two do not fit into a row
        "num_cut_texts": 0,
        "num_requests": 3,
        "num_sampled_chains": 2,
        "mean_document_tokens": 20.0,
        "prompt_tokens": 37 + (38 + 30 + 37) + 37,
        "cached_tokens": 8 + (37 + 30) + 8,
        "completion_tokens": 90,
        "text_tokens": 60,
        "pair_tokens": 90,
        "training_tokens": 60 + 90 + 3,
        "num_rows": 3,
        "num_verify_requests": 0,
        "verify_prompt_tokens": 0,
        "verify_cached_tokens": 0,
        "verify_completion_tokens": 0,
    }
    assert json.loads(done.out) == {
        "corpus": f"{tmp_path}/corpus",
        "increment": 1,
        "seq_len": 64,
        "holdout": 0.0,
        "made_tasks": [],
        "streams": {"domain": domain},
        "total": domain,
        "num_samples": 1,
        "answers": {
            "mean_completion_tokens": 30.0,
            "mean_pair_tokens": 30.0,
            "source": "paper",
            "detail": "the paper's 5 pairs of 52 tokens, cut at synthesis.max_new_tokens 30",
        },
        "speed": {
            "requests_per_sec": None,
            "completion_tokens_per_sec": 0.5,
            "source": "option",
            "detail": "0.5 generated tokens a second, as --tokens-per-sec says",
        },
        "synthesis_hours": 0.05,
        "pairs_each": 5.0,
        "pairs_source": "as in the paper",
    }

    done = tutelage("corpus", "plan", f"{tmp_path}/c.yaml", "verify.judge={}", "--json")
    judged = json.loads(done.out)["total"]
    assert (judged["num_verify_requests"], judged["verify_completion_tokens"]) == (15, 15)
    assert judged["verify_prompt_tokens"] > judged["verify_cached_tokens"] > 12 * 20

    done = tutelage("corpus", "plan", f"{tmp_path}/c.yaml", "synthesis.max_new_tokens=1000")
    assert done.err.splitlines()[0] == (
        f"Planning increment 1 of {tmp_path}/corpus; nothing is sent or written."
    )
    assert [line.rstrip() for line in done.out.splitlines()] == [
        f"{tmp_path}/corpus: increment 1, of 3 documents.",
        "                                   domain",
        "  files                                 1",
        "  documents read                        3",
        "    new                                 3",
        "  chains                                2",
        "  requests                              3",
        "    tokens of a document         about 20",
        "  prompt tokens                 about 409",
        "    an ideal prefix cache has   about 313",
        "  completion tokens             about 780",
        "  training tokens               about 843",
        "    texts                         about 3",
        "    rows of 64                   about 14",
        "Requests: one for each document of a chain, at most; repairs and answers in the journal are "
        "not counted.",
        "Tokens of an answer: about 260, the paper's 5 pairs of 52 tokens.",
        "Hours: unknown. Give --requests-per-sec or --tokens-per-sec, or build a small increment first.",
    ]
    assert contents(tmp_path) == before


class OneTokenAByte(SynthesisProtocol):
    """Protocol whose prompts contain only documents."""

    def __init__(self) -> None:
        """Needs no tokenizer."""

    def prompt(self, examples: Any, document: Document) -> list[int]:
        texts = [example.document.text for example in examples] + [document.text]
        return list("|".join(["", *texts]).encode())

    def parse(self, text: str) -> Parsed:
        raise NotImplementedError


def test_a_chain_breaks_where_examples_and_answers_do_not_fit() -> None:
    documents = tuple(Document.of(name, name * 10, source="test") for name in "abcd")
    chain = Chain(chain_id="c", documents=documents)
    config = SynthesisConfig(context_tokens=60, max_new_tokens=10)  # 50 tokens for a prompt
    assert [tuple(each) for each in rounds(chain, config, answer_tokens=10)] == [
        (11, 1, True),
        (11 + 10 + 11, 11 + 10, False),
        (11, 1, True),  # 2 × (11 + 10) + 11 tokens are too many
        (11 + 10 + 11, 11 + 10, False),
    ]
    assert [each.is_alone for each in rounds(chain, config, answer_tokens=0)] == [True, False, False, False]


def rounds(chain: Chain, config: SynthesisConfig, *, answer_tokens: int) -> list[Round]:
    protocol = OneTokenAByte()
    assert protocol.prompt([Example(document=chain.documents[0], pairs=())], chain.documents[1])
    return list(estimate_rounds(chain, protocol=protocol, config=config, answer_tokens=answer_tokens))


@pytest.mark.slow
def test_answers_and_speed_come_from_the_journal_and_the_statistics(
    asked: Any, tmp_path: Path, passages: Any, write_jsonl: Any, corpus_config: Config, build: Any
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", passages(6))
    config = corpus_config(tmp_path / "corpus", source, synthesis=asked())
    build(config)
    write_jsonl(tmp_path / "a.jsonl", passages(10))
    found = plan(config)
    detail = "mean of 6 answers in the corpus's journal"
    assert found.answers == Answers(
        mean_completion_tokens=7.0, mean_pair_tokens=7.0, source="journal", detail=detail
    )
    assert found.total.completion_tokens == 4 * ANSWER_TOKENS
    rate = read_stats(config.corpus, 1)["synthesis"]["completion_tokens_per_sec"]
    assert found.speed is not None and found.synthesis_hours is not None
    assert (found.speed.completion_tokens_per_sec, found.speed.source) == (rate, "stats")
    assert found.synthesis_hours == pytest.approx(28 / rate / 3600)
    shutil.rmtree(f"{config.corpus}/journal")
    detail = "mean of 6 requests in the stats.json of earlier increments"
    assert expected_answers(config, (name_of(config.corpus, 1),)) == Answers(
        mean_completion_tokens=7.0, mean_pair_tokens=7.0, source="stats", detail=detail
    )


@pytest.fixture
def past(tmp_path: Path, corpus_config: Config) -> tuple[CorpusConfig, tuple[str, ...]]:
    """A corpus whose increments 1 and 2 sent requests; increment 3 sent none."""
    for number, synthesis in (
        (1, {"requests": 10, "completion_tokens": 1000, "completion_tokens_per_sec": 50.0}),
        (2, {"requests": 30, "completion_tokens": 5000, "completion_tokens_per_sec": 500.0}),
        (3, {}),
    ):
        path = tmp_path / f"corpus/increments/{number:06d}/stats.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"counts": {}, "synthesis": synthesis}))
    return corpus_config(tmp_path / "corpus", "none.jsonl"), ("000001", "000002", "000003")


def test_answers_of_earlier_increments_are_averaged_over_all_of_them(past: Any) -> None:
    config, known = past
    assert expected_answers(config, known).mean_completion_tokens == 150.0
    assert expected_answers(config, ("000003",)).source == "paper"


def test_no_answer_is_expected_to_be_longer_than_allowed(past: Any) -> None:
    config, known = past
    short = config.model_copy(update={"synthesis": SynthesisConfig(max_new_tokens=100)})
    assert expected_answers(short, known).mean_completion_tokens == 100


def test_damaged_and_unfinished_lines_of_a_journal_count_for_nothing(past: Any) -> None:
    config, known = past
    folder = Path(config.corpus) / "journal"
    folder.mkdir()
    record = {"text": "a", "finish_reason": "stop", "prompt_tokens": 1, "cached_tokens": 0}
    lines = [
        json.dumps({"key": "00" * 16, "generation": {**record, "completion_tokens": n}}) for n in (10, 40)
    ]
    (folder / "1-a-0001.jsonl").write_text(f"{lines[0]}\nnonsense\n{{}}\n")
    (folder / "2-b-0001.jsonl").write_text(f"{lines[1]}\n{lines[1][:40]}")
    answers = expected_answers(config, known)
    assert (answers.mean_completion_tokens, answers.source) == (25.0, "journal")


def test_hours_follow_from_the_speed_given_before_that_of_the_newest_increment(past: Any) -> None:
    config, known = past
    work: dict[str, Any] = {"num_requests": 7200, "completion_tokens": 360_000.0}
    given = expected_speed(config, known, requests_per_sec=2.0)
    assert given is not None and given.hours(**work) == 1.0
    given = expected_speed(config, known, tokens_per_sec=50.0)
    assert given is not None and given.hours(**work) == 2.0
    newest = expected_speed(config, known)
    assert newest is not None and newest.hours(**work) == pytest.approx(0.2)
    assert newest.detail == "500 generated tokens a second, as in increment 2"
    assert expected_speed(config, ("000003",)) is None


@pytest.mark.slow
def test_the_sample_does_not_depend_on_files_order_or_workers(
    tmp_path: Path,
    tokenizer_dir: str,
    passages: Any,
    write_jsonl: Any,
    corpus_config: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.planning.counting_job._SAMPLED_CHAINS", 5)
    rows = [{"id": row["id"], "text": row["text"] * (1 + at % 7)} for at, row in enumerate(passages(40))]
    synthesis = {"backend": "sglang", "model": tokenizer_dir, "endpoints": ["http://127.0.0.1:9"]}
    synthesis["protocol"] = "instruction_synthesizer"

    def planned(name: str, *parts: list[Any], options: tuple[str, ...] = ()) -> IncrementPlan:
        for number, part in enumerate(parts):
            write_jsonl(tmp_path / name / f"{number}.jsonl", part)
        config = corpus_config(tmp_path / "corpus", f"{tmp_path}/{name}/*.jsonl", synthesis=synthesis)
        found = plan(config, *options)
        total = dataclasses.replace(found.total, num_files=1)
        return dataclasses.replace(found, streams={}, total=total)

    one = planned("one", rows)
    assert (one.total.num_sampled_chains, one.total.num_chains, one.total.num_requests) == (5, 20, 40)
    assert planned("three", rows[::-3], rows[-2::-3], rows[-3::-3]) == one
    processes = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    assert planned("one", rows, options=processes) == one
    assert planned("one", rows, options=("--direct_runner_bundle_repeat=1",)) == one
    monkeypatch.undo()
    every = planned("one", rows)
    assert every.total.num_sampled_chains == 20
    assert one.total.text_tokens == pytest.approx(every.total.text_tokens, rel=0.1)
    assert one.total.text_tokens != every.total.text_tokens


@pytest.fixture
def mined(
    tmp_path: Path, tokenizer_dir: str, passages: Any, write_jsonl: Any, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A YAML of four documents whose pairs are mined."""
    monkeypatch.setenv("COLUMNS", "400")
    source = write_jsonl(tmp_path / "a.jsonl", passages(4))
    os.utime(source, (LONG_AGO, LONG_AGO))
    config = {
        "corpus": f"{tmp_path}/corpus",
        "streams": {"domain": {"synthesize": True, "sources": [{"reader": "jsonl", "uri": source}]}},
        "tokenizer": {"name": tokenizer_dir},
    }
    (tmp_path / "mined.yaml").write_text(yaml.safe_dump(config))
    return f"{tmp_path}/mined.yaml"


@pytest.mark.slow
def test_mining_needs_no_requests_and_a_plan_after_the_build_says_that_nothing_is_new(
    mined: str, tmp_path: Path, tutelage: Any
) -> None:
    found = json.loads(tutelage("corpus", "plan", mined, "--json").out)
    total = found["total"]
    assert (total["num_new"], total["num_chains"], total["num_requests"]) == (4, 2, 0)
    assert (total["pair_tokens"], total["mean_document_tokens"], found["answers"]) == (None, None, None)
    assert (total["completion_tokens"], found["synthesis_hours"]) == (0, 0.0)
    lines = tutelage("corpus", "plan", mined).out.splitlines()
    assert lines[-1] == "The synthesizer sends no requests. Its pairs are not in the training tokens."
    assert not any("requests  " in line for line in lines)

    assert tutelage("corpus", "build", mined).status == 0
    before = contents(tmp_path)
    done = tutelage("corpus", "plan", mined)
    assert done.status == 0
    assert (
        done.out == f"{tmp_path}/corpus: nothing new; a build would send no requests and publish nothing.\n"
    )
    assert contents(tmp_path) == before

    (tmp_path / "a.jsonl").touch()
    done = tutelage("corpus", "plan", mined)
    assert [line.rstrip() for line in done.out.splitlines()] == [
        f"{tmp_path}/corpus: nothing new; a build would send no requests and publish nothing.",
        "                   domain",
        "  files                 1",
        "  documents read        4",
        "    unchanged           4",
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ("--requests-per-sec", "0"),
            2,
            "ConfigError: --requests-per-sec 0: expected a number above 0, for all servers together.",
        ),
        (
            ("--tokens-per-sec", "nan"),
            2,
            "ConfigError: --tokens-per-sec nan: expected a number above 0, for all servers together.",
        ),
        (
            ("--tokens-per-sec", "1", "--requests-per-sec", "1"),
            2,
            "ConfigError: --requests-per-sec and --tokens-per-sec are both given; keep the measured one.",
        ),
        (("synthesis.backend=mind",), 2, "ConfigError: synthesizer 'mind' is unknown. Did you mean 'mined'?"),
        (("--", "--runer=x"), 2, "ConfigError: Beam option 'runer' is unknown."),
        (
            ("streams.domain.sources=[{reader: jsonl, uri: none.jsonl}]",),
            1,
            "InputError: source uri 'none.jsonl' matches no file.",
        ),
        (
            ("clean.min_words=1000",),
            1,
            "InputError: no document of the sources can be used. Rejects: 4 clean: too_short.",
        ),
    ],
)
def test_wrong_use_ends_as_a_build_would(
    arguments: tuple[str, ...], status: int, message: str, mined: str, tmp_path: Path, tutelage: Any
) -> None:
    done = tutelage("corpus", "plan", mined, *arguments)
    assert (done.status, done.out) == (status, "")
    assert done.err.splitlines()[-1].startswith(message)
    assert not (tmp_path / "corpus").exists()


def test_sources_without_a_document_are_refused(mined: str, tmp_path: Path, tutelage: Any) -> None:
    (tmp_path / "a.jsonl").write_text("")
    done = tutelage("corpus", "plan", mined)
    assert (done.status, done.err.splitlines()[-1]) == (1, "InputError: the sources hold no documents.")


def test_servers_that_a_build_would_start_are_not_started(
    mined: str, tmp_path: Path, tokenizer_dir: str, tutelage: Any
) -> None:
    started = tmp_path / "started"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {started}\n")
    python.chmod(0o755)
    synthesis = f"{{backend: sglang, protocol: instruction_synthesizer, model: {tokenizer_dir}}}"
    done = tutelage(
        "corpus",
        "plan",
        mined,
        f"synthesis={synthesis}",
        f"synthesis.server={{python: {python}, gpus_per_server: 0}}",
        *("--json", "--quiet"),
    )
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out)["total"]["num_requests"] == 4
    assert not started.exists()
    assert not (tmp_path / "corpus").exists()
