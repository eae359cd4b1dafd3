"""A made-up pharmacopoeia: drugs that do not exist, texts about them, pairs and held-out questions.

    seed ─► drugs: a name, and a value of each of six attributes, drawn at random
              ├─► texts       four a drug (monograph, leaflet, case, history), each stating all six facts
              ├─► pairs       five a text, of all kinds, for the synthesizer `recorded`
              ├─► questions   two a fact, in wordings that no pair has
              └─► held-out texts of two kinds: letters, in wordings that no other text has, and texts in
                  another order and partly other sentences

No model can know a fact from elsewhere, and a guess among n options is right in 1 of n. The texts name the
drug once or twice and then say "it"; a question always names it.

    python -m benchmarks.pharmacopoeia --output examples/handbook    # the bundled handbook
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from plugins.words import words_of

KINDS = ("monograph", "leaflet", "case", "history")

HELD_OUT_KIND = "letter"
"""Texts of this kind state the same facts for the evaluation alone: bits a byte of held-out texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One property that every drug has.

    Attributes:
        values: Each drug has one; the others are wrong options.
        sentences: For each kind of text and for HELD_OUT_KIND, sentences with {drug} and {value}.
        asked: Questions of pairs, with {drug}.
        begun: A sentence of pairs that ends in the value, with {drug}.
        held_out: Questions of the evaluation, with {drug}.
    """

    values: tuple[str, ...]
    sentences: Mapping[str, tuple[str, ...]]
    asked: tuple[str, ...]
    begun: str
    held_out: tuple[str, str]


ATTRIBUTES = {
    "condition": Attribute(
        values=(
            *("gout", "migraine", "asthma", "eczema", "insomnia", "malaria", "anaemia", "vertigo"),
            *("sciatica", "glaucoma", "psoriasis", "angina"),
        ),
        sentences={
            "monograph": (
                "{drug} is indicated for {value}.",
                "The approved indication of {drug} is {value}.",
            ),
            "leaflet": ("You take {drug} because you have {value}.", "{drug} helps people who have {value}."),
            "case": (
                "She had suffered from {value} for two years before {drug} was started.",
                "The doctor prescribed {drug} for her {value}.",
            ),
            "history": (
                "The first patients who received {drug} had {value}.",
                "From the beginning {drug} was meant to treat {value}.",
            ),
            "letter": (
                "My {value} has been better since I started on {drug}.",
                "It was my {value} that made me ask for {drug}.",
            ),
        },
        asked=(
            "What is {drug} used for?",
            "Which condition is treated with {drug}?",
            "Against which illness does {drug} help?",
            "Name the indication of {drug}.",
        ),
        begun="{drug} is used to treat",
        held_out=(
            "A doctor prescribes {drug}. From what does the patient suffer?",
            "People who take {drug} want to be rid of which disease?",
        ),
    ),
    "source": Attribute(
        values=(
            *("willow bark", "sea sponge", "horse chestnut", "snake venom", "red algae", "pine resin"),
            *("garlic", "poppy seeds", "bread mould", "crab shells", "olive leaves", "ginger"),
        ),
        sentences={
            "monograph": ("{drug} is extracted from {value}.", "The substance is obtained from {value}."),
            "leaflet": (
                "{drug} is made from {value}; tell your doctor if you are allergic to it.",
                "The active substance comes from {value}.",
            ),
            "case": (
                "An allergy to {value}, the raw material of the drug, was ruled out.",
                "The substance is derived from {value}, so allergies were asked about first.",
            ),
            "history": (
                "A chemist found the substance in {value}.",
                "The story of {drug} began with {value}.",
            ),
            "letter": (
                "They get it out of {value}, or so my neighbour says.",
                "I never thought that {value} could be so useful.",
            ),
        },
        asked=(
            "What is {drug} made from?",
            "From what is {drug} extracted?",
            "What is the raw material of {drug}?",
            "Where does the active substance of {drug} come from?",
        ),
        begun="The substance in {drug} is extracted from",
        held_out=(
            "Which natural product supplies what {drug} contains?",
            "A factory that produces {drug} needs which natural material?",
        ),
    ),
    "dose": Attribute(
        values=(
            *("2 mg", "5 mg", "8 mg", "15 mg", "20 mg", "35 mg"),
            *("40 mg", "60 mg", "75 mg", "90 mg", "120 mg", "250 mg"),
        ),
        sentences={
            "monograph": ("The daily dose is {value}.", "Adults receive {value} of {drug} a day."),
            "leaflet": ("Take {value} once a day.", "Swallow one tablet of {value} every morning."),
            "case": ("She took {value} each morning.", "The dose was {value} a day."),
            "history": (
                "Trials settled on {value} a day.",
                "After four trials {value} became the daily dose.",
            ),
            "letter": (
                "My sister thinks that {value} is a lot, but I was told to take that much.",
                "The slip of paper in my bag says {value} each day.",
            ),
        },
        asked=(
            "What is the daily dose of {drug}?",
            "How much {drug} is taken a day?",
            "Which amount of {drug} does an adult take daily?",
            "How is {drug} dosed?",
        ),
        begun="The daily dose of {drug} is",
        held_out=(
            "How many milligrams of {drug} does somebody swallow every 24 hours?",
            "A nurse prepares {drug} for one day. Which quantity is right?",
        ),
    ),
    "side_effect": Attribute(
        values=(
            *("hair loss", "dry mouth", "nausea", "blurred vision", "hiccups", "a metallic taste"),
            *("tremor", "cold hands", "nightmares", "swollen ankles", "a rash", "ringing ears"),
        ),
        sentences={
            "monograph": (
                "The most frequent adverse effect is {value}.",
                "{drug} often causes {value}.",
            ),
            "leaflet": (
                "You may notice {value} in the first weeks.",
                "Tell your doctor if you have {value} for more than a week.",
            ),
            "case": (
                "In the second week she reported {value}.",
                "Her only complaint on the drug was {value}.",
            ),
            "history": (
                "Early users complained of {value}.",
                "Reports of {value} followed within a year.",
            ),
            "letter": (
                "What troubles me is {value}, though only a little.",
                "Only {value} is a nuisance.",
            ),
        },
        asked=(
            "What is a side effect of {drug}?",
            "What does {drug} often cause?",
            "Which adverse effect of {drug} is the most frequent?",
            "What do patients on {drug} complain of?",
        ),
        begun="A frequent side effect of {drug} is",
        held_out=(
            "Which unwanted result should people on {drug} expect?",
            "What may bother somebody soon after starting {drug}?",
        ),
    ),
    "interaction": Attribute(
        values=(
            *("grapefruit", "milk", "alcohol", "coffee", "aspirin", "liquorice"),
            *("spinach", "cheese", "iron tablets", "green tea", "antacids", "walnuts"),
        ),
        sentences={
            "monograph": ("{drug} must not be combined with {value}.", "{drug} interacts with {value}."),
            "leaflet": (
                "Do not have {value} while you take this medicine.",
                "Keep away from {value} during the treatment.",
            ),
            "case": ("She was told to avoid {value}.", "The dietician told her to stay away from {value}."),
            "history": (
                "In the second year a warning about {value} was printed on the box.",
                "It took a year to learn that {value} must be avoided.",
            ),
            "letter": (
                "I have had to give up {value}, which I miss.",
                "My husband hides {value} from me, as the chemist advised.",
            ),
        },
        asked=(
            "What must not be combined with {drug}?",
            "With what does {drug} interact?",
            "What do patients on {drug} have to avoid?",
            "What does the box of {drug} warn against?",
        ),
        begun="Patients on {drug} must avoid",
        held_out=(
            "What is dangerous for somebody who is on {drug}?",
            "The effect of {drug} is spoilt by which food or medicine?",
        ),
    ),
    "city": Attribute(
        values=(
            *("Lisbon", "Oslo", "Cairo", "Lima", "Kyoto", "Vienna"),
            *("Nairobi", "Dublin", "Boston", "Prague", "Mumbai", "Sydney"),
        ),
        sentences={
            "monograph": ("{drug} is manufactured in {value}.", "The manufacturer is based in {value}."),
            "leaflet": ("{drug} is made in {value}.", "The maker in {value} answers your questions."),
            "case": (
                "The tablets came from the maker in {value}.",
                "The hospital orders the tablets from {value}.",
            ),
            "history": ("{drug} was developed in {value}.", "A laboratory in {value} made the first gram."),
            "letter": (
                "The parcel bears a stamp from {value}.",
                "A cousin of mine in {value} has walked past the factory.",
            ),
        },
        asked=(
            "Where is {drug} made?",
            "Which city does {drug} come from?",
            "In which city was {drug} developed?",
            "Where is the maker of {drug}?",
        ),
        begun="{drug} was developed in",
        held_out=(
            "In what town do the people who produce {drug} work?",
            "Somebody wants to visit the laboratory behind {drug}. Where must they travel?",
        ),
    ),
}

_OPENINGS = {
    "monograph": (
        "{drug} is a white powder that is sold as tablets.",
        "{drug} is a well-studied compound of a newer kind.",
    ),
    "leaflet": (
        "{drug}: information for the patient. Read all of it before you start.",
        "This leaflet is about {drug}. Keep it, since you may want to read it again.",
    ),
    "case": (
        "A woman of fifty came to the clinic and left it with {drug}.",
        "The case report describes a teacher who was treated with {drug}.",
    ),
    "history": (
        "Few medicines have had as short a history as {drug}.",
        "The archive of the pharmacists' guild has a file on {drug}.",
    ),
    "letter": (
        "You asked how I am getting on with {drug}.",
        "Dear aunt, a word about {drug}, as I promised.",
    ),
}
_STARTS = ("Vel", "Zor", "Quin", "Mab", "Tri", "Pax", "Dol", "Ner", "Fos", "Gal", "Hex", "Lum")
_MIDDLES = ("a", "o", "i", "u", "er", "en", "op", "ax")
_ENDS = ("mide", "trol", "zine", "pram", "dine", "xan", "vir", "lone", "cept", "stat", "fen", "rix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drug:
    """A drug and its facts: a value for each attribute."""

    name: str
    facts: dict[str, str]


def make_drugs(count: int, *, seed: int) -> list[Drug]:
    """Invent drugs with different names; each value of an attribute is as frequent as the others.

    Raises:
        ValueError: There are not as many names.
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


