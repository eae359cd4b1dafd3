from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from plugins import task_overlap
from plugins.task_overlap import Coverage, IndexedRow, Overlap, TaskIndex, TaskRows
from plugins.tasks.rows import ChoiceRow, GenerateRow, TextRow, row_number

QUESTION = "Question: Which of these nerves leaves the spinal cord between the fifth and the sixth vertebra?"
ANSWER = "The nerve that bends the elbow and is hurt when a child is pulled by the arm."


def task_of(*inputs: str, name: str = "quiz", answers: Sequence[str] = ("yes",)) -> TaskRows:
    positions = [f"{name}.jsonl:{number}" for number in range(1, len(inputs) + 1)]
    rows = tuple(
        GenerateRow(row_id=position, position=position, input=text, labels=tuple(answers))
        for position, text in zip(positions, inputs, strict=True)
    )
    return TaskRows(name=name, uri=f"{name}.jsonl", rows=rows)


def index_of(*tasks: TaskRows, ngram: int = 13, min_words: int = 8, max_rows: int = 10) -> TaskIndex:
    return TaskIndex(tasks, ngram=ngram, min_words=min_words, max_rows=max_rows)


def numbers(index: TaskIndex, text: str) -> list[int]:
    return [row_number(overlap.row.position) for overlap in index.find(text)]


def test_thirteen_words_in_a_row_are_an_overlap_whatever_their_case_and_punctuation() -> None:
    text = "He asked: WHICH of these nerves leaves\nthe (spinal) cord – between the fifth, and the other?"
    assert index_of(task_of(QUESTION)).find(text) == [
        Overlap(
            row=IndexedRow(task="quiz", position="quiz.jsonl:1", row_id=""),
            words="which of these nerves leaves the spinal cord between the fifth and the",
        )
    ]


def test_twelve_words_in_a_row_are_none() -> None:
    text = "He asked which of these nerves leaves the spinal cord between the fifth and a sixth vertebra."
    assert index_of(task_of(QUESTION)).find(text) == []
    assert numbers(index_of(task_of(QUESTION), ngram=12), text) == [1]


def test_a_word_between_the_thirteen_breaks_them() -> None:
    text = "Which of these nerves really leaves the spinal cord between the fifth and the sixth vertebra?"
    assert index_of(task_of(QUESTION)).find(text) == []


def test_a_right_answer_is_found_like_a_question() -> None:
    index = index_of(task_of("Which?", answers=[ANSWER]))
    assert numbers(index, f"It was said: {ANSWER}") == [1]


def test_a_row_of_eight_to_twelve_words_is_found_as_a_whole() -> None:
    index = index_of(task_of("Which vein brings blood to the human liver?"))
    assert numbers(index, "So which vein brings blood to the human liver, then?") == [1]
    assert index.find("So which vein brings blood to the human spleen?") == []


def test_a_row_of_fewer_words_is_not_compared_and_counted() -> None:
    index = index_of(task_of("Which vein brings blood to the liver?"))
    assert index.find("Which vein brings blood to the liver?") == []
    (coverage,) = index.coverage
    assert (coverage.rows, coverage.rows_too_short) == (1, 1)


def test_what_all_rows_of_a_task_begin_with_and_end_in_is_taken_off() -> None:
    """Otherwise the index would hold "question which ... liver answer", and no text has these words."""
    organs = ["liver", "spleen", "kidney", "lung", "brain", "heart", "skin", "eye", "ear", "tongue", "nose"]
    rows = [
        f"Question: {article} vein leads to the {organ} in man?\nAnswer:"
        for article, organ in zip(itertools.cycle(["Which other", "What large"]), organs, strict=False)
    ]
    text = "What large vein leads to the spleen in man?"
    assert numbers(index_of(task_of(*rows)), text) == []
    assert numbers(index_of(task_of(*rows), min_words=7), "What large vein leads to the spleen") == [2]
    assert numbers(index_of(task_of(*rows[:10]), min_words=7), text) == []


