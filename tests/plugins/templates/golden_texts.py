"""Golden texts: exact texts of the reading comprehension family, by layout, each with its seed.

`python -m tests.plugins.templates.golden_texts` prints new ones after a change of wordings or of draws.
"""

from __future__ import annotations

from plugins.templates.reading_comprehension import ReadingComprehension
from schemas.records import Document, InstructionPair, SynthesizedDocument


def document(text: str, *pairs: InstructionPair) -> SynthesizedDocument:
    metadata = {"language": "en", "language_probability": "0.99"}
    found = Document.of(text[:8], text, source="test", metadata=metadata)
    return SynthesizedDocument(document=found, pairs=pairs)


DOCUMENTS = (
    document(
        "Renin is made by the kidney.",
        InstructionPair(instruction="Where is renin made?", response="In the kidney."),
        InstructionPair(
            instruction="Is renin a hormone?",
            response="No",
            options=("Yes", "No", "None of the above"),
            rationale="It acts as an enzyme.",
        ),
    ),
    document(
        "Insulin falls in fasting.",
        InstructionPair(
            instruction="When does insulin fall?", response="In fasting", options=("In fasting", "At meals")
        ),
        InstructionPair(
            instruction="Say it briefly.",
            response="Fasting lowers insulin.",
            rationale="One clause is enough.",
        ),
    ),
)


