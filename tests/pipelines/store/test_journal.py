"""Journal of generations: no request is paid for twice, whatever happened to earlier runs."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.store.journal import (
    Journal,
    JournaledGenerator,
    answer_totals,
    attempt_at,
    find_generations,
    request_key,
)
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest, Generator
from schemas.records import Generation

ROOT = Path(__file__).resolve().parents[3]
REQUEST = GenerationRequest(prompt_ids=(1, 2, 3), max_new_tokens=8)


class Counting(Generator):
    """Generator that answers with the number of the request, and fails for prompts that begin with 0."""

    def __init__(self) -> None:
        self.num_asked = 0

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        self.num_asked += 1
        await asyncio.sleep(0)
        if request.prompt_ids[0] == 0:
            return GenerationFailure(reason="refused", detail="zero")
        return Generation(
            text=f"answer {self.num_asked} é\ud800",
            finish_reason="stop",
            prompt_tokens=len(request.prompt_ids),
            completion_tokens=3,
        )


def ask(
    uri: str, *requests: GenerationRequest, identity: str = "m", damages: list[str] | None = None
) -> tuple[list[object], int, int]:
    """Return answers, the count of requests to the inner generator, and the count found in the journal."""
    inner = Counting()

    async def run() -> tuple[list[object], int]:
        found: list[Generation] = []
        generator = JournaledGenerator(
            inner,
            uri=uri,
            identity=identity,
            on_answer=lambda answer, is_new: None if is_new else found.append(answer),
            on_damage=(damages if damages is not None else []).append,
        )
        generator.open()
        answers: list[object] = list(await asyncio.gather(*map(generator.generate, requests)))
        await generator.close()
        return answers, len(found)

    answers, num_found = asyncio.run(run())
    return answers, inner.num_asked, num_found


@pytest.fixture(params=["local", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "journal") if request.param == "local" else f"memory://{uuid.uuid4().hex}/journal"


def test_a_second_run_asks_nothing_and_gets_the_same(uri: str) -> None:
    requests = [dataclasses.replace(REQUEST, prompt_ids=(1, number)) for number in range(50)]
    first, num_asked, _ = ask(uri, *requests)
    again, num_asked_again, num_found = ask(uri, *requests)
    assert num_asked == 50
    assert (num_asked_again, num_found) == (0, 50)
    assert again == first


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(REQUEST, prompt_ids=(1, 2)),
        dataclasses.replace(REQUEST, prompt_ids=(12, 3)),
        dataclasses.replace(REQUEST, max_new_tokens=9),
        dataclasses.replace(REQUEST, temperature=0.5),
        dataclasses.replace(REQUEST, stop=("x",)),
    ],
)
def test_another_prompt_or_sampling_is_another_request(other: GenerationRequest) -> None:
    assert request_key("m", other) != request_key("m", REQUEST)


def test_where_a_request_is_sent_does_not_matter() -> None:
    assert request_key("m", dataclasses.replace(REQUEST, affinity="chain 7")) == request_key("m", REQUEST)


def test_another_model_answers_anew(uri: str) -> None:
    ask(uri, REQUEST)
    assert ask(uri, REQUEST, identity="other")[1] == 1


def test_an_answer_is_named_by_its_key_whether_new_or_from_the_journal_and_found_by_it(uri: str) -> None:
    key = request_key("m", REQUEST)
    for _ in range(2):
        ((answer,), _, _) = ask(uri, REQUEST)
        assert isinstance(answer, Generation) and answer.key == key
    found = find_generations(uri, {key, "00" * 16})
    assert found == {key: dataclasses.replace(answer, key="")}
    assert answer_totals(uri) == (1, 3)


def test_a_line_holds_its_key_once(tmp_path: Path) -> None:
    ask(str(tmp_path), REQUEST)
    (file,) = tmp_path.glob("*.jsonl")
    line = file.read_text("utf-8", "surrogatepass")
    assert line.count(request_key("m", REQUEST)) == line.count('"key"') == 1


def test_a_damaged_line_is_not_found(tmp_path: Path) -> None:
    keys = {request_key("m", request) for request in (REQUEST, dataclasses.replace(REQUEST, prompt_ids=(2,)))}
    ask(str(tmp_path), REQUEST, dataclasses.replace(REQUEST, prompt_ids=(2,)))
    (file,) = tmp_path.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([b'{"key": 7}\n', b"\xff\n", lines[0], lines[1][:-10]]))
    found = find_generations(str(tmp_path), keys)
    assert len(found) == 1 and set(found) < keys


def test_a_failure_is_not_written_down(uri: str) -> None:
    failing = dataclasses.replace(REQUEST, prompt_ids=(0,))
    ask(uri, failing)
    assert ask(uri, failing)[1] == 1


def test_one_that_no_longer_waits_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    generation = Generation(text="pairs", finish_reason="stop", prompt_tokens=3, completion_tokens=2)

    async def run() -> int:
        journal = Journal(str(tmp_path))
        adding = [asyncio.create_task(journal.add(f"{number:032x}", generation)) for number in range(9)]
        await asyncio.sleep(0)
        adding[3].cancel()
        ended = await asyncio.wait_for(asyncio.gather(*adding, return_exceptions=True), timeout=30)
        await journal.close()
        assert [type(end) for end in ended] == [type(None)] * 3 + [asyncio.CancelledError] + [type(None)] * 5
        return answer_totals(str(tmp_path))[0]

    assert asyncio.run(run()) == 9


def test_a_cut_off_tail_costs_one_request(tmp_path: Path) -> None:
    uri = str(tmp_path)
    requests = [dataclasses.replace(REQUEST, prompt_ids=(1, number)) for number in range(5)]
    ask(uri, *requests)
    (file,) = tmp_path.glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-10])
    _, num_asked, num_found = ask(uri, *requests)
    assert (num_asked, num_found) == (1, 4)
    assert ask(uri, *requests)[1] == 0


@pytest.mark.parametrize(
    ("damage", "has_key"),
    [
        (lambda line: b"\x00" * len(line), False),
        (lambda line: b"[" * 100_000, False),
        (lambda line: b'{"key": 7, "generation": 8}', False),
        (lambda line: line.replace(b'"text"', b'"test"'), True),
        (lambda line: line.replace(b'"stop"', b"7"), True),
        (lambda line: line.replace(b'"completion_tokens": 3', b'"completion_tokens": -3'), True),
        (lambda line: line.replace(b'"generation": {', b'"generation": [{'), True),
    ],
)
def test_a_damaged_line_costs_one_request_and_is_named_once(
    tmp_path: Path, damage: Callable[[bytes], bytes], has_key: bool
) -> None:
    uri = str(tmp_path)
    requests = [dataclasses.replace(REQUEST, prompt_ids=(1, number)) for number in range(5)]
    ask(uri, *requests)
    (file,) = tmp_path.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2] = damage(lines[2][:-1]) + b"\n"
    file.write_bytes(b"".join(lines))
    damages: list[str] = []
    assert ask(uri, *requests, damages=damages)[1:] == (1, 4)
    assert damages == [f"{file}: line 3"]
    again: list[str] = []
    assert ask(uri, *requests, damages=again)[1:] == (0, 5)
    assert again == ([] if has_key else damages)  # a line without a key matches no request


def test_a_line_that_is_damaged_after_it_was_opened_costs_one_request(tmp_path: Path) -> None:
    uri = str(tmp_path)
    ask(uri, REQUEST)
    (file,) = tmp_path.glob("*.jsonl")
    damages: list[str] = []
    journal = Journal(uri, damages.append)
    file.write_bytes(file.read_bytes().replace(b'"stop"', b'"st"p"'))
    assert journal.find(request_key("m", REQUEST)) is None
    assert damages == [f"{file}: byte 0"]


@pytest.mark.slow
def test_a_write_that_the_disk_cuts_short_leaves_whole_lines_and_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "import asyncio, resource, sys; from pipelines.store.journal import Journal;"
        "from schemas.records import Generation;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "answer = lambda size: Generation(text='x' * size, finish_reason='stop', prompt_tokens=1,"
        " completion_tokens=1);"
        "journal = Journal(sys.argv[1]);"
        "asyncio.run(journal.add('0' * 32, answer(600))); asyncio.run(journal.add('1' * 32, answer(600)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    (file,) = tmp_path.glob("*.jsonl")
    assert f"StorageError: {file}: cannot be written completely: File too large. Free space" in done.stderr
    assert [len(line) for line in file.read_bytes().splitlines(keepends=True)] == [749]


def test_workers_write_files_of_their_own_and_read_them_all(uri: str) -> None:
    async def add(number: int) -> None:
        journal = Journal(uri)
        answer = Generation(text=str(number), finish_reason="stop", prompt_tokens=1, completion_tokens=1)
        await journal.add(f"{number:032x}", answer)
        await journal.close()

    for number in range(3):
        asyncio.run(add(number))
    journal = Journal(uri)
    found = [journal.find(f"{number:032x}") for number in range(4)]
    assert [each and (each[0].text, each[1]) for each in found] == [("0", 0), ("1", 0), ("2", 0), None]


class TestAskingAgain:
    """An attempt skips useless stored answers of other attempts, but not its own."""

    @staticmethod
    def ask(uri: str, inner: Counting, attempt: int = 0, useful: str = "") -> str:
        async def run() -> str:
            generator = JournaledGenerator(
                inner,
                uri=uri,
                identity="m",
                on_answer=lambda generation, is_new: None,
                attempt=attempt,
                is_useful=lambda text: text == useful,
            )
            generator.open()
            answer = await generator.generate(REQUEST)
            await generator.close()
            assert isinstance(answer, Generation) and answer.key == request_key("m", REQUEST)
            return answer.text

        return asyncio.run(run())

    def test_its_answer_holds_from_then_on(self, uri: str) -> None:
        inner = Counting()
        first = self.ask(uri, inner)
        again = self.ask(uri, inner, attempt=7)
        assert again != first and inner.num_asked == 2
        assert self.ask(uri, inner, attempt=7) == again  # the attempt was killed and resumes
        assert self.ask(uri, inner) == again
        assert find_generations(uri, [request_key("m", REQUEST)])[request_key("m", REQUEST)].text == again
        assert inner.num_asked == 2
        assert self.ask(uri, inner, attempt=8) != again

    def test_what_is_of_use_is_not_asked_for_again(self, uri: str) -> None:
        inner = Counting()
        first = self.ask(uri, inner)
        assert self.ask(uri, inner, attempt=7, useful=first) == first
        assert inner.num_asked == 1

    def test_what_was_repaired_is_not_asked_for_again(self, uri: str) -> None:
        inner = Counting()

        async def ask(attempt: int, useful: str) -> tuple[str, str]:
            generator = JournaledGenerator(
                inner,
                uri=uri,
                identity="m",
                on_answer=lambda generation, is_new: None,
                attempt=attempt,
                is_useful=lambda text: text == useful,
            )
            generator.open()
            repair = dataclasses.replace(REQUEST, prompt_ids=(*REQUEST.prompt_ids, 9))
            asked = dataclasses.replace(REQUEST, repair=lambda text: repair)
            answers = [await generator.generate(asked), await generator.generate(repair)]
            await generator.close()
            first, second = (each.text for each in answers if isinstance(each, Generation))
            return first, second

        first, repaired = asyncio.run(ask(0, ""))
        assert asyncio.run(ask(7, repaired)) == (first, repaired)
        assert inner.num_asked == 2

    def test_an_attempt_that_was_stopped_is_taken_up_and_one_that_ended_is_over(self, uri: str) -> None:
        with pytest.raises(KeyboardInterrupt), attempt_at(uri) as stopped:
            raise KeyboardInterrupt
        with attempt_at(uri) as taken_up:
            assert taken_up == stopped
        time.sleep(0.002)
        with pytest.raises(ValueError), attempt_at(uri) as failed:
            raise ValueError
        assert failed > stopped
        time.sleep(0.002)
        with attempt_at(uri) as later:
            assert later > failed


def test_what_cannot_be_written_down_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the directory should be")

    async def add() -> None:
        journal = Journal(str(tmp_path / "journal" / "inner"))
        await journal.add(
            "00", Generation(text="", finish_reason="stop", prompt_tokens=0, completion_tokens=0)
        )

    with pytest.raises(OSError):
        asyncio.run(add())


def test_each_sample_has_a_key_and_the_first_one_that_of_a_single_generation() -> None:
    keys = {request_key("m", dataclasses.replace(REQUEST, sample=sample, seed=sample)) for sample in range(3)}
    assert len(keys) == 3
    assert request_key("m", REQUEST) in keys


def test_messages_have_keys_whatever_tokenizer_counts_them() -> None:
    one = dataclasses.replace(REQUEST, messages=(("user", "Which nerve?"),))
    assert request_key("m", dataclasses.replace(one, prompt_ids=(7,))) == request_key("m", one)
    other = dataclasses.replace(one, messages=(("user", "Which artery?"),))
    assert len({request_key("m", each) for each in (REQUEST, one, other)}) == 3


def test_the_key_of_a_prompt_of_token_ids_stays_what_it_was() -> None:
    request = GenerationRequest(prompt_ids=(1, 2, 3), max_new_tokens=4, temperature=0.5, stop=("x",))
    assert request_key("m", request) == "185b9d4e08eb96a021319a5790d221ac"