def test_rows_of_text_alone_have_no_prompt_and_stay_whole() -> None:
    said = [f"on which cape of the northern sea does the lighthouse {name} stand" for name in "abcdefghijkl"]
    rows = tuple(TextRow(row_id="", position=f"t.jsonl:{at}", text=text) for at, text in enumerate(said, 1))
    index = index_of(TaskRows(name="made", uri="t.jsonl", rows=rows))
    assert index.coverage[0].rows_too_short == 0
    assert numbers(index, f"He asked {said[4]}, and nobody knew.") == [5]


def test_what_more_than_ten_rows_share_is_their_prompt_and_ignored() -> None:
    prompt = "Read the abstract of a trial and say in one word whether the drug was of any help."
    ten = [f"{prompt} {number} a b c d e f g h i j k" for number in range(10)]
    assert numbers(index_of(task_of(*ten)), prompt) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    eleven = index_of(task_of("Another row that has words of its own.", *ten, f"{prompt} x"))
    assert eleven.find(prompt) == []
    assert numbers(eleven, f"{prompt} 3") == [5]
    (coverage,) = eleven.coverage
    assert (coverage.rows, coverage.rows_too_short, coverage.rows_of_shared_wording) == (12, 0, 0)


def test_rows_that_say_only_what_all_say_are_counted() -> None:
    rows = [f"{QUESTION} {'a' if number else 'b'}" for number in range(12)]
    (coverage,) = index_of(task_of(*rows)).coverage
    assert coverage == Coverage(
        name="quiz",
        uri="quiz.jsonl",
        rows=12,
        rows_refused=0,
        rows_too_short=12,
        rows_of_shared_wording=0,
        first_refused="",
    )
    (coverage,) = index_of(task_of("Quite another row with as many words.", *rows)).coverage
    assert (coverage.rows, coverage.rows_too_short, coverage.rows_of_shared_wording) == (13, 1, 11)


def test_several_inputs_of_one_row_count_as_one_row() -> None:
    inputs = tuple(f"{QUESTION} Option {number}" for number in range(12))
    row = ChoiceRow(row_id="", position="cases.jsonl:1", inputs=inputs, options=("so.",) * 12, gold=(3,))
    index = index_of(TaskRows(name="cases", uri="cases.jsonl", rows=(row,)))
    assert numbers(index, QUESTION) == [1]


def test_rows_of_all_tasks_are_named_in_the_order_of_the_words_they_share() -> None:
    index = index_of(task_of("No words.", QUESTION), task_of(ANSWER, name="other"))
    found = [
        (each.row.task, row_number(each.row.position), each.words)
        for each in index.find(f"{ANSWER} {QUESTION}")
    ]
    assert found == [
        ("other", 1, "the nerve that bends the elbow and is hurt when a child is"),
        ("quiz", 2, "question which of these nerves leaves the spinal cord between the fifth and"),
    ]


def test_an_equal_hash_of_other_words_is_no_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_overlap, "_hash", lambda hashes, *_: hashes)
    index = index_of(task_of(QUESTION, ANSWER), max_rows=100)
    others = "the child leaves the arm and bends the spinal cord when a nerve is hurt by the elbow"
    assert index.find(others) == []


@pytest.mark.parametrize(
    "text", ["", "…", "a b c", "words that no row of any task has ever said to anyone at all"]
)
def test_texts_without_known_words_overlap_with_nothing(text: str) -> None:
    assert index_of(task_of(QUESTION)).find(text) == []
    assert index_of(task_of("Too short.")).find(text) == []


def test_in_scripts_without_spaces_several_letters_count_as_a_word() -> None:
    question = "糖尿病患者在治疗期间应当注意什么，又为什么不能自己停药或者减少药量？"
    index = index_of(task_of(question), ngram=13)
    assert numbers(index, f"医生问：{question[:28]}。") == [1]
    assert index.find(f"医生问：{question[:26]}。") == []
    assert numbers(
        index_of(task_of("糖尿病患者在治疗期间应当注意什么？")), "糖尿病患者在治疗期间应当注意什么"
    ) == [1]
    assert index_of(task_of("糖尿病患者应当注意什么？")).coverage[0].rows_too_short == 1
