"""Contracts of plugins, for every registered name; test_templates.py tests those of templates."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from plugins.callbacks import CALLBACKS
from plugins.commands import COMMANDS
from plugins.filters import FILTERS
from plugins.filters.base import Filter, Verdict
from plugins.models import MODELS
from plugins.protocols import PROTOCOLS
from plugins.protocols.base import Example, Parsed, SynthesisProtocol
from plugins.readers import READERS
from plugins.readers.base import Reader
from plugins.readers.page_engines import PAGE_ENGINES
from plugins.registry import Registry
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from plugins.tasks import METRICS, TASKS
from plugins.tasks.task import Task
from plugins.templates import TEMPLATES
from plugins.verifiers import VERIFIERS
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Chain, Document, InstructionPair, Reject
from schemas.synthesis_config import SynthesisConfig
from tests.plugins.readers.pdf_making import pdf_of
from tests.plugins.readers.test_docx import docx, paragraph, run
from tests.plugins.readers.test_epub import epub

REGISTRIES = (
    *(CALLBACKS, COMMANDS, FILTERS, METRICS, MODELS),
    *(PAGE_ENGINES, PROTOCOLS, READERS, SYNTHESIZERS, TASKS, TEMPLATES, VERIFIERS),
)
EVERY_NAME = [
    pytest.param(each, name, id=f"{each.kind}-{name}") for each in REGISTRIES for name in each.names()
]

TEXT = (
    "The femoral nerve arises from the lumbar plexus. It supplies the quadriceps. "
    "A lesion of it therefore weakens the knee. However, sensation over the thigh may be spared."
)
PAIR = InstructionPair(instruction="What does the nerve supply?", response="the quadriceps")
CHOICE = InstructionPair(
    instruction="Which plexus?",
    response="lumbar",
    options=("lumbar", "sacral"),
    rationale="The text says so.",
)
NASTY = "a </s><s><|im_end|><|im_start|>system <|endoftext|> {text} {} %s </END> <ANS> ``` \u202e 🧬 b"
MEDLINE = (
    "<PubmedArticleSet><PubmedArticle><MedlineCitation><Article>"
    f"<ArticleTitle>{TEXT}</ArticleTitle>"
    "</Article></MedlineCitation></PubmedArticle></PubmedArticleSet>"
)
WET = f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: {len(TEXT)}\r\n\r\n{TEXT}"
FILES = {
    "csv": f'text\n"{TEXT}"\n',
    "edgar": f"<SEC-HEADER>\n</SEC-HEADER>\n<DOCUMENT>\n<TYPE>8-K\n<TEXT>\n{TEXT}\n</TEXT>",
    "html": f"<p>{TEXT}</p>",
    "jats": f"<article><body><p>{TEXT}</p></body></article>",
    "jsonl": f'{{"text": "{TEXT}"}}\n',
    "mediawiki": f"<mediawiki><page><ns>0</ns><revision><text>{TEXT}</text></revision></page></mediawiki>",
    "medline": MEDLINE,
    "squad": f'{{"data": [{{"paragraphs": [{{"text": "{TEXT}"}}]}}]}}',
    "tsv": f'text\n"{TEXT}"\n',
    **dict.fromkeys(("warc", "wet"), WET),
}
"""A text file of one document, by reader; others read plain text."""

BINARY_FILES = {
    "docx": lambda: docx(paragraph(run(TEXT))),
    "epub": lambda: epub(f"<p>{TEXT}</p>"),
    "pdf": lambda: pdf_of(TEXT),
}


def document(text: str = TEXT, name: str = "d") -> Document:
    return Document.of(name, text, source="test:1")


@pytest.mark.parametrize(("registry", "name"), EVERY_NAME)
def test_every_name_loads(registry: Registry, name: str) -> None:
    assert registry.load(name) is registry.load(name)


def test_every_registry_is_open_to_other_packages_under_its_own_group() -> None:
    groups = {registry.group for registry in REGISTRIES}
    assert len(groups) == len(REGISTRIES)
    assert all(group.startswith("tutelage.") for group in groups)


@pytest.mark.parametrize("name", READERS.names())
def test_every_reader_is_one(name: str) -> None:
    assert issubclass(READERS.load(name), Reader)


# Of a directory and of a library that is not installed: see test_huggingface.py and test_docling.py.
@pytest.mark.parametrize("name", [name for name in READERS.names() if name not in ("huggingface", "docling")])
class TestReadersOfFiles:
    @staticmethod
    def read(name: str, path: Path) -> list[Document | Reject]:
        return list(READERS.load(name)(SourceConfig(reader=name, uri=str(path))).read(str(path)))

    @staticmethod
    def write(name: str, path: Path) -> bytes:
        """Write a file of one document in the reader's format."""
        if name == "parquet":
            pyarrow.parquet.write_table(pyarrow.table({"text": [TEXT]}), path)
        elif name in BINARY_FILES:
            path.write_bytes(BINARY_FILES[name]())
        else:
            path.write_text(FILES.get(name, TEXT), newline="")
        return path.read_bytes()

    def test_a_file_gives_its_document_with_its_place(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / "a"
        self.write(name, path)
        (found,) = self.read(name, path)
        assert isinstance(found, Document)
        assert found.text == TEXT
        assert found.source.startswith(str(path)) and found.document_id == found.source

    def test_reading_twice_gives_the_same(self, name: str, tmp_path: Path) -> None:
        self.write(name, tmp_path / "a")
        assert self.read(name, tmp_path / "a") == self.read(name, tmp_path / "a")

    @pytest.mark.parametrize("suffix", ["", ".zst", ".gz", ".bz2"])
    def test_garbage_is_a_reject_with_its_place_and_no_exception(
        self, name: str, suffix: str, tmp_path: Path
    ) -> None:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(random.Random(4).randbytes(4_000).replace(b"\n", b"") + b"\xff")
        (found,) = self.read(name, path)
        assert isinstance(found, Reject)
        assert (found.stage, found.document_id) == ("read", "")
        assert found.source.startswith(str(path)) and found.reason and found.detail

    def test_a_truncated_file_raises_nothing(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / "a"
        data = self.write(name, path)
        for keep in (1, len(data) // 2, len(data) - 3):
            path.write_bytes(data[:keep])
            *_, last = self.read(name, path)
            # Half of a plain text or page is one; half of any other format ends in a reject.
            is_half = name in ("text", "markdown", "rst", "folder") or (name == "html" and keep > 2)
            assert isinstance(last, Document if is_half else Reject)

    def test_a_missing_file_is_an_error_of_the_storage(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            self.read(name, tmp_path / "nowhere")


ODD_TEXTS = {
    "empty": "",
    "blank": " \n\n\t\n",
    "one character": "a",
    "emoji": "👩‍👩‍👧🏽 🙂 🏳️‍🌈\n" * 30,
    "right to left": "\u202eשלום עולם. مرحبا بالعالم؟\n" * 30,
    "no spaces": "患者接受了五天的抗生素治疗。" * 200,
    "one long word": "a" * 100_000,
    "the same word": "again " * 20_000,
    "marks only": "#…-•*.!?{}[1]<>\n" * 50,
    "control characters": "\x00\x07\x9f\ufeff\uffff",
    "special tokens": NASTY,
    "prose": TEXT * 5,
}


@pytest.mark.parametrize("name", FILTERS.names())
class TestFilters:
    def test_is_a_filter_of_its_name(self, name: str) -> None:
        kind = FILTERS.load(name)
        assert issubclass(kind, Filter) and kind.name == name

    @pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
    def test_an_odd_text_gets_an_answer_and_the_same_one_each_time(self, name: str, text: str) -> None:
        outcome = FILTERS.load(name)()(document(text))
        assert FILTERS.load(name)()(document(text)) == outcome
        if isinstance(outcome, Verdict):
            assert outcome.rule in FILTERS.load(name).Options.model_fields
            assert str(outcome.value) and outcome.limit and outcome.detail.endswith(f", {outcome.limit}")
        else:
            assert (outcome.document_id, outcome.source) == ("d", "test:1")

    def test_what_comes_before_changes_nothing(self, name: str) -> None:
        used = FILTERS.load(name)()
        for text in ODD_TEXTS.values():
            used(document(text))
        assert used(document()) == FILTERS.load(name)()(document())

    def test_crosses_process_boundaries(self, name: str) -> None:
        made = FILTERS.load(name)()
        for text in ("", TEXT):
            outcome = made(document(text))
            assert pickle.loads(pickle.dumps(made))(document(text)) == outcome
            assert pickle.loads(pickle.dumps(outcome)) == outcome

    def test_an_unknown_option_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=rf"^filters\.{name}: key 'no_such' is unknown\."):
            FILTERS.load(name)({"no_such": 1})


@pytest.mark.parametrize("name", PROTOCOLS.names())
class TestProtocols:
    @pytest.fixture
    def protocol(self, name: str, tokenizer: Any) -> SynthesisProtocol:
        made = PROTOCOLS.load(name)(tokenizer, SynthesisConfig(protocol=name, model="m"))
        assert isinstance(made, SynthesisProtocol)
        return made

    @pytest.fixture
    def shown(self) -> list[Example]:
        return [Example(document=document(f"First. {TEXT}"), pairs=(PAIR, CHOICE))]

    def test_a_prompt_holds_the_document_and_all_examples(
        self, protocol: SynthesisProtocol, tokenizer: Any, shown: list[Example]
    ) -> None:
        prompt = protocol.prompt(shown, document())
        assert all(isinstance(token, (int, np.int32)) for token in prompt)
        text = tokenizer.decode(prompt)
        assert text.count(TEXT) == 2 and text.rindex(TEXT) > text.index(PAIR.response)
        for piece in (PAIR.instruction, CHOICE.instruction, CHOICE.rationale, *CHOICE.options):
            assert piece in text

    def test_special_token_strings_become_no_special_tokens(
        self, protocol: SynthesisProtocol, tokenizer: Any, special_tokens: tuple[str, ...]
    ) -> None:
        def special(text: str) -> list[int]:
            pair = InstructionPair(instruction=f"q {text}", response=f"a {text}", options=(f"a {text}",))
            prompt = protocol.prompt([Example(document=document(text), pairs=(pair,))], document(text))
            return [token for token in prompt if token < len(special_tokens)]

        assert special(NASTY) == special("harmless") != []

    def test_a_prompt_is_the_same_each_time(
        self, protocol: SynthesisProtocol, tokenizer: Any, name: str, shown: list[Example]
    ) -> None:
        first = list(protocol.prompt(shown, document()))
        protocol.prompt([], document(NASTY))
        assert list(protocol.prompt(shown, document())) == first

    def test_nothing_gives_no_pairs(self, protocol: SynthesisProtocol) -> None:
        assert protocol.parse("").pairs == ()

    def test_what_an_example_shows_is_read_back_as_pairs(
        self, protocol: SynthesisProtocol, tokenizer: Any, shown: list[Example]
    ) -> None:
        """The model imitates the examples, so the examples must parse."""
        prompt = tokenizer.decode(protocol.prompt(shown, document("next")))
        start = prompt.index(shown[0].document.text) + len(shown[0].document.text)
        pairs = protocol.parse(prompt[start : prompt.rindex("next")]).pairs
        assert {PAIR.response, CHOICE.response} & {pair.response for pair in pairs}

    def test_garbage_never_raises(self, protocol: SynthesisProtocol) -> None:
        pieces = (
            *('{"', '"question"', '": "', '"answer"', "{", "}", "[", "]", ",", "\\", "\\u", "\\ud83d", '"'),
            *("<QUE>", "<ANS>", "</END>", "<CON>", "\nOptions:\n- ", "Let's think step by step.", "```json"),
            *("Therefore, the answer is", "\n", " ", "word", "NaN", "1e999", "\x00", "\ud83d", "é", "\u2028"),
        )
        rng = random.Random(5)
        for _ in range(3_000):
            parsed = protocol.parse("".join(rng.choices(pieces, k=rng.randrange(40))))
            assert isinstance(parsed, Parsed) and parsed.num_bad_pieces >= 0
            assert all(pair.instruction.strip() and pair.response.strip() for pair in parsed.pairs)
        for piece in pieces:
            protocol.parse(piece * 3_000)


@pytest.mark.parametrize("name", SYNTHESIZERS.names())
class TestSynthesizers:
    @staticmethod
    def config(name: str, **changes: Any) -> SynthesisConfig:
        options = {**({"pairs": "pairs.jsonl"} if name == "recorded" else {}), **changes.pop("options", {})}
        defaults = {"model": "m", "endpoints": ("http://127.0.0.1:1",), "options": options}
        return SynthesisConfig(backend=name, **{**defaults, **changes})

    def test_is_constructed_without_loading_anything(self, name: str) -> None:
        synthesizer = SYNTHESIZERS.load(name)(self.config(name), seed=1)
        assert isinstance(synthesizer, Synthesizer)
        assert synthesizer.config == self.config(name)
        asyncio.run(synthesizer.close())  # before it is opened

    def test_an_unknown_option_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=r"^synthesis\.options: key 'no_such' is unknown\."):
            SYNTHESIZERS.load(name)(self.config(name, options={"no_such": 1}), seed=1)

    def test_what_a_language_model_needs_is_asked_for_at_once(self, name: str) -> None:
        if name in ("mined", "recorded"):
            SYNTHESIZERS.load(name)(self.config(name, model=None, protocol="chatt"), seed=1)
            return
        with pytest.raises(ConfigError, match=r"^synthesis\.model is missing: "):
            SYNTHESIZERS.load(name)(self.config(name, model=None), seed=1)
        with pytest.raises(ConfigError, match=r"protocol 'chatt' is unknown\. Did you mean 'chat'\?"):
            SYNTHESIZERS.load(name)(self.config(name, protocol="chatt"), seed=1)

    def test_documents_come_back_in_order_and_untouched(
        self, name: str, tiny_model: str, tmp_path: Path
    ) -> None:
        """Synthesizers that need a server have none here, so all their requests fail."""
        recorded = tmp_path / "pairs.jsonl"
        recorded.write_text('{"document_id": "a", "instruction": "Which nerve?", "response": "femoral"}\n')
        options: dict[str, dict[str, Any]] = {
            "sglang": {"patience_sec": 0, "backoff_sec": 0},
            "openai": {"patience_sec": 0, "backoff_sec": 0, "api": "completions"},
            "recorded": {"pairs": str(recorded)},
        }
        config = self.config(
            name,
            model=tiny_model,
            max_new_tokens=4,
            context_tokens=512,
            protocol="instruction_synthesizer",
            options=options.get(name, {}),
        )
        synthesizer = SYNTHESIZERS.load(name)(config, seed=1)
        documents = (document(TEXT, "a"), document("Short.", "b"), document(NASTY, "c"))

        async def run() -> Any:
            synthesizer.open()
            try:
                return await synthesizer.synthesize(Chain(chain_id="c", documents=documents))
            finally:
                await synthesizer.close()

        done = asyncio.run(run())
        assert tuple(each.document for each in done) == documents
        assert not done[0].follows_previous
        for before, each in itertools.pairwise(done):
            assert not each.follows_previous or (before.pairs and each.pairs)
        assert all(not each.pairs for each in done if each.failure)


@pytest.mark.parametrize("name", CALLBACKS.names())
def test_every_callback_is_one_of_composers(name: str) -> None:
    from composer.core import Callback

    assert issubclass(CALLBACKS.load(name), Callback)


@pytest.mark.parametrize("name", COMMANDS.names())
def test_every_command_takes_arguments_and_says_how_it_is_used(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main: Callable[[list[str]], int] = COMMANDS.load(name)
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: tutelage {name}")


@pytest.mark.parametrize("name", COMMANDS.names())
def test_every_command_ends_with_2_when_it_is_used_wrongly(name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        COMMANDS.load(name)(["--no-such-option"])
    assert ended.value.code == 2


@pytest.mark.parametrize("name", MODELS.names())
def test_every_model_is_fetched_into_a_folder(name: str) -> None:
    assert list(inspect.signature(MODELS.load(name)).parameters) == ["output", "say"]


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_is_one(name: str) -> None:
    task = TASKS.load(name)
    assert isinstance(task, Task)
    assert task.name == name


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_is_a_function(name: str) -> None:
    assert callable(METRICS.load(name))
