"""JSON from models: read whole, or refused and counted, never cut."""

from __future__ import annotations

import pytest

from plugins.protocols.json_pairs import read_pairs
from schemas.records import InstructionPair


def read(text: str) -> list[tuple[str, str] | None]:
    return [pair and (pair.instruction, pair.response) for pair in read_pairs(text)]


class TestQuotes:
    @pytest.mark.parametrize(
        "text",
        [
            '{"question": "What does the word "artery" mean?", "answer": "A vessel."}',
            '{"question": "What is it?", "answer": "A vessel, called "arteria" in Latin, that carries."}',
            '{"question": "Which is longer?", "answer": "the 5", the 6""}',
            '{"question": "Which is longer?", "answer": "the 5", "the 6""}',
            '{"question": "Which word is it?", "answer": "The word "',
            '{"question": "What "x"?", "answer": "a", "question": "q2", "answer": "a2"}',
            "{'question': 'What does 'artery' mean?', 'answer': 'A vessel.'}",
            "{“question”: “What does “artery” mean?”, “answer”: “A vessel.”}",
        ],
    )
    def test_a_string_with_an_unescaped_quote_in_it_is_refused(self, text: str) -> None:
        assert read(text) == [None]

    def test_it_costs_its_own_object_only(self) -> None:
        bad, good = '{"question": "What "x"?", "answer": "a"}', '{"question": "q", "answer": "b"}'
        for between in ("\n", ", ", ""):
            assert read(bad + between + good) == [None, ("q", "b")]
            assert read(good + between + bad) == [("q", "b"), None]
        assert read(f'{{"pairs": [{good}, {bad}, {good}]}}') == [("q", "b"), None, ("q", "b")]

    def test_curly_quotes_are_quotes(self) -> None:
        assert read(
            "[\n  {“question”: “Which vessel does the artery arise from?”, “answer”: “The aorta.”},\n"
            '  {“question”: “When does the "pressure" rise?”, “answer”: “When it’s narrowed.”}\n]'
        ) == [
            ("Which vessel does the artery arise from?", "The aorta."),
            ('When does the "pressure" rise?', "When it’s narrowed."),
        ]
        assert read("{‘question’: ‘What’s it?’, ‘answer’: ‘A cell.’}") == [("What’s it?", "A cell.")]

    def test_curly_quotes_inside_a_string_stay(self) -> None:
        assert read('{"question": "What is “it”?", "answer": "A ‘cell’.",}') == [
            ("What is “it”?", "A ‘cell’.")
        ]

    def test_single_quotes_are_quotes(self) -> None:
        assert read(
            "Here are the pairs:\n```python\n"
            "[{'question': \"What's the vessel's name?\", 'answer': 'The aorta.'},\n"
            " {'question': 'What\\'s a \"cell\"?', 'answer': 'The body's unit.'}]\n```"
        ) == [("What's the vessel's name?", "The aorta."), ('What\'s a "cell"?', "The body's unit.")]
        assert read("{'pairs': [{'question': 'q', 'answer': 'a'}, {'question': 'r', 'answer': 'b'}]}") == [
            ("q", "a"),
            ("r", "b"),
        ]

    def test_an_object_without_quotes_is_refused(self) -> None:
        assert read("{question: What?, answer: This.}") == [None]


def test_numbers_and_booleans_are_text_as_they_are_written() -> None:
    text = (
        '{"pairs": [{"question": "How many?", "answer": 12}, {"question": "How much?", "answer": 0.10},'
        ' {"question": "Is it?", "answer": true}, {"question": "Which?", "answer": null},'
        ' {"question": "Which?", "answer": NaN}, {"question": "Which?", "answer": ["a", "b"]}]}'
    )
    assert read(text) == [("How many?", "12"), ("How much?", "0.10"), ("Is it?", "True"), None, None, None]
    assert read("{'question': 'Is it?', 'answer': False}") == [("Is it?", "False")]
    assert list(read_pairs('{"question": "Which?", "options": [1, 2.50, true], "answer": 2.50}')) == [
        InstructionPair(instruction="Which?", response="2.50", options=("1", "2.50", "True"))
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"$\beta$ and \frac{1}{2}", r"$\beta$ and \frac{1}{2}"),
        (r"\\beta and \\frac{1}{2}", r"\beta and \frac{1}{2}"),
        (
            r"5 \textmu g at 20 \textdegree C, \noindent x \nleqslant y",
            r"5 \textmu g at 20 \textdegree C, \noindent x \nleqslant y",
        ),
        (r"dose\nless than 5 mg\neg. daily", "dose\nless than 5 mg\neg. daily"),
        (r"\nu, \nabla, \neq, \times, \tau, \text{x}, \rho, \right)", None),
        (r"\alpha, \sum, \underline{x}, \( x \), \%, \$5", None),
        (r"a \ne b", None),
        (r"uno\ne due", "uno\ne due"),
        (r"One.\nThen\ttwo.\r\nThree.\n\nUnder", "One.\nThen\ttwo.\r\nThree.\n\nUnder"),
        (r"caf\u00e9 \u2028 a\/b \"c\"", 'café \u2028 a/b "c"'),
        (r"\bword\b", r"\bword\b"),
    ],
)
def test_latex_stays_latex_and_line_ends_stay_line_ends(written: str, meant: str | None) -> None:
    expected = written if meant is None else meant
    assert read(f'{{"question": "What is {written}?", "answer": "a"}}') == [(f"What is {expected}?", "a")]
    assert read(f'[{{"question": "q", "answer": "x {written} y",}}]') == [("q", f"x {expected} y")]


PAIR = '{"question": "q", "answer": "a"}'
READ = InstructionPair(instruction="q", response="a")


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    ["\n{", '{"\n', '{"a":', '{"a":x\n', '{"a":"\\"', '{a:\\"', '{"a":[{"b":1},', "{'"],
)
@pytest.mark.parametrize("before", ["", '{"'])
def test_an_answer_of_300_kilobytes_is_read_in_linear_time(before: str, piece: str) -> None:
    found = list(read_pairs(before + piece * (300_000 // len(piece))))
    assert not any(found)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("quote", ['\\"', "\\'", "'", "“", "‘", '"'])
def test_quotes_that_never_end_are_read_in_linear_time(quote: str) -> None:
    assert not any(read_pairs('{"a' + quote * (300_000 // len(quote))))


@pytest.mark.parametrize("opening", ['{"pairs": [', '{"a":{"pairs": [', '{"a":' * 700 + "["])
def test_pairs_in_a_list_that_never_ends_are_all_read(opening: str) -> None:
    found = list(read_pairs(opening + f"{PAIR}, " * 100))
    assert [each for each in found if each] == [READ] * 100


def test_a_number_of_more_digits_than_the_limit_costs_its_pair() -> None:
    def answered(digits: int) -> str:
        return f'{{"question": "How many?", "answer": {"9" * digits}}}\n{PAIR}'

    assert list(read_pairs(answered(5_000))) == [None, READ]
    assert list(read_pairs(answered(101))) == [None, READ]
    assert list(read_pairs(answered(100))) == [
        InstructionPair(instruction="How many?", response="9" * 100),
        READ,
    ]
