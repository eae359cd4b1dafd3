"""Damage to good pairs: each becomes a bad pair in a way that is recorded.

    good pair ─► number_changed      another number, foreign or from elsewhere in the passage
              ─► negation_flipped    yes for no, or "not" put in or left out
              ─► entity_swapped      a name of another passage for the name in the answer
              ─► other_passage       the answer, or the whole pair, of another passage
              ─► leaked              the answer stands in the question
              ─► malformed           cut, repeated, without an answer, with a placeholder or a missing figure

A hash of the pair chooses the damage, so the file is the same each time. STILL_TRUE names the results that a
reader found not to be bad; they are left out.

    python -m benchmarks.verification.damage      # writes damaged.jsonl
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

from benchmarks.verification.labelled import FOLDER, passages, rows, split_of

Row = dict[str, Any]


STILL_TRUE: frozenset[tuple[str, str, str]] = frozenset(
    {
        ("negation_flipped", "docs-cli", "What does `--dry-run` do?"),
        ("negation_flipped", "cook-lentil", "What should be done before the lentils go into the pot?"),
        ("negation_flipped", "farm-advice", "How harmful can aphids be?"),
        (
            "negation_flipped",
            "pharm-paracetamol",
            "Why is the early phase after an overdose deceptive?",
        ),
        ("negation_flipped", "tech-review", "Name one advantage and one disadvantage of the speaker."),
        (
            "negation_flipped",
            "guide-hypertension-adults",
            "What should be checked first when treatment with three drugs fails?",
        ),
    }
)

OTHER_LANGUAGES = ("de-", "es-", "zh-")
"""Beginnings of the ids of passages in other languages, whose damage is done by hand."""

ADDED_LATER = ("econ-inflation", "hist-lindmoor")
"""Passages that lend no pairs to others, so that the damage to older passages stays as it was."""

NAMES = (
    (
        *("Ines Maldow", "Per Askeland", "Dana Whitlock", "Lena Oduya", "Mette Farrow", "Joy Lindqvist"),
        *("Tomas Relic", "Josiah Penhale", "Agathe Morell", "Yusra Haddad", "Oona Veld", "Ida Brenneke"),
        *("Colm Rourke", "Leonie Astrup", "Samuel Okoro", "Gwen Tarrant", "Matthias Lehn", "Sara Pell"),
    ),
    (
        *(
            "Bettina",
            "Milo",
            "Rosalind",
            "Viktor",
            "Hanne",
            "Priya",
            "Lorenz",
            "Dev",
            "Mr Osei",
            "Doctor Hale",
        ),
        *("Mrs Abernathy", "Relic", "Okoro", "Dvorak", "Bach"),
    ),
    (
        *("Corrow", "Oxley", "Saltmere", "Lyra", "Kotor", "Karlstad", "Paris", "Leeds", "Enugu", "Nsukka"),
        *("Abiri", "Gdansk", "Gotland", "Monteriso", "Portavel", "Fjellby", "Sundal", "Tarnby", "Wexcombe"),
        *(
            "Kyoto",
            "Mumbai",
            "Prague",
            "Lisbon",
            "Duncaster",
            "Ravensholt",
            "Aldmoor",
            "Sarro",
            "Tollen Island",
        ),
    ),
    ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    ("January", "February", "March", "April", "May", "June", "July", "August", "October", "December"),
    ("Client", "Contractor"),
    ("Lantern", "Brask Mini", "Pellet Go", "Grey Heron", "Salt Ledger", "Nerorix", "Zoropdine", "Dorvane"),
    ("LockError", "FileExistsError"),
    ("--checksum", "--prune", "--dry-run"),
)
"""Names of the passages, by kind."""

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_VERB = re.compile(
    r"\b(is|are|was|were|can|could|may|must|should|will|has|had|have|does|do|did)\b"
    r"(?! (?:no|only|so)\b)( not\b)?"
)


def number_changed(row: Row, rng: random.Random) -> str:
    """Response with its first number changed: half of the time to another number of the passage."""
    found = _NUMBER.search(row["response"])
    if found is None or row.get("options"):
        return ""
    old = found[0]
    others = sorted(set(_NUMBER.findall(passages()[row["passage"]])) - {old})
    if others and rng.random() < 0.5:
        new = rng.choice(others)
    else:
        digits = [at for at, character in enumerate(old) if character.isdigit()]
        at = rng.choice(digits)
        new = old[:at] + str((int(old[at]) + rng.randint(1, 8)) % 9 + 1) + old[at + 1 :]
    return "" if new == old else row["response"].replace(old, new, 1)


def negation_flipped(row: Row, rng: random.Random) -> str:
    """Response with yes and no exchanged, or with "not" put in or left out."""
    first, rest = re.match(r"(\w*)(.*)", row["response"], re.DOTALL).groups()  # type: ignore[union-attr]
    other = {"Yes": "No", "No": "Yes"}.get(first)
    if other:
        return other + (rest if rng.random() < 0.5 else ".")
    found = _VERB.search(row["response"])
    if found is None or row.get("options") or len(row["response"].split()) < 5:
        return ""
    verb = found[1] if found[2] else f"{found[1]} not"
    return str(row["response"][: found.start()] + verb + row["response"][found.end() :])


def entity_swapped(row: Row, rng: random.Random) -> str:
    """Response with its first name replaced by one of the same kind: half of the time from the passage."""
    response, text = row["response"], passages()[row["passage"]]
    for names in NAMES:
        own = next((name for name in names if name in response), "")
        others = [name for name in names if name not in response and name not in row["instruction"]]
        near = [name for name in others if name in text]
        if own and others and not row.get("options"):
            return str(response.replace(own, rng.choice(near if near and rng.random() < 0.5 else others)))
    return ""


def other_passage(row: Row, rng: random.Random) -> Row | None:
    """The answer of another passage's question of the same kind; or, half of the time, the whole pair."""
    others = [
        other
        for other in rows("written")
        if other["label"] == "good"
        and other["passage"] != row["passage"]
        and other["kind"] == row["kind"]
        and other["passage"][:3] not in OTHER_LANGUAGES
        and other["passage"] not in ADDED_LATER
    ]
    begin = row["instruction"].split()[:2]
    other = rng.choice([each for each in others if each["instruction"].split()[:2] == begin] or others)
    if row.get("options") or other.get("options") or row["kind"] == "yes_no":
        return None
    fields = {name: other[name] for name in ("response", "rationale") if name in other}
    if rng.random() < 0.5:
        fields["instruction"] = other["instruction"]
    return {**{name: value for name, value in row.items() if name != "rationale"}, **fields}