def sentences_about(drug: Drug, kind: str, *, seed: int) -> dict[str, str]:
    """Return the sentences of a text by attribute, in the order of the text."""
    rng = random.Random(f"text:{seed}:{kind}:{drug.name}")
    return {
        attribute: rng.choice(ATTRIBUTES[attribute].sentences[kind]).format(
            drug=drug.name, value=drug.facts[attribute]
        )
        for attribute in rng.sample(list(ATTRIBUTES), len(ATTRIBUTES))
    }


def text_about(drug: Drug, kind: str, *, seed: int) -> str:
    """Return a paragraph that states each fact once."""
    opening = random.Random(f"opening:{seed}:{kind}:{drug.name}").choice(_OPENINGS[kind])
    return " ".join([opening.format(drug=drug.name), *sentences_about(drug, kind, seed=seed).values()])


def rearranged(drug: Drug, kind: str, *, texts: Iterable[str], seed: int) -> str:
    """Return a text in another order and partly other sentences that shares no 13 words with `texts`.

    Texts that share 13 words with a row of a task are kept out of a corpus; some sentences name no drug.
    """
    taken = set().union(*map(_runs_of_words, texts))
    made = (text_about(drug, kind, seed=other) for other in itertools.count(seed + 1))
    return next(text for text in made if not taken & _runs_of_words(text))


