"""Rows as turns of a chat template: token ids, scores, truncation, and the template in the results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from aiohttp import web
from composer.core import Event, Precision

from plugins.tasks.lookup import load_tasks
from plugins.tasks.rows import ChoiceRow, GenerateRow, RefusedRow
from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from tests.tiny import save_bpe, save_bytes, save_llama
from trainer.evaluation.callback import DomainEval
from trainer.evaluation.command import main
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.scoring.chat_turns import Chat, describe_chat
from trainer.evaluation.scoring.encoding import EncodedRow, encode_row
from trainer.evaluation.scoring.generation import Prompt, encode_prompts, first_line, stop_token_ids
from trainer.evaluation.scoring.sglang_model import ServedModel

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('No system') }}"
    "{% endif %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def b(text: str) -> list[int]:
    """Ids of ASCII text in the byte tokenizer: four special tokens come first, then bytes sorted by name."""
    return [4 + "".join(sorted(_alphabet())).index({"\n": "Ċ", " ": "Ġ"}.get(each, each)) for each in text]


def _alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return list(ByteLevel.alphabet())


@pytest.fixture(scope="module")
def chat_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one token a byte, with 64 positions and the ChatML template."""
    folder = tmp_path_factory.mktemp("chat")
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    save_bytes(folder, SPECIAL, chat_template=CHATML, additional_special_tokens=SPECIAL[2:], **tokens)
    save_llama(folder, vocab_size=260, seed=0, max_position_embeddings=96, initializer_range=0.2)
    return folder


@pytest.fixture
def bytes_tokenizer(chat_dir: Path) -> Any:
    return load_tokenizer(str(chat_dir))


def choice(text: str, *options: str) -> ChoiceRow:
    return ChoiceRow(row_id="1", position="t:1", inputs=(text,) * len(options), options=options, gold=(0,))


def encode(chat: Chat, row: ChoiceRow, context_tokens: int = 1000) -> EncodedRow | RefusedRow:
    return encode_row(0, chat.as_turn(row), chat.tokenizer, add_bos=False, context_tokens=context_tokens)


def test_the_prompt_is_a_user_turn_and_the_option_its_answer(bytes_tokenizer: Any) -> None:
    encoded = encode(Chat(bytes_tokenizer, True), choice("a b?", "yes", "no"))
    head, tail = [2, *b("user\n")], [3, *b("\n"), 2, *b("assistant\n")]
    assert isinstance(encoded, EncodedRow)
    assert encoded.sequences == [[*head, *b("a b?"), *tail, *b("yes")], [*head, *b("a b?"), *tail, *b("no")]]
    assert encoded.starts == [len(head) + 4 + len(tail)] * 2
    assert b("yes") == [92, 72, 86]


def test_special_tokens_are_the_templates_alone_and_the_system_turn_comes_first(bytes_tokenizer: Any) -> None:
    chat = Chat(bytes_tokenizer, True, system="Be <s>.")
    row = GenerateRow(row_id="1", position="t:1", input="x<|im_end|>", labels=("y",))
    (prompt,) = encode_prompts(
        [chat.as_turn(row)], chat.tokenizer, add_bos=False, context_tokens=500, max_new_tokens=5
    )
    system = [2, *b("system\nBe <s>."), 3, *b("\n")]
    user = [2, *b("user\nx<|im_end|>"), 3, *b("\n")]
    assert prompt == Prompt(token_ids=[*system, *user, 2, *b("assistant\n")], is_truncated=False)
    assert chat.summary == {
        "template": f"default {chat.template.split()[1]}",
        "system": "Be <s>.",
        "system_in": "system turn",
    }
    assert re.fullmatch(r"default [0-9a-f]{16}", chat.template)


