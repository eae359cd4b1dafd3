"""Verification in whole builds: a server that judges, test rules, statistics, card, show, plan."""

from __future__ import annotations

import collections
import json
import math
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pipelines.increment import config_hash
from pipelines.inspect.export_pairs import current_pairs
from pipelines.store.statistics import stats_of
from plugins.verifiers import VERIFIERS
from plugins.verifiers.base import Verdict, Verifier, VerifierOptions
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError, SynthesisError
from schemas.manifest import read_manifest
from schemas.records import InstructionPair, StoredPair
from tests.published import name_of

pytestmark = pytest.mark.slow
NUM_DOCUMENTS = 4


class Even(Verifier[VerifierOptions]):
    """Refuse pairs whose question holds an odd number; the span is the passage's first word."""

    name = "even"
    Options = VerifierOptions

    def verdict(self, passage: str, pair: InstructionPair) -> Verdict:
        number = int("".join(filter(str.isdigit, pair.instruction)) or 0)
        if number % 2:
            return Verdict(score=0.25, reason=f"{number} is odd")
        return Verdict(score=0.75, span=(0, len(passage.split()[0])))


class Elsewhere(Verifier[VerifierOptions]):
    """Refuse all pairs about study 3, and raise an exception about study 2."""

    name = "elsewhere"
    Options = VerifierOptions

    def verdict(self, passage: str, pair: InstructionPair) -> Verdict:
        if "Study 2 " in passage and "1" in pair.instruction:
            raise RuntimeError("a bug")
        return Verdict(score=float("Study 3 " not in passage))


@pytest.fixture(autouse=True)
def rules_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("verifier_of_a_test")
    module.Even, module.Elsewhere = Even, Elsewhere  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    targets = {each.name: f"verifier_of_a_test:{each.__name__}" for each in (Even, Elsewhere)}
    targets = {**VERIFIERS.targets(), **targets}
    monkeypatch.setattr(VERIFIERS, "_targets", targets)


