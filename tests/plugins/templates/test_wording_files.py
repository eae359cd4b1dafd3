"""Files of wordings: what a user adds, what is refused, and which language a document's wordings have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.document_language import UNKNOWN, language_of
from plugins.templates.reading_comprehension import PairsApart, ReadingComprehension
from plugins.templates.wording_files import FOLDER, built_in, built_in_languages, read_wordings
from schemas.errors import ConfigError
from schemas.records import Document, InstructionPair, SynthesizedDocument

ITALIAN = (
    "Il medico prescrive il farmaco tre volte al giorno dopo i pasti. Nei bambini si raccomanda prudenza."
)
TEXTS = {
    "en": "The doctor prescribes the drug and the patient takes it. This is done with care in children.",
    "de": "Der Arzt verordnet das Mittel dreimal täglich. Bei kleinen Kindern ist Vorsicht geboten.",
    "fr": "Le médecin prescrit ce médicament trois fois par jour. La prudence est de mise chez l'enfant.",
    "es": "El médico receta este medicamento tres veces al día después de las comidas. En los niños pequeños "
    "se recomienda precaución, porque todavía no hay suficientes estudios.",
    "zh": "医生建议患者每天饭后服用三次该药物。十二岁以下的儿童应谨慎使用。",
}


_CHOICE = "{question}\n{options}"
_FRAMES = {
    "classic": ["{text}\n\n{pairs}"],
    "dialogue": ["{text}\n\n{pairs}"],
    "numbered": ["{text}\n\n{questions}\n\n{answers}"],
    "inline_few_shot": ["{text}\n\n{examples}\n\n{last_pair}"],
    "next_turn": ["{text}\n\n{turns}\n\n{next_turn}"],
}
SMALLEST: dict[str, Any] = {
    "language": "en",
    "text_words": ["passage"],
    "pairs": ["Question: {question}\nAnswer: {answer}"],
    "bare_pairs": ["{question}\n{answer}"],
    "questions": ["{question}"],
    "options": [{"ask": [_CHOICE], "reply": ["{answer}"]}],
    "reasoning": [{"ask": ["{question}"], "reply": ["{rationale}\n{answer}"]}],
    "options_and_reasoning": [{"ask": [_CHOICE], "reply": ["{rationale}\n{answer}"]}],
    "unfinished_questions": [_CHOICE],
    "option_words": {"introducers": [""], "none_of_these": ["None"]},
    "speakers": [["User: ", "Assistant: "]],
    "numberings": [["{number}. ", "{number}. "]],
    "text_first": _FRAMES,
    "text_last": {
        layout: [frames[0].removeprefix("{text}\n\n") + "\n\n{text}"] for layout, frames in _FRAMES.items()
    },
}
"""The smallest file of a language."""


def written(path: Path, **changes: Any) -> str:
    """Write the smallest file with other keys; None removes a key."""
    values = {key: value for key, value in {**SMALLEST, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(path)


def asked(text: str, **metadata: str) -> SynthesizedDocument:
    found = Document.of("d", text, source="test", metadata=metadata)
    return SynthesizedDocument(
        document=found, pairs=(InstructionPair(instruction="Perché?", response="Perché sì."),)
    )


@pytest.mark.parametrize("language", TEXTS)
def test_a_document_has_wordings_of_its_language(language: str) -> None:
    assert language_of(Document.of("d", TEXTS[language], source="test")) == language
    assert ReadingComprehension().render([asked(TEXTS[language])], seed=1).wordings == (language,)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (ITALIAN, "en_for_it"),
        ("BRCA1 TP53 EGFR KRAS ALK ROS1 MET RET NTRK1 HER2 PIK3CA", "en_for_unknown"),
        ("12.4 33.1 45 67 | 22 33 | 1,000 | 3 4 5", "en_for_unknown"),
        ("Short.", "en_for_unknown"),
        ("", "en_for_unknown"),
    ],
)
def test_an_unsupported_or_uncertain_language_gets_english_words_and_the_text_says_so(
    text: str, label: str
) -> None:
    rendered = ReadingComprehension().render([asked(text)], seed=1)
    assert rendered.wordings == (label,)


def test_the_language_filter_has_the_last_word() -> None:
    filtered = Document.of(
        "d", TEXTS["de"], source="test", metadata={"language": "fr", "language_probability": "0.7"}
    )
    assert language_of(filtered) == "fr"
    hostile = Document.of("d", TEXTS["de"], source="test", metadata={"language_probability": "?"})
    assert language_of(hostile) == UNKNOWN


def test_the_documents_of_a_chain_have_words_of_their_own_languages() -> None:
    for seed in range(50):
        rendered = ReadingComprehension().render([asked(TEXTS["zh"]), asked(TEXTS["en"])], seed=seed)
        (start, end), (second, _) = rendered.spans
        words = rendered.text[start:end].replace(TEXTS["zh"], "").replace("Perché", "").replace("sì", "")
        assert not any(each.isascii() and each.isalpha() for each in words), words
        assert not any("\u4e00" < each < "\u9fff" for each in rendered.text[second:])


def test_a_user_adds_a_language_without_code(tmp_path: Path) -> None:
    path = written(
        tmp_path / "it.yaml",
        language="it",
        pairs=["Domanda: {question}\nRisposta: {answer}"],
        bare_pairs=["{question}\nEcco: {answer}"],
    )
    family = ReadingComprehension([path])
    texts = [family.render([asked(ITALIAN)], seed=seed) for seed in range(40)]
    assert {text.wordings for text in texts} == {("it",)}
    assert sum("\nRisposta: Perché sì." in text.text for text in texts) > 10


def test_a_file_takes_the_place_of_the_built_in_one_or_extends_it(tmp_path: Path) -> None:
    alone = read_wordings(written(tmp_path / "a.yaml", pairs=["Ask {question}\nTell {answer}"]))
    assert [each.parts[0] for each in alone.pairs] == ["Ask "]
    short = tmp_path / "b.yaml"
    short.write_text(
        'language: de\nextends: true\npairs: ["Rätsel: {question}\\nLösung: {answer}"]\n'
        'option_words: {nouns: [Variante]}\ntext_first: {classic: ["Lies:\\n{text}\\n\\n{pairs}"]}\n'
    )
    more, before = read_wordings(str(short)), built_in("de")
    assert len(more.pairs) == len(before.pairs) + 1
    assert len(more.text_first.classic) == len(before.text_first.classic) + 1
    assert more.option_words.nouns == (*before.option_words.nouns, "Variante")
    assert (more.reasoning, more.text_last) == (before.reasoning, before.text_last)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": ["Q: {question}"]}, r"pairs\.0: 'Q: \{question\}' must hold \{question\} \{answer\}"),
        ({"pairs": ["{question}\n{answer}."]}, r"pairs\.0: .* must end in \{answer\}: .* no text can follow"),
        (
            {"pairs": ["{question} is {answer}"]},
            r"pairs\.0: .*' is ' behind a slot must begin",
        ),
        ({"pairs": ["{question}{answer}"]}, r"pairs\.0: .* puts no text between two slots"),
        ({"pairs": ["{question}\n{answer}\n{answer}"]}, r"pairs\.0: .* each once"),
        ({"pairs": [3]}, r"pairs\.0: 3 is no text"),
        ({"pairs": ["{question}\n{anwser}"]}, r"slot '\{anwser\}' is unknown\. Did you mean 'answer'"),
        ({"pairs": None}, r"no wording for pairs\. A language needs"),
        ({"questons": ["{question}"]}, r"key 'questons' is unknown\. Did you mean 'questions'"),
        ({"options": [{"ask": ["{question}"], "reply": ["{answer}"]}]}, r"options\.0\.ask\.0: .*\{options\}"),
        ({"options": [{"ask": [], "reply": ["{answer}"]}]}, r"options\.0\.ask"),
        ({"reasoning": [{"ask": ["{question}"], "reply": ["{answer}"]}]}, r"reasoning\.0\.reply\.0"),
        ({"speakers": [["A: ", ""]]}, r"speakers\.0\.1"),
        ({"numberings": [["{number}. ", "x"]]}, r"numberings\.0\.1: 'x' must hold \{number\}"),
        ({"text_first": {"classic": ["{pairs}\n{text}"]}}, r"classic\.0 must have \{text\} before"),
        ({"text_first": {"classical": []}}, r"key 'text_first\.classical' is unknown"),
        ({"text_last": {"classic": ["{pairs}\n{text}"]}}, r"no wording for text_last\.dialogue, "),
        ({"language": "xx"}, r"mine.yaml: language is 'xx'; expected an ISO 639 code, such as de, en"),
        ({"language": "it", "extends": True}, r"no built-in wordings in 'it', only in de, en, es, fr, zh"),
    ],
)
def test_a_wrong_file_is_refused_by_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        read_wordings(written(tmp_path / "mine.yaml", **changes))
    assert str(refused.value).startswith(str(tmp_path / "mine.yaml"))


def test_voices_that_all_look_like_options_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", pairs=["Q: {question}\nA: {answer}"])
    with pytest.raises(ConfigError, match=r"mine\.yaml: pairs: each wording marks an answer as options"):
        ReadingComprehension([path])


def test_wordings_that_all_name_the_text_are_refused_where_pairs_stand_apart(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", pairs=["{question}\nThe passage says: {answer}"])
    ReadingComprehension([path])
    with pytest.raises(ConfigError, match=r"mine\.yaml: pairs in 'en': each wording names the text"):
        PairsApart([path])


def test_two_files_of_one_language_are_refused(tmp_path: Path) -> None:
    paths = [written(tmp_path / name) for name in ("a.yaml", "b.yaml")]
    with pytest.raises(ConfigError, match=r"a\.yaml and .*b\.yaml are both in 'en'"):
        ReadingComprehension(paths)


@pytest.mark.parametrize("language", built_in_languages())
def test_pairs_apart_never_name_the_text(language: str) -> None:
    family, barred = PairsApart(), built_in(language).text_words
    pairs = (
        InstructionPair(instruction="?1", response="!1"),
        InstructionPair(instruction="?2", response="!2", options=("!2", "!3")),
        InstructionPair(instruction="?4", response="!4", rationale="!5"),
        InstructionPair(instruction="?6", response="!6", rationale="!7", options=("!6", "!8")),
    )
    metadata = {"language": language, "language_probability": "0.9"}
    done = SynthesizedDocument(document=Document.of("d", "0", source="t", metadata=metadata), pairs=pairs)
    for seed in range(400):
        text = family.render([done], seed=seed).text.casefold()
        assert not any(word in text for word in barred), text


@pytest.mark.parametrize("language", built_in_languages())
def test_wordings_follow_the_punctuation_of_their_language(language: str) -> None:
    text = (FOLDER / f"{language}.yaml").read_text(encoding="utf-8")
    wordings = [line.strip() for line in text.splitlines() if line.strip().startswith('- "')]
    assert len(wordings) > 200
    for line in wordings:
        inside = line.removeprefix('- "').removesuffix('"').replace("\\n", "\n")
        if language == "zh":
            assert not any(mark in inside for mark in ":?;,"), line
        if language == "fr":
            for mark in ":?;!":
                assert inside.count(mark) == inside.count(f" {mark}"), line
        if language == "es":
            assert inside.count("?") == inside.count("¿") and inside.count("!") == inside.count("¡"), line


def test_every_language_has_its_own_words() -> None:
    """No line with words of one language is left in the file of another."""
    seen: dict[str, str] = {}
    for language in built_in_languages():
        file = built_in(language)
        for group in file.reasoning:
            for pattern in group.ask:
                words = "".join(pattern.literals).strip()
                if words:
                    assert seen.setdefault(words, language) == language