def leaked(row: Row, rng: random.Random) -> Row | None:
    """The answer of a short extractive or numeric pair in its question."""
    answer = row["response"].rstrip(".")
    if row["kind"] not in ("extractive", "numeric") or len(answer.split()) > 6:
        return None
    question = row["instruction"]
    return {
        **row,
        "instruction": rng.choice(
            (
                f"{question} ({answer})",
                f"{question.rstrip('?')}, given that it is {answer}?",
                f"Since the answer is {answer}: {question}",
            )
        ),
    }


def malformed(row: Row, rng: random.Random) -> Row:
    """A question or an answer that is cut, repeated, missing, a placeholder, or about what is not shown."""
    question, answer = row["instruction"], row["response"]
    half = question.split()[: max(2, len(question.split()) // 2)]
    return {
        **row,
        **rng.choice(
            (
                {"instruction": " ".join(half)},
                {"response": " ".join([answer.rstrip(".") + "."] * 3)},
                {"response": question},
                {"response": "N/A"},
                {"response": "[Your answer]"},
                {"instruction": f"{question.rstrip('?.')} in Figure {rng.randint(1, 9)}?"},
                {"instruction": f"As we saw in the previous section, {question[0].lower()}{question[1:]}"},
                {"instruction": f"{question} Answer: {answer} Question: {question}"},
                {"response": f"{answer}\n\nQuestion: {question}\nAnswer:"},
            )
        ),
    }


def damaged() -> Iterator[Row]:
    """Rows of bad pairs, in the order of the good ones."""
    for row in rows("written"):
        if row["label"] == "good" and row["passage"][:3] not in OTHER_LANGUAGES:
            for kind, damage in _DAMAGES.items():
                key = f"{kind}|{row['passage']}|{row['instruction']}".encode()
                seed = int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
                if seed % _ONE_IN[kind]:
                    continue
                bad = damage(row, random.Random(seed))
                if bad and (kind, row["passage"], row["instruction"]) not in STILL_TRUE:
                    fields = bad if isinstance(bad, dict) else {**row, "response": bad}
                    yield {**fields, "label": "bad", "kind": kind, "split": split_of(row["passage"])}


_DAMAGES: dict[str, Callable[[Row, random.Random], Any]] = {
    "number_changed": number_changed,
    "negation_flipped": negation_flipped,
    "entity_swapped": entity_swapped,
    "other_passage": other_passage,
    "leaked": leaked,
    "malformed": malformed,
}

_ONE_IN = {
    "number_changed": 2,
    "negation_flipped": 2,
    "entity_swapped": 1,
    "other_passage": 4,
    "leaked": 4,
    "malformed": 7,
}
"""One good pair in so many gets this damage, if it can have it."""


def main() -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in damaged()]
    (FOLDER / "damaged.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
