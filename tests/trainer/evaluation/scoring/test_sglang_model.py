"""Models behind an SGLang server: a stand-in for failures, and a real server compared with transformers."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from plugins.sglang.server import lease_servers
from plugins.tasks.lookup import load_tasks
from schemas.config import ConfigError
from schemas.errors import TutelageError
from schemas.synthesis_config import ServerConfig
from trainer.evaluation.command import main
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.scoring.sglang_model import ServedModel

Write = Callable[..., Path]


@pytest.fixture
def stand_in(serve: Callable[[web.Application], str], tiny_model_dir: Path) -> Callable[..., str]:
    """Function that starts a server with a given answer to `/generate` and returns its URL."""

    def start(generate: Callable[[dict[str, Any]], web.Response], *, max_req_input_len: int = 123) -> str:
        async def answer(request: web.Request) -> web.Response:
            return generate(await request.json())

        async def info(request: web.Request) -> web.Response:
            return web.json_response(
                {"model_path": str(tiny_model_dir), "max_req_input_len": max_req_input_len}
            )

        app = web.Application()
        app.router.add_post("/generate", answer)
        app.router.add_get("/get_server_info", info)  # up to SGLang 0.5.1; later paths are tried first
        return serve(app)

    return start


def test_a_row_that_the_server_refuses_is_named_and_others_are_scored(
    stand_in: Callable[..., str], task_dir: Path, tokenizer: Any
) -> None:
    def generate(body: dict[str, Any]) -> web.Response:
        ids, start = body["input_ids"], body["logprob_start_len"]
        if len(ids) > 12:
            return web.json_response({"error": {"message": "it is too long"}}, status=400)
        told = [[None, ids[start], None], *([token / 1000, token, None] for token in ids[start + 1 :])]
        meta = {"finish_reason": {"type": "length"}, "input_token_logprobs": told}
        return web.json_response({"text": "", "meta_info": meta})

    (task,) = load_tasks([str(task_dir / "mcq.jsonl")])
    model = ServedModel.connect(stand_in(generate))
    assert model.context_tokens == 122
    (result,) = Evaluator([task], tokenizer).run(model)
    assert result.rows and result.refused and len(result.rows) + len(result.refused) == 7
    (reason,) = {row.reason for row in result.refused}
    assert reason.startswith("the server refuses it: http://127.0.0.1:")
    assert reason.endswith("/generate answered HTTP 400: it is too long")
    for answer in result.answers:
        assert answer.value == answer.option_scores.index(max(answer.option_scores))


def test_a_server_that_fails_ends_the_task_instead_of_scoring_what_is_left(
    stand_in: Callable[..., str], task_dir: Path, tokenizer: Any
) -> None:
    def generate(body: dict[str, Any]) -> web.Response:  # as a version without log-probabilities
        return web.json_response({"text": "", "meta_info": {"finish_reason": {"type": "length"}}})

    tasks = load_tasks([str(task_dir / "mcq.jsonl")])
    with pytest.raises(TutelageError, match=r"mcq\.jsonl:\d: the server gave no answer \(bad_answer\)"):
        Evaluator(tasks, tokenizer).run(ServedModel.connect(stand_in(generate)))


def test_held_out_texts_pass_to_a_server_window_by_window(
    stand_in: Callable[..., str], tmp_path: Path, write_rows: Write, tokenizer: Any
) -> None:
    sent: list[tuple[int, int]] = []

    def generate(body: dict[str, Any]) -> web.Response:
        ids, start = body["input_ids"], body["logprob_start_len"]
        sent.append((len(ids), start))
        told = [[None, ids[start], None], *([-token / 1000, token, None] for token in ids[start + 1 :])]
        meta = {"finish_reason": {"type": "length"}, "input_token_logprobs": told}
        return web.json_response({"text": "", "meta_info": meta})

    text = "the patient has a fever and the doctor gives aspirin"
    write_rows(tmp_path / "rows.jsonl", {"text": text}, {"text": "pain"})
    (tmp_path / "held.yaml").write_text(
        "{name: held, domain: d, kind: perplexity, rows: rows.jsonl, window_tokens: 6, stride_tokens: 3}"
    )
    url = stand_in(generate)
    (result,) = Evaluator(load_tasks([str(tmp_path / "held.yaml")]), tokenizer).run(ServedModel.connect(url))
    # Each token's log-probability is its id by 1,000, so the sum shows that each is scored once.
    ids = [tokenizer(each, add_special_tokens=False).input_ids for each in (text, "pain")]
    bits = [sum(of_text) / 1000 / math.log(2) for of_text in ids]
    assert [answer.value for answer in result.answers] == pytest.approx(bits)
    assert result.scores["bits_per_byte"] == pytest.approx(sum(bits) / (len(text) + 4))
    assert result.summary()["window"] == 6
    assert len(ids[0]) == 10  # and the opening: windows of 6, 6 and 5 tokens
    assert sorted(sent) == sorted([(6, 0), (6, 2), (5, 2), (1 + len(ids[1]), 0)])


def test_a_server_that_cuts_a_text_is_an_error(
    stand_in: Callable[..., str], tmp_path: Path, write_rows: Write, tokenizer: Any
) -> None:
    def generate(body: dict[str, Any]) -> web.Response:  # as with --allow-auto-truncate
        told = [
            [None, body["input_ids"][0], None],
            *([-1.0, token, None] for token in body["input_ids"][1:4]),
        ]
        meta = {"finish_reason": {"type": "length"}, "input_token_logprobs": told}
        return web.json_response({"text": "", "meta_info": meta})

    path = write_rows(tmp_path / "held.jsonl", {"text": "the patient has a fever and the doctor sleeps"})
    with pytest.raises(TutelageError, match=r"held\.jsonl:1: .* found those of 4 or of other tokens"):
        Evaluator(load_tasks([str(path)]), tokenizer).run(ServedModel.connect(stand_in(generate)))


def test_what_is_no_server_is_refused_by_name(
    serve: Callable[[web.Application], str], task_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve(web.Application())
    with pytest.raises(ConfigError, match="does not report its model"):
        ServedModel.connect(url)
    assert main(["--server", url, "--tasks", str(task_dir)]) == 2
    assert "does not report its model" in capsys.readouterr().err
    with pytest.raises(ConfigError) as raised:
        ServedModel.connect(f"{url}/v1/")
    assert str(raised.value).endswith(f"(give the server's base URL: {url}).")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--device", "cpu"], "--device does not apply with --server; leave it out."),
        (["--batch-tokens", "9"], "--batch-tokens does not apply with --server; leave it out."),
        (["--dtype", "auto"], "--dtype does not apply with --server; leave it out."),
        (["--device-map", "auto"], "--device-map does not apply with --server; leave it out."),
        (["--processes", "2"], "--processes does not apply with --server"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_of_models_in_this_process_are_refused(
    options: list[str], said: str, task_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--server", "http://127.0.0.1:1", "--tasks", str(task_dir), *options]) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def real_tasks(tmp_path: Path, write_rows: Write) -> Path:
    """`mcq`, five choices; `cases`, with a prompt for each option; `qa`, four generations; `texts`, two."""
    head = "Question: Is water wet?\nAnswer: yes\nQuestion: Is fire cold?\nAnswer: no\n"
    questions = [
        "Is ice warm?",
        "Does the heart pump blood?",
        "Is the liver a bone?",
        "Do nerves carry signals?",
    ]
    options = ["yes", "no", "maybe, but only in the morning"]
    folder = tmp_path / "real"
    write_rows(
        folder / "mcq.jsonl",
        *(
            {"input": f"{head}Question: {question}\nAnswer:", "options": options, "gold_index": 0}
            for question in questions
        ),
        {"input": "Two plus two is", "options": ["four.", "a fish.", "blue"], "gold_index": 0},
    )
    write_rows(
        folder / "cases.jsonl",
        {"input_options": ["The sky is blue.", "The sky is a dog."], "output": " So it is.", "gold_index": 0},
    )
    write_rows(
        folder / "qa.jsonl",
        *({"input": f"{head}Question: {question}\nAnswer:", "label": "yes"} for question in questions),
    )
    write_rows(folder / "texts.jsonl", {"text": head * 3}, {"text": "The heart pumps blood."})
    return folder


@pytest.fixture
def exported(smollm2: Path, tmp_path: Path) -> Path:
    """SmolLM2, changed as by training, as the callback `hf_export` writes it."""
    import torch
    from composer.models import HuggingFaceModel
    from transformers import AutoModelForCausalLM

    from plugins.callbacks.export_while_training import HuggingFaceExport
    from plugins.hf_folder import read_base
    from plugins.tokenizers import load_tokenizer

    model = AutoModelForCausalLM.from_pretrained(smollm2, torch_dtype=torch.float32)
    torch.manual_seed(3)
    with torch.no_grad():
        model.model.norm.weight += 0.02 * torch.randn(model.model.norm.weight.shape)
    wrapped = HuggingFaceModel(model, tokenizer=load_tokenizer(str(smollm2)))
    timestamp = SimpleNamespace(batch=10, token=1280)
    base = read_base(str(smollm2), wrapped.tokenizer)
    callback = HuggingFaceExport(str(tmp_path / "export"), dtype="float32", base=base)
    callback.export(SimpleNamespace(model=wrapped, fsdp_enabled=False, timestamp=timestamp, callbacks=[]))
    return tmp_path / "export"


@pytest.fixture
def real_server(cpu_server: ServerConfig, exported: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            lease = lease_servers(cpu_server, model=str(exported))
        finally:
            tempfile.tempdir = before
        try:
            yield lease.endpoints[0]
        finally:
            lease.release()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_real_server_answers_with_an_exported_model_as_transformers_does(
    real_server: str,
    exported: Path,
    real_tasks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = ["--tasks", str(real_tasks), "--max-new-tokens", "12"]
    served, local = tmp_path / "served.json", tmp_path / "local.json"
    assert main(["--server", real_server, *common, "--output", str(served)]) == 0
    assert main(["--model", str(exported), *common, "--device", "cpu", "--output", str(local)]) == 0

    found, expected = (
        json.loads(path.read_text())["models"][str(exported)]["tasks"] for path in (served, local)
    )
    assert [task["task"] for task in found] == ["cases", "mcq", "qa", "texts"]
    texts, plain_texts = found.pop(), expected.pop()
    assert texts["scores"] == pytest.approx(plain_texts["scores"], rel=1e-4)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["scores"] == theirs["scores"]
        assert [each["answer"] for each in ours["answers"]] == [each["answer"] for each in theirs["answers"]]
        for mine, other in zip(ours["answers"], theirs["answers"], strict=True):
            assert mine.get("option_scores") == pytest.approx(other.get("option_scores"), abs=1e-3)
    # The command does not take results of a server for results of a model in this process.
    assert main(["--model", str(exported), *common, "--output", str(served)]) == 2
    assert "holds results with --server " in capsys.readouterr().err
