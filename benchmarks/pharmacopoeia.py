"""A made-up pharmacopoeia: drugs that do not exist, texts about them, questions, and a synthesizer.

    seed ─► drugs: a name, and a value of each attribute, drawn at random
              ├─► texts        one per drug: an opening and six statements, in any order and wording
              │     └─► pairs    MonographSynthesizer reads the text alone and asks about 3 of the 6
              └─► questions    one per fact, in wordings that the synthesizer does not have

So no model can know a fact from elsewhere, and a guess among four options is right in 25 % of cases. A text
names its drug once and mostly calls it "it" afterwards, like natural text. A question always names the drug.

The synthesizer stands for a language model that reads well. It finds statements by their wordings, so its
pairs are right and follow few patterns. A real model makes some errors and varies its wording.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from plugins.synthesizers.base import Synthesizer
from schemas.config import Section, validate
from schemas.corpus_config import SynthesisConfig
from schemas.records import Chain, InstructionPair, SynthesizedDocument

PAIRS_A_TEXT = 3
_OPTIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """An attribute of every drug: its values and wordings.

    Attributes:
        values: Each drug has one of them; wrong options are other values.
        statements: Sentences of the texts, with {drug} and {value}.
        asked: Questions of the synthesizer, with {drug}.
        held_out: Questions of the evaluation, with {drug}.
    """

    values: tuple[str, ...]
    statements: tuple[str, ...]
    asked: tuple[str, ...]
    held_out: tuple[str, ...]


ATTRIBUTES = {
    "condition": Attribute(
        values=(
            *("gout", "migraine", "asthma", "eczema", "insomnia", "malaria", "anaemia", "vertigo"),
            *("sciatica", "glaucoma", "psoriasis", "angina"),
        ),
        statements=(
            "{drug} is given for {value}.",
            "{drug} is used to treat {value}.",
            "{drug} was approved against {value}.",
            "{drug} relieves {value} within days.",
        ),
        asked=("What is {drug} used for?", "Which condition is treated with {drug}?"),
        held_out=("A doctor prescribes {drug}. From what does the patient suffer?",),
    ),
    "source": Attribute(
        values=(
            *("willow bark", "sea sponge", "horse chestnut", "snake venom", "red algae", "pine resin"),
            *("garlic", "poppy seeds", "bread mould", "crab shells", "olive leaves", "ginger"),
        ),
        statements=(
            "{drug} is extracted from {value}.",
            "{drug} is obtained from {value}.",
            "{drug} was first isolated from {value}.",
            "{drug} is made out of {value}.",
        ),
        asked=("What is {drug} made from?", "From what is {drug} extracted?"),
        held_out=("Which natural material supplies the raw substance of {drug}?",),
    ),
    "dose": Attribute(
        values=(
            *("2 mg", "5 mg", "8 mg", "15 mg", "20 mg", "35 mg"),
            *("40 mg", "60 mg", "75 mg", "90 mg", "120 mg", "250 mg"),
        ),
        statements=(
            "{drug} is taken at {value} a day.",
            "{drug} is dosed at {value} daily.",
            "{drug} should be given as {value} each morning.",
            "{drug} comes in tablets of {value}, one for each day.",
        ),
        asked=("What is the daily dose of {drug}?", "How much {drug} is taken a day?"),
        held_out=("How many milligrams of {drug} does an adult swallow every 24 hours?",),
    ),
    "side_effect": Attribute(
        values=(
            *("hair loss", "dry mouth", "nausea", "blurred vision", "hiccups", "a metallic taste"),
            *("tremor", "cold hands", "nightmares", "swollen ankles", "a rash", "ringing ears"),
        ),
        statements=(
            "{drug} often causes {value}.",
            "{drug} may bring about {value}.",
            "{drug} has one frequent side effect, {value}.",
            "{drug} leaves some patients with {value}.",
        ),
        asked=("What is a side effect of {drug}?", "What does {drug} often cause?"),
        held_out=("Which complaint should people on {drug} expect as an unwanted result?",),
    ),
    "interaction": Attribute(
        values=(
            *("grapefruit", "milk", "alcohol", "coffee", "aspirin", "liquorice"),
            *("spinach", "cheese", "iron tablets", "green tea", "antacids", "walnuts"),
        ),
        statements=(
            "{drug} must not be combined with {value}.",
            "{drug} loses its effect together with {value}.",
            "{drug} is dangerous when taken with {value}.",
            "{drug} should be kept apart from {value}.",
        ),
        asked=("What must not be combined with {drug}?", "With what does {drug} interact?"),
        held_out=("What has to be avoided by somebody who is on {drug}?",),
    ),
    "city": Attribute(
        values=(
            *("Lisbon", "Oslo", "Cairo", "Lima", "Kyoto", "Vienna"),
            *("Nairobi", "Dublin", "Boston", "Prague", "Mumbai", "Sydney"),
        ),
        statements=(
            "{drug} was developed in {value}.",
            "{drug} comes from a laboratory in {value}.",
            "{drug} was discovered by a team in {value}.",
            "{drug} is manufactured in {value}.",
        ),
        asked=("Where was {drug} developed?", "Which city does {drug} come from?"),
        held_out=("In what town did the makers of {drug} have their workplace?",),
    ),
}

_OPENINGS = (
    "{drug} is a white powder sold as tablets.",
    "{drug} is a drug that pharmacies keep behind the counter.",
    "{drug} belongs to the newer medicines.",
    "{drug} is a well studied compound.",
)
_SUBJECTS = ("It", "It", "The drug", "{drug}")
_STARTS = ("Vel", "Zor", "Quin", "Mab", "Tri", "Pax", "Dol", "Ner", "Fos", "Gal", "Hex", "Lum")
_MIDDLES = ("a", "o", "i", "u", "er", "en", "op", "ax")
_ENDS = ("mide", "trol", "zine", "pram", "dine", "xan", "vir", "lone", "cept", "stat", "fen", "rix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drug:
    """A drug and its facts, by attribute."""

    name: str
    facts: dict[str, str]


def make_drugs(count: int, *, seed: int) -> list[Drug]:
    """Invent drugs with different names; each value of an attribute is as frequent as the others.

    Raises:
        ValueError: There are fewer names than drugs.
    """
    rng = random.Random(f"drugs:{seed}")
    names = ["".join(parts) for parts in itertools.product(_STARTS, _MIDDLES, _ENDS)]
    if count > len(names):
        raise ValueError(f"{count} drugs are wanted, but there are {len(names)} names")
    columns = {}
    for attribute, about in ATTRIBUTES.items():
        columns[attribute] = [about.values[at % len(about.values)] for at in range(count)]
        rng.shuffle(columns[attribute])
    return [
        Drug(name=name, facts={attribute: columns[attribute][at] for attribute in ATTRIBUTES})
        for at, name in enumerate(rng.sample(names, count))
    ]


def text_about(drug: Drug, *, seed: int) -> str:
    """A paragraph that states each fact once."""
    rng = random.Random(f"text:{seed}:{drug.name}")
    sentences = [rng.choice(_OPENINGS).format(drug=drug.name)]
    for attribute in rng.sample(list(ATTRIBUTES), len(ATTRIBUTES)):
        subject = rng.choice(_SUBJECTS).format(drug=drug.name)
        statement = rng.choice(ATTRIBUTES[attribute].statements)
        sentences.append(statement.format(drug=subject, value=drug.facts[attribute]))
    return " ".join(sentences)


def question_about(drug: Drug, attribute: str, *, seed: int) -> dict[str, object]:
    """Held-out question about a fact, as a row of an evaluation task: one right option of four."""
    rng = random.Random(f"question:{seed}:{drug.name}:{attribute}")
    about, right = ATTRIBUTES[attribute], drug.facts[attribute]
    options = [right, *rng.sample([value for value in about.values if value != right], _OPTIONS - 1)]
    rng.shuffle(options)
    question = rng.choice(about.held_out).format(drug=drug.name)
    return {
        "id": f"{drug.name}:{attribute}",
        "input": f"Question: {question}\nAnswer:",
        "options": options,
        "gold_index": options.index(right),
    }


def read_facts(text: str) -> tuple[str, dict[str, str]]:
    """Name of a text's drug, and the facts that the text states, found by their wordings alone.

    Returns:
        The drug's name, and values by attribute in the order of the text; an empty name without facts.
    """
    name = text.split(" ", 1)[0]
    facts: dict[str, str] = {}
    for sentence in re.findall(r"[^.]+\.", text):
        for attribute, statement in _statements():
            if match := statement.fullmatch(sentence.strip()):
                facts[attribute] = match["value"]
    return (name, facts) if facts else ("", {})


def _statements() -> Iterator[tuple[str, re.Pattern[str]]]:
    for attribute, about in ATTRIBUTES.items():
        for statement in about.statements:
            before, after = statement.removeprefix("{drug}").split("{value}")
            yield attribute, re.compile(rf".*?{re.escape(before)}(?P<value>.+){re.escape(after)}")


def pairs_about(text: str, *, seed: int) -> dict[str, InstructionPair]:
    """The synthesizer's pairs about a text, by attribute; about three facts at most."""
    name, facts = read_facts(text)
    rng = random.Random(f"pairs:{seed}:{text}")
    chosen = rng.sample(sorted(facts), min(PAIRS_A_TEXT, len(facts)))
    return {
        attribute: InstructionPair(
            instruction=rng.choice(ATTRIBUTES[attribute].asked).format(drug=name),
            response=facts[attribute],
        )
        for attribute in chosen
    }


class MonographSynthesizer(Synthesizer):
    """Asks about the facts in texts about drugs. Documents of a chain form one text."""

    def __init__(self, config: SynthesisConfig, *, seed: int):
        super().__init__(config, seed=seed)
        validate(Section, config.options, name="synthesis.options")  # this synthesizer has no options

    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        done: list[SynthesizedDocument] = []
        for document in chain.documents:
            pairs = tuple(pairs_about(document.text, seed=self.seed).values())
            follows = bool(pairs) and bool(done) and bool(done[-1].pairs)
            done.append(SynthesizedDocument(document=document, pairs=pairs, follows_previous=follows))
        return tuple(done)