@pytest.mark.parametrize("metaspace", [False, True])
def test_ids_are_those_of_transformers_where_a_row_holds_no_special_string(
    tmp_path: Path, metaspace: bool
) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    texts = ["\n\nQuestion: it is so?\nAnswer: user assistant\n", "[INST] Question: it is so? [/INST] so"] * 9
    before = pre_tokenizers.Metaspace(prepend_scheme="first") if metaspace else None
    save_bpe(
        tmp_path, texts, vocab_size=400, special_tokens=SPECIAL, pre_tokenizer=before, bos_token="<s>",
        eos_token="</s>", chat_template=CHATML.replace("<|im_end|>", " </s>\n\n"),
    )  # fmt: skip
    tokenizer = load_tokenizer(str(tmp_path))
    chat = Chat(tokenizer, True)
    for text in ("Question: it is so?\nAnswer:", "\nQuestion", "it "):
        row = chat.as_turn(GenerateRow(row_id="1", position="t:1", input=text, labels=("y",)))
        turns = [{"role": "user", "content": text}]
        expected = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
            turns, add_generation_prompt=True
        )
        assert chat.tokenizer(row.input).input_ids == list(getattr(expected, "input_ids", expected))


def test_a_score_is_that_of_a_prompt_made_by_hand(chat_dir: Path, tmp_path: Path, write_rows: Any) -> None:
    from transformers import AutoModelForCausalLM

    path = write_rows(tmp_path / "t.jsonl", {"input": "a b?", "options": ["yes", "no"], "gold_index": 1})
    model = AutoModelForCausalLM.from_pretrained(chat_dir)
    evaluator = Evaluator(load_tasks([str(path)]), load_tokenizer(str(chat_dir)), chat_template=True)
    (result,) = evaluator.run(model)
    (plain,) = Evaluator(load_tasks([str(path)]), load_tokenizer(str(chat_dir))).run(model)
    prompt = [2, *b("user\na b?"), 3, *b("\n"), 2, *b("assistant\n")]
    for option, score in zip(("yes", "no"), result.answers[0].option_scores, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *b(option)]])).logits[0].log_softmax(-1)
        told = [logits[len(prompt) - 1 + at, token].item() for at, token in enumerate(b(option))]
        assert score == pytest.approx(sum(told) / len(told), abs=1e-5)
    assert result.summary()["chat"] == {"template": evaluator.chat.template} and plain.chat is None  # type: ignore[union-attr]
    assert result.answers[0].option_scores != plain.answers[0].option_scores


def test_what_is_cut_is_the_start_of_the_prompts_text_and_never_the_template(bytes_tokenizer: Any) -> None:
    chat = Chat(bytes_tokenizer, True)
    head, tail = [2, *b("user\n")], [3, *b("\n"), 2, *b("assistant\n")]
    room = len(head) + len(tail)
    encoded = encode(chat, choice("0123456789", "yes", "n"), context_tokens=room + 3 + 4)
    assert isinstance(encoded, EncodedRow) and encoded.is_truncated
    assert encoded.sequences[0] == [*head, *b("6789"), *tail, *b("yes")]
    assert encoded.sequences[1] == [*head, *b("6789"), *tail, *b("n")]
    assert encoded.starts == [len(head) + 4 + len(tail)] * 2
    refused = encode(chat, choice("0123456789", "yes", "n"), context_tokens=room + 3)
    assert isinstance(refused, RefusedRow)
    assert refused.reason == (
        f"the chat template takes {room} tokens: beside it an option of 3 tokens leaves no prompt in a "
        f"context of {room + 3} tokens"
    )
    long = encode(Chat(bytes_tokenizer, True, system="s" * 99), choice("0", "y", "n"), context_tokens=90)
    assert isinstance(long, RefusedRow)
    assert long.reason == (
        "the chat template with its system text takes 128 tokens: beside it an option of 1 token leaves no "
        "prompt in a context of 90 tokens"
    )
    row = chat.as_turn(GenerateRow(row_id="1", position="t:1", input="0123456789", labels=("y",)))
    for num_left, expected in ((4, b("6789")), (0, None)):
        (prompt,) = encode_prompts(
            [row], chat.tokenizer, add_bos=False, context_tokens=room + num_left + 5, max_new_tokens=5
        )
        if expected is None:
            assert isinstance(prompt, RefusedRow)
            assert prompt.reason == (
                f"the chat template takes {room} tokens, which leaves no prompt in a context of {room + 5} "
                "tokens, 5 of them for the answer"
            )
        else:
            assert prompt == Prompt(token_ids=[*head, *expected, *tail], is_truncated=True)


