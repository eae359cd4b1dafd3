"""Errors: pickling across process boundaries, and suggestions for unknown names."""

from __future__ import annotations

import pickle

import pytest

from schemas import errors
from schemas.errors import TutelageError, unknown_name


def kinds(base: type[TutelageError]) -> list[type[TutelageError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in kinds(child))]


KINDS = [kind for kind in kinds(TutelageError) if kind.__module__ == errors.__name__]


def test_the_kinds_are_those_that_commands_know() -> None:
    assert sorted(kind.__name__ for kind in KINDS) == [
        "ConfigError",
        "CorpusError",
        "InputError",
        "MachineError",
        "RecordError",
        "ServerError",
        "StorageError",
        "SynthesisError",
        "TrainingError",
        "TutelageError",
        "UnexpectedError",
        "WorkerError",
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_pickling(kind: type[TutelageError], protocol: int) -> None:
    copy = pickle.loads(pickle.dumps(kind("key 'a' is bad"), protocol))
    assert type(copy) is kind
    assert str(copy) == "key 'a' is bad"


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    assert unknown_name("synthesizer", "sglag", ["transformers", "sglang", "mined"]) == (
        "synthesizer 'sglag' is unknown. Did you mean 'sglang'? Available: mined, sglang, transformers."
    )


def test_an_unknown_name_unlike_any_other_gets_the_list_only() -> None:
    assert unknown_name("reader", "xlsx", ["jsonl", "text"]) == (
        "reader 'xlsx' is unknown. Available: jsonl, text."
    )


def test_an_unknown_name_is_shown_as_it_was_written() -> None:
    assert unknown_name("key", "sed", ["seed"], shown="a.b.sed") == (
        "key 'a.b.sed' is unknown. Did you mean 'seed'? Available: seed."
    )


def test_an_unknown_name_where_nothing_is_known() -> None:
    assert unknown_name("task", "x", []) == "task 'x' is unknown. Available: none."