class Server:
    """Stand-in for SGLang that writes three pairs about a prompt, and judges.

    Attributes:
        asked: Requests for pairs.
        judged: Bodies of requests to judge, in order.
        says: Answers of the judge, by the number in the pair's answer.
        status: HTTP status of answers of the judge.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self.asked = 0
        self.judged: list[dict[str, Any]] = []
        self.says: dict[int, str] = {}
        self.probability: dict[int, float] = {}
        self.status = 200

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/generate", self._generate)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        meta: dict[str, Any] = {"id": body["rid"], "finish_reason": {"type": "stop"}, "cached_tokens": 0}
        meta |= {"prompt_tokens": len(body["input_ids"]), "completion_tokens": 9}
        if body["sampling_params"]["max_new_tokens"] != 1:
            self.asked += 1
            text = "".join(f"<QUE> What is {at}? <ANS> It is {at}. </END>\n\n" for at in range(3))
            return web.json_response({"text": text, "meta_info": meta})
        self.judged.append(body)
        if self.status != 200:
            return web.json_response({"error": "out of order"}, status=self.status)
        number = int(self.decode(body["input_ids"]).rpartition("It is ")[2][0])
        meta["completion_tokens"] = 1
        if number in self.probability:
            yes, no = (body["token_ids_logprob"][at] for at in (0, -1))
            share = self.probability[number]
            found = [[math.log(share), yes, None], [math.log(1 - share), no, None]]
            meta["output_token_ids_logprobs"] = [found]
        return web.json_response({"text": self.says.get(number, "Yes"), "meta_info": meta})


@pytest.fixture
def server(serve: Callable[[web.Application], str], tokenizer_dir: str) -> Server:
    from plugins.tokenizers import load_tokenizer

    made = Server(load_tokenizer(tokenizer_dir).decode)
    made.url = serve(made.app())  # type: ignore[attr-defined]
    return made


@pytest.fixture
def config(
    server: Any,
    tmp_path: Path,
    tokenizer_dir: str,
    write_jsonl: Callable[..., str],
    passages: Callable[[int], list[dict[str, str]]],
    corpus_config: Callable[..., CorpusConfig],
) -> Callable[..., CorpusConfig]:
    source = write_jsonl(tmp_path / "docs.jsonl", passages(NUM_DOCUMENTS))
    synthesis = {
        "backend": "sglang",
        "protocol": "instruction_synthesizer",
        "model": tokenizer_dir,
        "endpoints": [server.url],
        "max_new_tokens": 200,
        "max_failure_share": 0.5,
        "options": {"max_attempts": 2, "backoff_sec": 0.01, "max_backoff_sec": 0.02, "patience_sec": 1},
    }

    def make(verify: Any = None, corpus: str = "corpus", **changes: Any) -> CorpusConfig:
        return corpus_config(
            tmp_path / corpus,
            source,
            chains={"max_documents": 1},
            synthesis={**synthesis, **changes},
            verify=verify,
        )

    return make


def pairs_of(corpus: str) -> list[StoredPair]:
    return [pair for pair, _ in current_pairs(corpus, read_manifest(corpus), "domain", collections.Counter())]


def test_a_build_drops_what_a_rule_refuses_and_tells_it_everywhere(
    config: Callable[..., CorpusConfig],
    build: Callable[..., Any],
    texts_in: Callable[..., Any],
    rejects_in: Callable[..., Any],
    tutelage: Callable[..., Any],
    server: Server,
) -> None:
    made = config({"even": {"min_score": 0.5}})
    build(made)
    corpus = made.corpus
    rejects = rejects_in(corpus, "verify")
    assert [(each["reason"], each["detail"]) for each in rejects] == [
        ("even", "pair 2 'What is 1?', answer 'It is 1.': 0.25, at least 0.5: 1 is odd")
    ] * NUM_DOCUMENTS
    texts = texts_in(corpus)
    assert [text.mean_score for text in texts] == [0.75] * NUM_DOCUMENTS
    kept = pairs_of(corpus)
    assert len(kept) == 2 * NUM_DOCUMENTS
    assert {(each.verdicts[0].rule, each.verdicts[0].score, each.verdicts[0].span) for each in kept} == {
        ("even", 0.75, (0, 5))
    }
    verification = stats_of(corpus, name_of(corpus, 1))["verification"]
    assert verification == {"pairs": 12, "kept": 8, "dropped": {"even": 4}, "share_dropped": {"even": 0.3333}}
    line = "verified: 12 pairs, 4 dropped (33.3%): even 4 (33.3%)"
    assert line in tutelage("corpus", "show", corpus).out
    card = Path(corpus, "increments", name_of(corpus, 1), "README.md").read_text()
    assert "name: verdicts" in card
    assert "| even | 4 | 33.3% |" in card and "| pairs verified by | even |" in card
    assert tutelage("corpus", "verify", corpus).status == 0
    shown = tutelage("corpus", "show", corpus, "--pairs", "1", "--rule", "even", "--worst").out
    assert "▸Study◂" in shown and "even 0.75" in shown and "Q: What is" in shown
    refused = tutelage("corpus", "show", corpus, "--pairs", "1", "--rule", "evn")
    assert refused.status == 2 and "Did you mean 'even'?" in refused.err
    assert tutelage("corpus", "show", corpus, "--worst").status == 2
    assert server.judged == []


def test_marked_pairs_stay_and_are_counted(
    config: Callable[..., CorpusConfig], build: Callable[..., Any], tutelage: Callable[..., Any]
) -> None:
    made = config({"even": {"action": "mark"}})
    build(made)
    assert "0 dropped (0.0%); kept with a mark: even 4 (33.3%)" in tutelage("corpus", "show", made.corpus).out
    found = json.loads(tutelage("corpus", "show", made.corpus, "--pairs", "9", "--worst", "--json").out)
    assert [each["verdicts"][0]["score"] for each in found["pairs"]] == [0.25] * 4 + [0.75] * 5


def test_the_judge_costs_one_token_and_shares_the_passage_and_is_paid_once(
    config: Callable[..., CorpusConfig], build: Callable[..., Any], server: Server, digests_of: Any
) -> None:
    server.probability = {0: 0.9, 1: 0.6, 2: 0.2}
    server.says = {2: "No"}
    made = config({"judge": {"min_score": 0.7}})
    build(made)
    assert len(server.judged) == 3 * NUM_DOCUMENTS
    first = server.judged[0]
    assert first["sampling_params"] == {"max_new_tokens": 1, "temperature": 0.0, "regex": "Yes|No"}
    assert first["return_logprob"] and len(first["token_ids_logprob"]) >= 2
    stats = stats_of(made.corpus, name_of(made.corpus, 1))
    verification = stats["verification"]
    assert (verification["dropped"], verification["kept"]) == ({"judge": 8}, 4)
    assert (verification["requests"], verification["completion_tokens"]) == (12, 12)
    assert stats["synthesis"]["requests"] == NUM_DOCUMENTS
    assert {each.verdicts[0].score for each in pairs_of(made.corpus)} == {0.9}
    again = config({"judge": {"min_score": 0.7}}, corpus="again")
    shutil.copytree(Path(made.corpus, "journal"), Path(again.corpus, "journal"))
    build(again)
    assert (len(server.judged), server.asked) == (12, 4)
    assert digests_of(again.corpus) == digests_of(made.corpus)


def test_an_answer_that_is_neither_is_a_failure_and_its_pair_is_dropped(
    config: Callable[..., CorpusConfig], build: Callable[..., Any], server: Server, rejects_in: Any
) -> None:
    server.says = {1: "maybe", 2: "n"}
    made = config({"judge": {}})
    build(made)
    found = collections.Counter(each["reason"] for each in rejects_in(made.corpus, "verify"))
    assert found == {"judge_failed": 4, "judge": 4}
    detail = next(
        each["detail"] for each in rejects_in(made.corpus, "verify") if each["reason"] == "judge_failed"
    )
    assert detail == (
        "pair 2 'What is 1?', answer 'It is 1.': dropped unverified: unreadable: the model answers 'maybe', "
        "expected Yes or No"
    )
    strict = config({"judge": {}}, corpus="strict", max_failure_share=0.1)
    with pytest.raises(SynthesisError, match=r"of 12 pairs failed, .*verify\.judge: unreadable: "):
        build(strict)
    asked = len(server.judged)
    server.says = {}
    build(strict)  # asks about the unreadable answers again, and about no other
    assert (server.asked, len(server.judged) - asked) == (2 * NUM_DOCUMENTS, NUM_DOCUMENTS)
    assert len(pairs_of(strict.corpus)) == 8  # the answer `n` was kept


def test_a_judge_behind_openais_api_reads_the_passage_and_the_pair_and_gives_shares(
    config: Callable[..., CorpusConfig],
    build: Callable[..., Any],
    serve: Callable[[web.Application], str],
    rejects_in: Any,
) -> None:
    bodies: list[dict[str, Any]] = []

    async def chat(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        share = 0.9 if "It is 0" in bodies[-1]["messages"][0]["content"] else 0.2
        listed = [(" Yes", share), ("No", 1 - share), ("Maybe", 0.0001)]
        top = [{"token": token, "logprob": math.log(each)} for token, each in listed]
        choice = {
            "message": {"role": "assistant", "content": "Yes" if share > 0.5 else "No"},
            "finish_reason": "length",
            "logprobs": {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": top}]},
        }
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    made = config({"judge": {"backend": "openai", "model": "hosted", "endpoints": serve(app)}})
    build(made)
    assert len(bodies) == 3 * NUM_DOCUMENTS
    for body in bodies:
        ((role, content),) = [(each["role"], each["content"]) for each in body["messages"]]
        assert role == "user" and "Passage:\nStudy " in content and "Question: What is " in content
        assert (body["model"], body["max_tokens"], body["logprobs"]) == ("hosted", 1, True)
    assert {each.verdicts[0].score for each in pairs_of(made.corpus)} == {0.9}
    refused = rejects_in(made.corpus, "verify")
    assert {each["pairs"][0]["verdicts"][0]["score"] for each in refused} == {0.2}
    assert {each["pairs"][0]["response"] for each in refused} == {"It is 1.", "It is 2."}


def test_a_build_with_other_rules_says_that_earlier_pairs_stay(
    config: Callable[..., CorpusConfig],
    build: Callable[..., Any],
    tmp_path: Path,
    write_jsonl: Any,
    passages: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from pipelines.increments.build import build_increment

    build(config({"even": None}))
    said = "Increment 1 was verified by other rules than `verify` has now; its pairs stay as they are.\n"
    for rules, is_said in (({"even": None}, False), ({"even": {"min_score": 0.2}}, True), ({}, True)):
        capsys.readouterr()
        assert build_increment(config(rules)) is None
        assert (said in capsys.readouterr().err) == is_said
    write_jsonl(tmp_path / "docs.jsonl", passages(NUM_DOCUMENTS + 1))
    assert build_increment(config({"even": {"min_score": 0.2}})) is not None
    assert said in capsys.readouterr().err


def test_a_judge_that_fails_ends_the_build_and_the_next_build_pays_for_no_pair_again(
    config: Callable[..., CorpusConfig], build: Callable[..., Any], server: Server
) -> None:
    server.status = 500
    made = config({"judge": {}})
    with pytest.raises(SynthesisError, match=r"pairs failed, .*http_500"):
        build(made)
    assert server.asked == NUM_DOCUMENTS
    server.status = 200
    server.judged.clear()
    build(made)
    assert (server.asked, len(server.judged)) == (NUM_DOCUMENTS, 12)


def test_a_document_that_loses_all_pairs_is_raw_text_and_a_bug_of_a_rule_costs_one_pair(
    config: Callable[..., CorpusConfig],
    build: Callable[..., Any],
    texts_in: Any,
    rejects_in: Any,
    tutelage: Callable[..., Any],
) -> None:
    made = config({"elsewhere": None})
    build(made)
    found = {text.document_ids[0]: (text.num_pairs, text.mean_score) for text in texts_in(made.corpus)}
    assert found == {"doc-0": (3, 1.0), "doc-1": (3, 1.0), "doc-2": (2, 1.0), "doc-3": (0, None)}
    (failed,) = [each for each in rejects_in(made.corpus, "verify") if each["reason"] == "elsewhere_failed"]
    assert failed["detail"].endswith("dropped unverified: unexpected_error: RuntimeError: a bug")
    assert "4 dropped (33.3%): elsewhere 3 (25.0%), elsewhere_failed 1 (8.3%); 1 documents lost" in (
        tutelage("corpus", "show", made.corpus).out
    )


def test_a_first_build_that_loses_all_pairs_is_refused_with_the_rule(
    config: Callable[..., CorpusConfig], build: Callable[..., Any]
) -> None:
    with pytest.raises(
        SynthesisError, match=r"verify dropped all 12 pairs \(even 12\); nothing was published"
    ):
        build(config({"even": {"min_score": 1.0}}))


@pytest.mark.parametrize(
    ("verify", "changes", "message"),
    [
        ({"evn": {}}, {}, r"^verify: verifier 'evn' is unknown\. Did you mean 'even'\? Available: "),
        ({"even": {"min_score": 1.5}}, {}, r"^verify\.even: min_score is 1\.5: "),
        ({"judge": {"min_score": -1}}, {}, r"^verify\.judge: min_score is -1: "),
        (
            {"judge": {}},
            {"backend": "mined"},
            r"^verify\.judge needs a model, and backend 'mined' asks none\. ",
        ),
        (
            {"judge": {"endpoints": "http://127.0.0.1:1"}},
            {"backend": "mined", "model": None},
            "model is missing",
        ),
        ({"judge": {"limit": 1}}, {}, r"^verify\.judge: key 'limit' is unknown"),
        (
            {"judge": {"backend": "openai", "model": "m"}},
            {},
            r"^verify\.judge: verify\.judge\.endpoints is empty",
        ),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(
    config: Callable[..., CorpusConfig],
    build: Callable[..., Any],
    server: Server,
    verify: Any,
    changes: Any,
    message: str,
) -> None:
    if changes:
        changes = {**changes, "options": {}, "endpoints": []}
    with pytest.raises(ConfigError, match=message):
        build(config(verify, **changes))
    assert server.asked == 0


def test_without_the_key_nothing_changes_unless_a_model_has_default_rules(
    config: Callable[..., CorpusConfig],
    build: Callable[..., Any],
    digests_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import plugins.verifiers.rules as step
    from pipelines.increments.build import build_increment

    monkeypatch.setattr(step, "DEFAULT_RULES", ())
    absent, off = config(corpus="absent"), config({}, corpus="off")
    build(absent)
    build(off)
    assert digests_of(absent.corpus) == digests_of(off.corpus)
    assert "verification" not in stats_of(absent.corpus, name_of(absent.corpus, 1))
    monkeypatch.setattr(step, "DEFAULT_RULES", ("even",))
    assert step.rules_of(absent) == {"even": None}
    assert step.rules_of(off) == {}
    assert step.rules_of(config(backend="mined", model=None)) == {}
    assert config_hash(absent) != config_hash(config({}, corpus="absent"))
    source = Path(absent.streams["domain"].sources[0].uri)
    source.write_text(
        source.read_text() + json.dumps({"id": "new", "text": "A cell binds a gene in the trial."})
    )
    build_increment(absent)
    said = capsys.readouterr().err
    assert "Pairs are verified by even, the default for pairs of a model; `verify: {}`" in said
    assert "Increment 1 was not verified; its pairs stay as they are." in said
    assert "verification" in stats_of(absent.corpus, name_of(absent.corpus, 2))
