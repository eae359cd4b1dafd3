"""Ranks agree on one shared-memory number while other jobs of their node begin and end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.distributed
from streaming.base.constant import LOCALS, RESUME
from streaming.base.shared import SharedMemory, prefix
from streaming.base.world import World

from trainer.data.shared_memory_prefix import take_number


class Jobs:
    """Other jobs of the node, each with a number of its own."""

    def __init__(self) -> None:
        self.segments: list[SharedMemory] = []

    def begin(self, number: int = 0) -> None:
        """Take this number, or the next one that is free."""
        try:
            self.segments.append(SharedMemory(f"{number:06}_{LOCALS}", True, 64))
        except FileExistsError:
            self.begin(number + 1)

    def end(self) -> None:
        self.segments.pop(0).cleanup()


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    jobs = Jobs()
    yield jobs
    while jobs.segments:
        jobs.end()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """Values that the ranks have gathered so far; here the ranks run one after another."""
    heard: dict[int, Any] = {}

    def gather(gathered: list[Any], value: dict[int, Any]) -> None:
        heard.update(value)
        gathered[:] = [dict(heard), {}]

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    return heard


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize("num_ranks", [1, 2])
def test_ranks_agree_on_a_number_that_no_other_job_has(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, num_ranks: int
) -> None:
    found, look = [], prefix._check_and_find

    def look_while_jobs_change(local: list[str], remote: list[str | None], shm_name: str) -> int:
        number = look(local, remote, shm_name)
        if shm_name == LOCALS:
            found.append(number)
            if len(found) == 1:  # one job ends, and another takes the number first
                jobs.end()
                jobs.begin(number)
        return number

    jobs.begin()
    jobs.begin()
    monkeypatch.setattr(prefix, "_check_and_find", look_while_jobs_change)
    numbers, segments = zip(
        *(take_number([str(tmp_path)], [None], World(1, num_ranks, 1, rank)) for rank in range(num_ranks)),
        strict=True,
    )
    assert [prefix._unpack_locals(bytes(segment.buf)) for segment in segments] == [
        ([str(tmp_path)], numbers[0])
    ] * num_ranks
    for segment in segments:
        segment.cleanup()
    assert len(set(numbers)) == 1
    assert len(found) == 2


def test_all_ranks_hear_what_the_first_one_met(tmp_path: Path, said: dict[int, Any]) -> None:
    for rank in (0, 1):
        with pytest.raises(ValueError, match="Reused local directory"):
            take_number([str(tmp_path)] * 2, [None] * 2, World(1, 2, 1, rank))
    assert isinstance(said[0], ValueError)


def test_a_number_is_not_taken_while_a_segment_of_it_is_left(tmp_path: Path) -> None:
    """With a killed job's `resume` segment, an epoch would begin at that job's position."""
    number, segment = take_number([str(tmp_path / "a")], [None], World(1, 1, 1, 0))
    segment.cleanup()
    left = SharedMemory(f"{number:06}_{RESUME}", True, 64)
    try:
        assert take_number([str(tmp_path / "b")], [None], World(1, 1, 1, 0))[0] > number
    finally:
        left.cleanup()