def test_a_template_without_a_system_turn_gets_it_in_the_user_turn_and_strips_as_it_does(
    bytes_tokenizer: Any, tmp_path: Path
) -> None:
    file = tmp_path / "gemma.jinja"
    file.write_text(NO_SYSTEM)
    chat = Chat(bytes_tokenizer, str(file), system="Be kind.")
    row = chat.as_turn(GenerateRow(row_id="1", position="t:1", input=" a\n", labels=("y",)))
    user = b("user\nBe kind.\n\n a")  # the row does not begin the turn: its blank stays
    assert chat.tokenizer(row.input).input_ids == [0, 2, *user, 3, *b("\n"), 2, *b("assistant\n")]
    rendered = bytes_tokenizer.apply_chat_template(
        [{"role": "user", "content": "Be kind.\n\n a\n"}],
        chat_template=NO_SYSTEM, tokenize=False, add_generation_prompt=True,
    )  # fmt: skip
    assert bytes_tokenizer.decode(chat.tokenizer(row.input).input_ids) == rendered
    assert (chat.summary["system_in"], chat.template.split()[0]) == ("head of the user turn", "gemma.jinja")


def test_a_thought_that_is_closed_is_told_and_a_long_system_text_is_shortened(
    bytes_tokenizer: Any, tmp_path: Path
) -> None:
    file = tmp_path / "r1.jinja"
    file.write_text(CHATML.replace("assistant\n", "assistant\n<think>\n"))
    chat = Chat(bytes_tokenizer, str(file), system="long " * 20)
    assert (chat.summary["closes"], len(chat.summary["system"])) == ("<think>", 100)
    assert describe_chat(chat.summary) == (
        f"chat template {chat.template}, whose <think> is closed before the answer, system turn "
        f"'{'long ' * 12}'… (100 characters)"
    )
    assert "closes" not in Chat(bytes_tokenizer, True).summary


def test_a_template_that_writes_a_text_twice_is_refused(bytes_tokenizer: Any, tmp_path: Path) -> None:
    file = tmp_path / "twice.jinja"
    for role, told in (("user", "the text of a user turn"), ("system", "the system text")):
        again = f"{{{{ m['content'] if m['role'] == '{role}' }}}}"
        file.write_text(CHATML.replace("<|im_end|>", f"{again}<|im_end|>"))
        with pytest.raises(ConfigError, match=rf"twice\.jinja' of .* writes {told} more than once"):
            Chat(bytes_tokenizer, str(file), system="Be kind.")


def test_bos_stands_once(bytes_tokenizer: Any, tmp_path: Path, task_dir: Path) -> None:
    file = tmp_path / "bos.jinja"
    file.write_text(NO_SYSTEM)
    tasks = load_tasks([str(task_dir)])
    for template, add_bos, expected in (
        (str(file), None, False),
        (str(file), True, False),
        (True, True, True),
    ):
        assert Evaluator(tasks, bytes_tokenizer, chat_template=template, add_bos=add_bos).add_bos is expected
    assert Evaluator(tasks, bytes_tokenizer, chat_template=True).add_bos is False
    with pytest.raises(ConfigError, match=r"bos\.jinja [0-9a-f]+ begins with BOS, which add_bos false"):
        Evaluator(tasks, bytes_tokenizer, chat_template=str(file), add_bos=False)


def test_a_generated_answer_ends_with_its_turn(bytes_tokenizer: Any) -> None:
    tokenizer = Chat(bytes_tokenizer, True).tokenizer
    assert tokenizer.end_of_turn_ids == {3}
    assert first_line([*b("yes"), 3, *b("no")], stop_token_ids(tokenizer), tokenizer) == "yes"
    assert 3 not in stop_token_ids(bytes_tokenizer)


def test_a_template_that_is_not_there_is_refused(
    tokenizer: Any, bytes_tokenizer: Any, task_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"has none: give a file of Jinja \(--chat-template, chat_template"):
        Chat(tokenizer, True)
    with pytest.raises(ConfigError, match=r"Did you mean 'default'.* Nor is it a file of Jinja"):
        Chat(bytes_tokenizer, "defualt")
    with pytest.raises(ConfigError, match="a system text needs a chat template"):
        DomainEval(str(task_dir), tokenizer=bytes_tokenizer, system="Be kind.")
    assert main(["--model", "m", "--tasks", str(task_dir), "--system", "Be kind."]) == 2
    assert "--system needs --chat-template" in capsys.readouterr().err


