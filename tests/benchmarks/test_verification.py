"""Labelled pairs of the verifiers' benchmark, and loose marks of the rules on them."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.verification import damage
from benchmarks.verification.__main__ import RULES, main
from benchmarks.verification.labelled import HELD_OUT, TUNING, few_each, load, passages, rows, split_of
from benchmarks.verification.measure import judge, marks
from plugins.verifiers import VERIFIERS


def test_the_set_is_large_and_a_third_of_its_passages_is_held_out() -> None:
    labelled = load()
    held_out = [each for each in passages() if split_of(each) == HELD_OUT]
    assert len(labelled) >= 600
    assert 0.3 < len(held_out) / len(passages()) < 0.4
    assert all(each.split == split_of(each.passage) for each in labelled)
    assert len({(each.text, each.pair, each.is_bad, each.kind) for each in labelled}) == len(labelled)


def test_few_pairs_of_each_passage_are_spread_over_good_and_bad_ones() -> None:
    few = few_each(load(), 4)
    assert max(Counter(row.passage for row in few).values()) == 4
    assert {row.passage for row in few} == {row.passage for row in load()}
    assert {row.is_bad for row in few} == {True, False}
    assert few_each(load(), 0) == load()


def test_no_pair_is_both_good_and_bad() -> None:
    labels: dict[object, set[bool]] = {}
    for each in load():
        labels.setdefault((each.passage, each.pair), set()).add(each.is_bad)
    assert [pair for pair, found in labels.items() if len(found) > 1] == []


def test_the_damaged_pairs_are_those_that_the_script_makes() -> None:
    assert list(damage.damaged()) == rows("damaged")


@pytest.mark.slow
@pytest.mark.parametrize("split", [TUNING, HELD_OUT])
def test_marks_of_the_rules(split: str) -> None:
    judged = judge(
        [each for each in load() if each.split == split][:400], [VERIFIERS.load(each)() for each in RULES]
    )
    found = marks(judged, RULES)
    assert found.precision >= 0.9
    assert found.recall >= 0.65
    assert found.dropped <= 0.05
    assert marks(judged, ["grounded"]).recall < found.recall


@pytest.mark.slow
def test_the_command_prints_marks_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rules", "well_formed", "--errors", "tuning", "--repeats", "0"])
    printed = capsys.readouterr().out
    assert "held-out: " in printed
    assert "missed: news-mill" in printed