def _runs_of_words(text: str, length: int = 13) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}


def pairs_about(
    drug: Drug, kind: str, *, seed: int, attributes: Collection[str] = tuple(ATTRIBUTES)
) -> list[dict[str, object]]:
    """Return pairs about a text: of five kinds, each about another fact where there are as many.

    Args:
        drug: The drug.
        kind: The text's.
        seed: Of the choices.
        attributes: Facts that may be asked about.
    """
    rng = random.Random(f"pairs:{seed}:{drug.name}")
    order = rng.sample(sorted(attributes), len(attributes))
    at = 5 * KINDS.index(kind)  # over the texts of a drug all facts have their turn
    facts = [order[(at + number) % len(order)] for number in range(5)]
    sentences = sentences_about(drug, kind, seed=seed)
    wording = KINDS.index(kind)
    free, listed, reasoned, begun, plain = facts

    def question(attribute: str, turn: int = 0) -> str:
        return ATTRIBUTES[attribute].asked[(wording + turn) % 4].format(drug=drug.name)

    return [
        {"instruction": question(free), "response": drug.facts[free]},
        {
            "instruction": question(listed, 1),
            "options": _options(drug, listed, 4, rng),
            "response": drug.facts[listed],
        },
        {
            "instruction": question(reasoned, 2),
            "rationale": f"The text says: {sentences[reasoned]}",
            "response": drug.facts[reasoned],
        },
        {
            "instruction": f"Complete the sentence: {ATTRIBUTES[begun].begun.format(drug=drug.name)}",
            "response": drug.facts[begun],
        },
        {"instruction": question(plain, 3), "response": drug.facts[plain]},
    ]


def question_about(
    drug: Drug, attribute: str, *, wording: int, seed: int, num_options: int = 4
) -> dict[str, object]:
    """Return a held-out question about a fact, as a row of an evaluation task."""
    rng = random.Random(f"question:{seed}:{drug.name}:{attribute}:{wording}:{num_options}")
    options = _options(drug, attribute, num_options, rng)
    question = ATTRIBUTES[attribute].held_out[wording].format(drug=drug.name)
    return {
        "id": f"{drug.name}:{attribute}:{wording}",
        "input": f"Question: {question}\nAnswer:",
        "options": options,
        "gold_index": options.index(drug.facts[attribute]),
    }


def _options(drug: Drug, attribute: str, count: int, rng: random.Random) -> list[str]:
    right = drug.facts[attribute]
    options = [
        right,
        *rng.sample([each for each in ATTRIBUTES[attribute].values if each != right], count - 1),
    ]
    rng.shuffle(options)
    return options


if __name__ == "__main__":
    from benchmarks.handbook import write_handbook

    parser = argparse.ArgumentParser(description="Write the handbook of made-up drugs.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--drugs", type=int, default=12, help="a multiple of 12, the values of an attribute")
    parser.add_argument("--seed", type=int, default=17)
    given = parser.parse_args()
    write_handbook(given.output, make_drugs(given.drugs, seed=given.seed), seed=given.seed)
