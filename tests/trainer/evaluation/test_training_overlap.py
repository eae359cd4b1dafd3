"""Task rows that occur in the training text, on a corpus that holds some of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.tasks.lookup import load_tasks
from schemas import storage
from schemas.errors import ConfigError, CorpusError
from schemas.manifest import Increment, Manifest, ShardSet, publish_manifest
from schemas.records import AugmentedText, to_json
from trainer.evaluation.command import main
from trainer.evaluation.ranks import Ranks
from trainer.evaluation.training_overlap import TrainingText, find_rows, search_key

TOPICS = ("nerve", "heart", "lung", "liver", "kidney", "spleen", "bone", "skin", "eye", "ear", "blood", "gut")


def question(number: int) -> str:
    """Sixteen words that no other question has in this order."""
    words = [f"{topic}{number}" for topic in TOPICS]
    return f"Question: is {' '.join(words)} well?\nAnswer:"


def answer(number: int) -> str:
    return f"the {' '.join(f'{topic}{number}' for topic in reversed(TOPICS))} is well"


@pytest.fixture
def tasks(tmp_path: Path, write_rows: Callable[..., Path]) -> Path:
    """`quiz`, twelve choices, and `why`, three generations."""
    folder = tmp_path / "tasks"
    write_rows(
        folder / "quiz.jsonl",
        *({"input": question(n), "options": ["yes", "no"], "gold_index": n % 2} for n in range(12)),
    )
    write_rows(folder / "why.jsonl", *({"input": f"why {n}", "label": answer(n)} for n in range(3)))
    return folder


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[..., str]:
    """A published corpus; a list of texts for each increment, each text a file of stream `domain`."""

    def make(*increments: list[str], settings: dict[str, int] | None = None) -> str:
        corpus = str(tmp_path / "corpus")
        for number, texts in enumerate(increments, start=1):
            folder = f"{corpus}/increments/{number:06d}"
            for group, text in enumerate(texts):
                written = AugmentedText(
                    text_id="t", text=text, passages=(), num_pairs=0, template="raw", seed=0
                )
                storage.write_lines_zst(f"{folder}/texts/domain-{group:05d}.jsonl.zst", [to_json(written)])
            if settings is not None:
                storage.write_bytes(f"{folder}/decontamination.json", json.dumps(settings).encode())
        manifest: dict[str, Any] = {
            "created": "2026-01-01T00:00:00Z",
            "seq_len": 32,
            "tokenizer": "f",
            "tokenizer_name": "t",
            "pad_token_id": 0,
            "config_hash": "c",
        }
        shards = ShardSet(path="x", num_samples=1, num_tokens=1, num_texts=1)
        published = [
            Increment(number=number, streams={"domain": shards}, num_documents=1)
            for number in range(1, len(increments) + 1)
        ]
        for number in range(1, len(published) + 1):
            publish_manifest(
                corpus, Manifest(number=number, increments=tuple(published[:number]), **manifest)
            )
        return corpus

    return make


def test_held_out_texts_of_which_training_text_holds_a_passage_are_found(
    tmp_path: Path, make_corpus: Callable[..., str], write_rows: Callable[..., Path]
) -> None:
    texts = [f"{answer(n)} {answer(n + 100)}" for n in range(3)]
    path = write_rows(tmp_path / "held.jsonl", *({"text": text} for text in texts))
    corpus = make_corpus([f"It says: {answer(101)}."], ["nothing of it"])
    found = find_rows(load_tasks([str(path)]), [TrainingText.of(corpus)])
    assert list(found["held"]) == [f"{path}:2"]


def test_planted_questions_and_answers_are_found_in_all_increments(
    tasks: Path, make_corpus: Callable[..., str]
) -> None:
    corpus = make_corpus(
        [f"A text. {question(3).upper()} And more.", "nothing of it"],
        [f"{answer(1)}, he said", " ".join(question(5).split()[:9])],  # nine words are too few
    )
    found = find_rows(load_tasks([str(tasks)]), [TrainingText.of(corpus)])
    assert {name: list(rows) for name, rows in found.items()} == {
        "quiz": [f"{tasks}/quiz.jsonl:4"],
        "why": [f"{tasks}/why.jsonl:2"],
    }
    assert found["quiz"][f"{tasks}/quiz.jsonl:4"] == " ".join(f"{topic}3" for topic in TOPICS)


def test_a_manifest_counts_only_its_own_increments(tasks: Path, make_corpus: Callable[..., str]) -> None:
    corpus = make_corpus([question(3)], [question(4)])
    loaded = load_tasks([str(tasks / "quiz.jsonl")])
    first, newest = TrainingText.of(f"{corpus}/manifest/000001.json"), TrainingText.of(corpus)
    assert list(find_rows(loaded, [first])["quiz"]) == [f"{tasks}/quiz.jsonl:4"]
    assert list(find_rows(loaded, [newest])["quiz"]) == [f"{tasks}/quiz.jsonl:{line}" for line in (4, 5)]
    assert search_key(loaded, [first]) != search_key(loaded, [newest])


def test_the_corpus_own_settings_count(tasks: Path, make_corpus: Callable[..., str]) -> None:
    corpus = make_corpus(
        [" ".join(f"{topic}7" for topic in TOPICS[2:6])],
        settings={"ngram": 4, "min_words": 3, "max_rows": 10},
    )
    found = find_rows(load_tasks([str(tasks / "quiz.jsonl")]), [TrainingText.of(corpus)])
    assert found == {"quiz": {f"{tasks}/quiz.jsonl:8": "lung7 liver7 kidney7 spleen7"}}


def test_ranks_divide_the_files_and_all_know_what_each_found(
    tasks: Path, make_corpus: Callable[..., str]
) -> None:
    texts = [TrainingText.of(make_corpus([question(number) for number in range(5)]))]
    loaded = load_tasks([str(tasks / "quiz.jsonl")])
    parts: list[Any] = []
    for rank in range(2):  # the values of each rank, failures first
        given: list[Any] = []

        def gather(value: Any, given: list[Any] = given) -> list[Any]:
            given.append(value)
            return [value]

        find_rows(loaded, texts, Ranks(rank, 2, gather))
        parts.append(given[-1])
    assert [sorted(part["quiz"]) for part in parts] == [
        [f"{tasks}/quiz.jsonl:{line}" for line in lines] for lines in ((1, 3, 5), (2, 4))
    ]
    together = find_rows(loaded, texts, Ranks(0, 2, lambda value: parts if value else [None, None]))
    assert sorted(together["quiz"]) == [f"{tasks}/quiz.jsonl:{line}" for line in range(1, 6)]


def test_rows_that_say_too_little_to_be_looked_for_are_counted(
    tmp_path: Path, make_corpus: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [question(3), "What beats?", *["Which of the eight bones of the wrist is this one?"] * 11]
    rows = [{"input": each, "options": ["yes", "no"], "gold_index": 0} for each in inputs]
    (tmp_path / "mixed.jsonl").write_text("\n".join(map(json.dumps, rows)))
    find_rows(load_tasks([str(tmp_path / "mixed.jsonl")]), [TrainingText.of(make_corpus(["nothing of it"]))])
    told = capsys.readouterr().err
    assert "12 of 13 rows of mixed were not looked for" in told
    assert "1 are too short, 11 have only words that many rows have." in told


def test_texts_that_are_gone_are_named(tasks: Path, make_corpus: Callable[..., str]) -> None:
    corpus = make_corpus([question(3)])
    storage.remove_tree(f"{corpus}/increments/000001/texts")
    with pytest.raises(CorpusError, match="increment 1 has shards of stream 'domain' and no texts/"):
        find_rows(load_tasks([str(tasks)]), [TrainingText.of(corpus)])
    with pytest.raises(ConfigError, match=r"expected a corpus, or CORPUS/manifest/000003\.json"):
        TrainingText.of(f"{corpus}/stats.json")


@pytest.mark.slow
def test_the_command_shows_both_scores_and_does_not_look_twice(
    tasks: Path,
    make_corpus: Callable[..., str],
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = make_corpus([question(3), question(4), question(8)])
    output = tmp_path / "out.json"
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(tasks / "quiz.jsonl")]
    arguments += ["--manifest", corpus, "--output", str(output)]

    assert main(arguments) == 0

    lines = capsys.readouterr().out.splitlines()
    (result,) = json.loads(output.read_text())["models"][str(tiny_model_dir)]["tasks"]
    right = [each["answer"] in each["gold"] for each in result["answers"]]
    unseen = [each for number, each in enumerate(right) if number not in (3, 4, 8)]
    assert (result["rows"], result["unseen"]["rows"]) == (12, 9)
    assert result["scores"]["accuracy"] == pytest.approx(sum(right) / 12)
    assert result["unseen"]["scores"]["accuracy"] == pytest.approx(sum(unseen) / 9)
    assert [each["position"] for each in result["found"]] == [
        f"{tasks}/quiz.jsonl:{line}" for line in (4, 5, 9)
    ]
    assert lines[1].split()[:5] == ["quiz", "choice", "12", "accuracy", f"{sum(right) / 12:.3f}"]
    assert lines[2].split()[:5] == ["quiz", "unseen", "9", "accuracy", f"{sum(unseen) / 9:.3f}"]
    assert "quiz: 3 rows occur in the training text" in "\n".join(lines)

    # The same command reads no text again. With a larger corpus it reads the text, and runs no model.
    monkeypatch.setattr("trainer.evaluation.training_overlap.find_rows", None)
    assert main([*arguments, "--json"]) == 0
    (again,) = json.loads(capsys.readouterr().out)["models"].values()
    assert again[0]["unseen"] == result["unseen"]