def test_the_command_and_its_file_say_which_template_was_used(
    chat_dir: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scores.json"
    arguments = ["--model", str(chat_dir), "--tasks", str(task_dir / "mcq.jsonl"), "--output", str(output)]
    in_chat = [*arguments, "--chat-template", "--system", "Be kind."]
    assert main(in_chat) == 0
    line = r"^chat template default [0-9a-f]{16}, system turn 'Be kind\.'$"
    assert re.search(line, capsys.readouterr().out.replace(" \n", "\n"), re.MULTILINE)
    (saved,) = json.loads(output.read_text())["models"].values()
    assert saved["tasks"][0]["chat"]["system"] == "Be kind."
    assert main(in_chat) == 0
    assert "1 of 1 results" in capsys.readouterr().err
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "holds results with --chat-template, and this command has none. Name another file" in said


def test_results_of_another_text_of_the_template_are_not_overwritten(
    chat_dir: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, file = tmp_path / "scores.json", tmp_path / "own.jinja"
    file.write_text(CHATML)
    arguments = ["--model", str(chat_dir), "--tasks", str(task_dir / "mcq.jsonl"), "--output", str(output)]
    assert main([*arguments, "--chat-template", str(file)]) == 0
    before = output.read_bytes()
    file.write_text(CHATML.replace("user", "human") + " ")
    for options, told in (
        (["--chat-template", str(file)], "with another text of the file that --chat-template names. Name"),
        (["--chat-template"], f"with --chat-template '{file}', and this command has --chat-template. Name"),
    ):
        capsys.readouterr()
        assert main([*arguments, *options]) == 2
        assert f"holds results {told} another file" in capsys.readouterr().err
    assert output.read_bytes() == before


def test_a_trend_goes_on_with_another_template_only_with_a_line(
    chat_dir: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    from transformers import AutoModelForCausalLM

    arguments = {"tasks": str(task_dir / "mcq.jsonl"), "output": str(tmp_path / "run")}
    logger = SimpleNamespace(log_metrics=lambda metrics: None)
    for batch, template in ((1, False), (2, True)):
        timestamp = SimpleNamespace(batch=batch, token=batch * 8)
        state: Any = SimpleNamespace(
            model=AutoModelForCausalLM.from_pretrained(chat_dir), timestamp=timestamp, run_name="r",
            precision=Precision.FP32, precision_config=None,
        )  # fmt: skip
        made = DomainEval.from_config(
            {**arguments, "chat_template": template}, config=None, tokenizer=load_tokenizer(str(chat_dir))
        )
        made.run_event(Event.FIT_START, state, logger)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert re.search(r"mcq: prompts are turns of chat template default [0-9a-f]{16}\n", out)
    assert re.search(r"scores until now are with no chat template, from here on with chat template d", out)
    first, second = map(json.loads, (tmp_path / "run" / "scores.jsonl").read_text().splitlines())
    assert "chat" not in first and second["chat"]["template"].startswith("default ")


def test_a_server_is_sent_the_same_ids(
    serve: Callable[[web.Application], str], chat_dir: Path, tmp_path: Path, write_rows: Any
) -> None:
    sent = []

    async def answer(request: web.Request) -> web.Response:
        sent.append(await request.json())
        counts = {"prompt_tokens": 1, "completion_tokens": 1, "cached_tokens": 0}
        meta = {"finish_reason": {"type": "stop"}, **counts}
        return web.json_response({"text": "yes", "meta_info": meta})

    async def info(request: web.Request) -> web.Response:
        return web.json_response({"model_path": str(chat_dir), "max_req_input_len": 195})

    app = web.Application()
    app.router.add_post("/generate", answer)
    app.router.add_get("/server_info", info)
    path = write_rows(tmp_path / "t.jsonl", {"input": "a b?", "label": "yes"})
    evaluator = Evaluator(load_tasks([str(path)]), load_tokenizer(str(chat_dir)), chat_template=True)
    (result,) = evaluator.run(ServedModel.connect(serve(app)))
    assert result.scores["exact_match"] == 1.0
    (body,) = sent
    assert body["input_ids"] == [2, *b("user\na b?"), 3, *b("\n"), 2, *b("assistant\n")]
    assert body["sampling_params"] == {
        **{"max_new_tokens": 100, "temperature": 0.0, "stop": ["\n"]}, "stop_token_ids": [3],
    }  # fmt: skip