GOLDEN: dict[str, tuple[int, str]] = {
    "classic": (
        1,
        "Renin is made by the kidney.\n"
        "\n"
        "A short quiz on the text\n"
        "\n"
        "What is wanted: Where is renin made?\n"
        "What meets it: In the kidney.\n"
        "\n"
        "What is wanted: Is renin a hormone?\n"
        "* Yes\n"
        "* No\n"
        "* None of these\n"
        "What meets it: No\n"
        "Why this one: It acts as an enzyme.\n"
        "\n"
        "=====\n"
        "\n"
        "Insulin falls in fasting.\n"
        "\n"
        "A short quiz on the text\n"
        "\n"
        "What is wanted: When does insulin fall?\n"
        "There are some options.\n"
        "* At meals\n"
        "* In fasting\n"
        "What meets it: The right choice: In fasting\n"
        "\n"
        "What is wanted: Think step by step about this: Say it briefly.\n"
        "What meets it: One clause is enough.\n"
        "Which gives us: Fasting lowers insulin.",
    ),
    "dialogue": (
        0,
        "Renin is made by the kidney.\n"
        "\n"
        "After reading this, two people compare notes.\n"
        "\n"
        "Client: Where is renin made?\n"
        "\n"
        "Consultant: In the kidney.\n"
        "\n"
        "Client: Is renin a hormone?\n"
        "\n"
        "What it could be:\n"
        "* Yes\n"
        "* No\n"
        "* None of those\n"
        "\n"
        "Explain first, and end with your choice.\n"
        "\n"
        "Consultant: It acts as an enzyme.\n"
        "Therefore I choose: No\n"
        "\n"
        "***\n"
        "\n"
        "Insulin falls in fasting.\n"
        "\n"
        "After reading this, two people compare notes.\n"
        "\n"
        "Client: When does insulin fall?\n"
        "What it could be:\n"
        "* In fasting\n"
        "* At meals\n"
        "Which one do you choose?\n"
        "Consultant: The one that fits: In fasting\n"
        "Client: Answer with a reason: Say it briefly.\n"
        "Consultant: Fasting lowers insulin.\n"
        "This is how we know: One clause is enough.",
    ),
    "inline_few_shot": (
        20,
        "Renin is made by the kidney.\n"
        "\n"
        "Look at these first:\n"
        "\n"
        "Where is renin made?\n"
        "→ In the kidney.\n"
        "\n"
        "Then take this one:\n"
        "\n"
        "Is renin a hormone?\n"
        "[A] Yes\n"
        "[B] No\n"
        "[C] No option fits\n"
        "Go through them one by one.\n"
        "→ Weighing them: It acts as an enzyme.\n"
        "The one to choose: [B] No\n"
        "\n"
        "=====\n"
        "\n"
        "Insulin falls in fasting.\n"
        "\n"
        "Look at these first:\n"
        "\n"
        "When does insulin fall?\n"
        "There are some options.\n"
        "[A] In fasting\n"
        "[B] At meals\n"
        "→ The text supports: [A] In fasting\n"
        "\n"
        "Then take this one:\n"
        "\n"
        "Say it briefly.\n"
        "Start with the facts and end with the answer.\n"
        "→ Consider this: One clause is enough.\n"
        "Therefore the answer is: Fasting lowers insulin.",
    ),
    "next_turn": (
        2,
        "Renin is made by the kidney.\n"
        "\n"
        "A conversation about the text:\n"
        "\n"
        "User: Where is renin made?\n"
        "Assistant: In the kidney.\n"
        "User: Is renin a hormone?\n"
        "Select one of these:\n"
        "(i) Yes\n"
        "(ii) No\n"
        "(iii) None of these\n"
        "Reason, then choose.\n"
        "\n"
        "What is said next?\n"
        "\n"
        "Assistant: It acts as an enzyme.\n"
        "Which points to: No\n"
        "\n"
        "\n"
        "Insulin falls in fasting.\n"
        "\n"
        "A conversation about the text:\n"
        "\n"
        "User: When does insulin fall?\n"
        "Select one of these:\n"
        "(i) In fasting\n"
        "(ii) At meals\n"
        "Which one do you choose?\n"
        "Assistant: The text supports: In fasting\n"
        "User: Say it briefly.\n"
        "What is your answer based on?\n"
        "\n"
        "What is said next?\n"
        "\n"
        "Assistant: Fasting lowers insulin.\n"
        "Reason: One clause is enough.",
    ),
    "numbered": (
        46,
        "The passage comes first, then the questions, then the answers.\n"
        "\n"
        "Renin is made by the kidney.\n"
        "\n"
        "Question 1: Where is renin made?\n"
        "Question 2: Is renin a hormone?\n"
        "Choices:\n"
        "* No\n"
        "* Yes\n"
        "* No option fits\n"
        "\n"
        "Answer 1: In the kidney.\n"
        "\n"
        "Answer 2: No\n"
        "\n"
        "Explanation: It acts as an enzyme.\n"
        "\n"
        "***\n"
        "\n"
        "The passage comes first, then the questions, then the answers.\n"
        "\n"
        "Insulin falls in fasting.\n"
        "\n"
        "Question 1: When does insulin fall?\n"
        "Choose among the following.\n"
        "Choices:\n"
        "* In fasting\n"
        "* At meals\n"
        "Question 2: Say it briefly.\n"
        "Lay out your reasoning before the answer.\n"
        "\n"
        "Answer 1: The right one is: In fasting\n"
        "Answer 2: First the reasons: One clause is enough.\n"
        "Then the answer: Fasting lowers insulin.",
    ),
    "text_last": (
        15,
        "Examiner: Where is renin made?\n"
        "Candidate: In the kidney.\n"
        "Examiner: Is renin a hormone?\n"
        "What it could be:\n"
        "- Yes\n"
        "- No\n"
        "- Neither of the above\n"
        "Choose, and say why.\n"
        "\n"
        "The text they have before them:\n"
        "\n"
        "Renin is made by the kidney.\n"
        "\n"
        "The next turn:\n"
        "\n"
        "Candidate: No\n"
        "Grounds: It acts as an enzyme.\n"
        "\n"
        "=====\n"
        "\n"
        "Examiner: When does insulin fall?\n"
        "\n"
        "What it could be:\n"
        "- In fasting\n"
        "- At meals\n"
        "\n"
        "Say which one is right.\n"
        "\n"
        "Candidate: Correct is: In fasting\n"
        "\n"
        "Examiner: Say it briefly.\n"
        "Give a reason for your answer.\n"
        "\n"
        "The text they have before them:\n"
        "\n"
        "Insulin falls in fasting.\n"
        "\n"
        "The next turn:\n"
        "\n"
        "Candidate: Fasting lowers insulin.\n"
        "Explanation: One clause is enough.",
    ),
}


def print_golden() -> None:
    """Print GOLDEN anew: for each layout the first seed that draws it."""
    family = ReadingComprehension()
    found: dict[str, tuple[int, str]] = {}
    for seed in range(1000):
        rendered = family.render(DOCUMENTS, seed=seed)
        layout = rendered.template.partition("/")[2]
        text = rendered.text
        is_text_last = text.index("Where is renin made?") < text.index("Renin is made")
        found.setdefault("text_last" if is_text_last else layout, (seed, text))
    print("GOLDEN: dict[str, tuple[int, str]] = {")
    for name, (seed, text) in sorted(found.items()):
        lines = "".join(f"        {line!r}\n" for line in text.splitlines(keepends=True))
        print(f"    {name!r}: (\n        {seed},\n{lines}    ),")
    print("}")


if __name__ == "__main__":
    print_golden()
