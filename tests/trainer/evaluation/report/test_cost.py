"""Cost of evaluation in a run, with a clock that the test sets."""

from __future__ import annotations

import pytest

from trainer.evaluation.report.cost import EvaluationCost


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_share_is_of_the_time_since_training_began() -> None:
    clock = Clock()
    cost = EvaluationCost(clock)
    clock.now += 50  # loading
    assert cost.share == 0.0

    cost.start_run()
    clock.now += 40
    cost.add(10)

    assert (cost.run_sec, cost.share) == (40, 0.25)


def test_a_resumed_run_goes_on_counting_and_leaves_the_pause_out() -> None:
    clock = Clock()
    cost = EvaluationCost(clock)
    cost.start_run()
    clock.now += 30
    cost.add(6)
    state = cost.state_dict()
    clock.now += 5000

    resumed = EvaluationCost(clock)
    resumed.load_state_dict(state)
    clock.now += 7
    resumed.start_run()
    clock.now += 70
    resumed.add(4)

    assert (resumed.evaluation_sec, resumed.run_sec) == (10, 100)
    assert resumed.share == pytest.approx(0.1)


def test_a_second_fit_adds_to_the_first() -> None:
    clock = Clock()
    cost = EvaluationCost(clock)
    cost.start_run()
    clock.now += 10
    cost.start_run()
    clock.now += 10

    assert cost.run_sec == 20


def test_a_checkpoint_that_knows_no_cost_begins_anew() -> None:
    cost = EvaluationCost(Clock())
    cost.load_state_dict({})

    assert (cost.evaluation_sec, cost.run_sec) == (0.0, 0.0)
