"""Configuration of a corpus: the YAML of `tutelage corpus build`."""

from __future__ import annotations

import string
from typing import Annotated, Any, Literal

import pydantic

from schemas.config import OneOrMore, Section
from schemas.mds import COMPRESSIONS, is_compression
from schemas.synthesis_config import SynthesisConfig
from schemas.verification_config import VerificationRules

_MOST_HELD_OUT = 0.5


class SourceConfig(Section):
    """Source files of one kind.

    Attributes:
        reader: Name of a reader: folder, html, pdf, docx, epub, markdown, rst, docling, jats, jsonl, csv,
            tsv, text, parquet, medline, warc, wet, mediawiki, edgar, huggingface, squad. Null takes the
            preset's, and without a preset `folder`, which reads each file by its kind.
        uri: Path or fsspec URI, with globs. A directory stands for the files directly in it, and with reader
            folder for those at any depth. The path of an existing file is taken literally, even with [ * ? in
            it. Relative paths start at the working directory. For reader huggingface, a dataset's directory
            or its name on the hub, without globs.
        allow_unreadable: True skips unreadable input: sub-directories, directories without permission,
            dangling links, files without a readable row. The build names and counts each. False fails the
            build.
        preset: Name of a well-known dataset in `plugins/readers/presets.yaml`: caselaw, common-crawl-wet,
            courtlistener, edgar, fineweb, lima, medicine-instruction-augmented, openorca, openorca-system,
            pile, pmc, pubmed, the-stack-markdown, wikipedia, wizardlm-evol; for synthesizer tuning squad,
            squad-hub, ft-instruction-synthesizer-collection. It sets every field that is not set here. Null
            uses no preset.
        text_field: Dotted path of the text in a row. A list, such as `conversations`, becomes one text: its
            turns in order, separated by a blank line. A turn is a string, null, or an object whose `value`
            or `content` is a string or a list of parts with `text`. Bytes must be UTF-8. Readers of whole
            documents, such as html and pdf, put their text under this name.
        text_fallbacks: Dotted paths of the text where `text_field` is empty or missing: the first with text
            counts. Excludes `format`.
        id_field: Dotted path of a stable id; null makes ids of file name and position.
        format: A text made of several fields, such as "{question} {response}"; null uses `text_field`.
            An empty or missing field disappears with the white space before it. A list becomes its turns.
        version_field: Dotted path of a row's version: a number, an ISO date or time, or an object with Year,
            Month and Day. Of all rows with one id the highest version counts, in every build and whatever the
            order of files (docs/corpus.md). A row without a value is older than any other; a value of another
            kind rejects the row. Needs `id_field`. Null compares files, as `newest` says.
        deleted_field: Dotted path of a field that marks a deletion: true, 1, "yes" or a date. Such a row
            withdraws the document with its id; it needs no text. Needs `id_field`. Null reads no deletions.
        newest: Order of files, which decides between rows of one id without versions, or with equal ones:
            `by_name`, or `by_time`, which takes the files' times of change and excludes `version_field`. In
            both, the later row of a file counts. Null is `by_name`, and the build reports rows that only this
            order decides as a conflict if their texts differ.
        metadata_fields: Dotted paths of further fields to keep with the document.
        pairs_field: Dotted path of a list of question-answer pairs about the text, or "." if the row itself
            is a pair. Streams with `tuning` need it; null reads no pairs. A pair has `question` and `answers`
            or `answer`, or `Q` and `A`; see plugins/readers/pair_fields.py.
        dataset_field: Dotted path of the name of the row's question-answer dataset; null makes the source one
            dataset.
        encoding: Encoding of text files: `utf-8`, another encoding of Python such as cp1252, utf-16,
            shift_jis or gb18030, or `auto`, which finds the encoding and adds it with its confidence, from 0
            to 1, to the metadata: `detected_encoding`, `encoding_confidence`. Null means UTF-8, and for html
            and XML what the file says about itself. Rows that stay undecodable are rejects.
        extract: `html` takes the text out of the HTML in the fields of the text: of a page its main text, of
            a fragment all of it. A value without any tag keeps its lines. Null takes fields as they are. For
            readers jsonl, csv, tsv, parquet, text and huggingface; others take markup out themselves.
        delimiter: For reader text, the string between the documents of a file, such as "\\n\\n\\n" or
            "\\n<|endoftext|>\\n" (in double quotes); null makes each file one document. For reader csv, the
            character between cells; null guesses it. For reader folder, only its text files use it.
        config_name: For reader huggingface, a dataset's configuration; null takes its default.
        split: For reader huggingface, a dataset's split; null takes `train`.
        options: Options of the reader by name; its page lists them. For reader folder, the options of other
            readers by their names, such as `{pdf: {pages_per_document: 1}}`. Those of a preset hold unless
            they are set here.
    """

    added_later = frozenset(
        {"encoding", "extract", "options", "version_field", "deleted_field", "newest", "text_fallbacks"}
    )

    reader: str | None = None
    uri: str
    allow_unreadable: bool = False
    preset: str | None = None
    text_field: str = "text"
    text_fallbacks: tuple[str, ...] = ()
    id_field: str | None = None
    version_field: str | None = pydantic.Field(default=None, min_length=1)
    deleted_field: str | None = pydantic.Field(default=None, min_length=1)
    newest: Literal["by_name", "by_time"] | None = None
    format: str | None = None
    metadata_fields: tuple[str, ...] = ()
    pairs_field: str | None = pydantic.Field(default=None, min_length=1)
    dataset_field: str | None = pydantic.Field(default=None, min_length=1)
    encoding: str | None = None
    extract: Literal["html"] | None = None
    delimiter: str | None = pydantic.Field(default=None, min_length=1)
    config_name: str | None = None
    split: str | None = None
    options: dict[str, Any] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str | None) -> str | None:
        try:
            "".encode(value if value not in (None, "auto") else "utf-8")
        except LookupError:
            raise ValueError(
                f"{value!r} is no encoding of text; expected auto, utf-8, or another of Python's encodings, "
                "such as cp1252, utf-16, shift_jis, gb18030"
            ) from None
        return value

    @pydantic.field_validator("format")
    @classmethod
    def _format_is_plain(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = list(string.Formatter().parse(value))
        except ValueError as error:
            raise ValueError(
                f"{value!r} is not a format: {error}; expected text with {{field}} in it"
            ) from None
        names = [name for _, name, _, _ in parts if name is not None]
        if not names or any(not name or spec or conv for _, name, spec, conv in parts if name is not None):
            raise ValueError(
                f"{value!r} is not a format: expected {{field}} names and nothing more inside braces"
            )
        return value

    @pydantic.model_validator(mode="after")
    def _fallbacks_are_of_one_field(self) -> SourceConfig:
        if self.format is not None and self.text_fallbacks:
            raise ValueError("has both format and text_fallbacks, which are for text_field. Remove one")
        return self


class TuningConfig(Section):
    """Tuning data for an instruction synthesizer, made of question-answer datasets.

    Attributes:
        max_examples: Maximum examples of one dataset in an increment. An example is a context with all of its
            pairs; examples with more pairs come first.
    """

    max_examples: int = pydantic.Field(default=10_000, ge=1)


class StreamConfig(Section):
    """One stream of rows.

    Attributes:
        sources: Sources of its documents, at least one.
        synthesize: True writes instruction-response pairs about its documents; false keeps them raw.
        tuning: Makes synthesizer tuning data of the pairs in the sources; `{}` uses the published settings,
            null makes none.
    """

    sources: tuple[SourceConfig, ...] = pydantic.Field(min_length=1)
    synthesize: bool = False
    tuning: TuningConfig | None = None

    @pydantic.model_validator(mode="after")
    def _pairs_come_from_one_place(self) -> StreamConfig:
        if self.synthesize and self.tuning is not None:
            raise ValueError(
                "has both synthesize and tuning; pairs are either written about its documents, or read with "
                "them. Keep one key, or make two streams"
            )
        return self


class BoilerplateConfig(Section):
    """Boilerplate lines to drop from web pages.

    Attributes:
        javascript: True drops lines that ask the reader to enable JavaScript.
        policy: True drops lines about cookies, privacy and terms of use.
        lorem_ipsum: True drops lines of placeholder text.
    """

    javascript: bool = False
    policy: bool = False
    lorem_ipsum: bool = False


class PersonalDataConfig(Section):
    """Personal data to replace by `<EMAIL>`, `<IP>`, `<PHONE>`.

    Attributes:
        email: True replaces e-mail addresses.
        ip: True replaces IP addresses, v4 and v6, except local ones.
        phone: True replaces valid phone numbers in international form.
        phone_region: Two-letter country code, such as US, whose national phone numbers are replaced as well;
            null replaces international ones only.
    """

    email: bool = False
    ip: bool = False
    phone: bool = False
    phone_region: str | None = pydantic.Field(default=None, pattern="^[A-Z]{2}$")


class CleanConfig(Section):
    """Cleaning of raw text.

    Attributes:
        repair_unicode: True repairs text that was decoded with a wrong encoding ("cafÃ©").
        boilerplate: Lines to drop; none by default.
        mask_personal_data: Personal data to replace; none by default.
        min_words: Minimum words of a document; shorter documents are rejected. plugins/words.py defines
            words.
        max_characters: Maximum characters of a document; longer documents are rejected.
    """

    repair_unicode: bool = True
    boilerplate: BoilerplateConfig = BoilerplateConfig()
    mask_personal_data: PersonalDataConfig = PersonalDataConfig()
    min_words: int = pydantic.Field(default=5, ge=0)
    max_characters: int = pydantic.Field(default=2_000_000, ge=1)


class NearDedupConfig(Section):
    """Near-duplicate detection by MinHash; see pipelines/steps/dedup/minhash.py. The defaults are FineWeb's
    (arXiv 2406.17557): they find 77 % of the pairs of documents that share three quarters of their shingles.

    Attributes:
        ngram: Words in a shingle.
        bands: Bands in a signature. Two documents are near copies if all hashes of one band are equal.
        rows: MinHashes in a band.
    """

    ngram: int = pydantic.Field(default=5, ge=1)
    bands: int = pydantic.Field(default=14, ge=1)
    rows: int = pydantic.Field(default=8, ge=1)


class DedupConfig(Section):
    """Removal of duplicate documents. Exact copies are always dropped.

    Attributes:
        near: Definition of near copies, which are dropped; null keeps them. It cannot change within a corpus.
    """

    near: NearDedupConfig | None = NearDedupConfig()


class DecontaminationConfig(Section):
    """Removal of text that overlaps with evaluation tasks; see plugins/task_overlap.py.

    Attributes:
        tasks: Files of task rows, globs or directories, at any fsspec URI that the workers can reach: .jsonl,
            .json, .parquet, plain or .gz, .zst, .bz2. An empty list turns decontamination off.
        ngram: Words of an n-gram. A document or pair that shares an n-gram with a task row is contaminated.
        min_words: Minimum words of a task row that is shorter than an n-gram and compared as a whole; even
            shorter rows are ignored.
        max_rows: Maximum task rows that share an n-gram. An n-gram of more rows is the wording of their
            prompt, and is ignored.
    """

    tasks: OneOrMore = ()
    ngram: int = pydantic.Field(default=13, ge=1)
    min_words: int = pydantic.Field(default=8, ge=1)
    max_rows: int = pydantic.Field(default=10, ge=1)

    @pydantic.model_validator(mode="after")
    def _short_rows_are_shorter(self) -> DecontaminationConfig:
        if self.min_words > self.ngram:
            raise ValueError(
                f"min_words {self.min_words} is more than ngram {self.ngram}; "
                "lower the first or raise the second"
            )
        return self


class ChainConfig(Section):
    """Grouping of documents into chains.

    Attributes:
        max_documents: M, maximum documents of a chain: 2 for training from scratch, 3 for domain-adaptive
            training.
        bucket_documents: Average documents of a hash bucket; bounds a worker's memory.
    """

    max_documents: int = pydantic.Field(default=3, ge=1)
    bucket_documents: int = pydantic.Field(default=20_000, ge=1)


class TokenizerConfig(Section):
    """The tokenizer of the model to be trained.

    Attributes:
        name: Directory or hub name.
        add_bos: Null opens each text with the tokens that the tokenizer puts before a text; true does the
            same, with BOS if the tokenizer puts none; false opens texts with nothing.
        add_eos: True ends each text with EOS; false ends it with nothing.
    """

    name: str
    add_bos: bool | None = None
    add_eos: bool = True


class PackConfig(Section):
    """Packing of texts into rows.

    Attributes:
        method: `best_fit` keeps texts whole; `concat` cuts texts at row ends, also between passage and pairs.
        seq_len: T, tokens in a row.
        top_up: True fills the rest of a row with texts of other rows, whole ones and then the beginning of
            one; false pads it. About one row in `shards.group_tokens` has such a rest. A text whose questions
            come before its passage is never used in part.
    """

    method: Literal["best_fit", "concat"] = "best_fit"
    seq_len: int = pydantic.Field(default=4096, ge=8)
    top_up: bool = True


class ShardConfig(Section):
    """Writing of rows into MDS shards.

    Attributes:
        compression: br, bz2, gz, snappy or zstd, with a level (`zstd:3`) or without; null compresses nothing.
        size_limit_bytes: Maximum bytes of a shard file before compression.
        group_tokens: Tokens that a worker packs and writes at once; bounds its memory.
    """

    compression: str | None = "zstd:3"
    size_limit_bytes: int = pydantic.Field(default=1 << 26, ge=1 << 12, lt=1 << 32)
    group_tokens: int = pydantic.Field(default=8_000_000, ge=1024)

    @pydantic.field_validator("compression")
    @classmethod
    def _is_known(cls, compression: str | None) -> str | None:
        if not compression or is_compression(compression):
            return compression
        raise ValueError(
            f"{compression!r} is unknown. Available, with a level such as zstd:3 or without: "
            f"{', '.join(COMPRESSIONS)}; null for none"
        )


def _share(value: Any) -> float:
    """Read a share of documents, `1%` or 0.01."""
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if isinstance(value, bool) or not 0 <= share <= _MOST_HELD_OUT:
        raise ValueError(
            f"{value!r} is no share of documents from 0 to {_MOST_HELD_OUT:.0%}; write 1% or 0.01, or 0 to "
            "hold none out"
        )
    return share


class CorpusConfig(Section):
    """A corpus: `tutelage corpus build FILE.yaml`.

    Attributes:
        corpus: Directory of the corpus, at any fsspec URI.
        seed: Seed of every random choice.
        streams: Streams by name, at least one; the trainer mixes streams by these names.
        clean: Cleaning of raw text.
        filters: Quality filters by name with their options, applied in this order; {} or null uses the
            published settings. None by default.
        dedup: Removal of duplicate documents.
        decontaminate: Removal of text that overlaps with evaluation tasks; off by default.
        holdout: Share of new documents, such as `1%` or 0.01, at most 50%, that are kept for evaluation and
            never become training text; chosen by a hash of their text, in every stream. 0 keeps none.
        chains: Grouping of documents into chains.
        synthesis: The synthesizer that writes the pairs; rules by default.
        verify: Rules by name with their options, which check each written pair against its passage; {} or
            null uses a rule's defaults. Absent, a synthesizer that asks a model gets the default rules, which
            ask no model, and any other gets none. An empty mapping checks nothing.
        templates: Name of the template family that renders pairs as text.
        template_files: YAML files with wordings of your own, one a language, in place of the built-in ones or
            in addition to them (docs/templates.md).
        tokenizer: Tokenizer of the model to be trained.
        pack: Packing of texts into rows.
        shards: Writing of rows into MDS shards.
    """

    added_later = frozenset({"holdout", "verify"})

    corpus: str
    seed: int = 17
    streams: dict[str, StreamConfig] = pydantic.Field(min_length=1)
    clean: CleanConfig = CleanConfig()
    filters: dict[str, dict[str, Any] | None] = pydantic.Field(default_factory=dict)
    dedup: DedupConfig = DedupConfig()
    decontaminate: DecontaminationConfig = DecontaminationConfig()
    holdout: Annotated[float, pydantic.BeforeValidator(_share)] = 0.0
    chains: ChainConfig = ChainConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    verify: VerificationRules | None = None
    templates: str = "reading_comprehension"
    template_files: tuple[str, ...] = ()
    tokenizer: TokenizerConfig
    pack: PackConfig = PackConfig()
    shards: ShardConfig = ShardConfig()

    @pydantic.model_validator(mode="after")
    def _examples_stay_whole(self) -> CorpusConfig:
        tuning = [name for name, stream in self.streams.items() if stream.tuning is not None]
        if tuning and self.pack.method != "best_fit":
            raise ValueError(
                f"pack.method is {self.pack.method!r}, which cuts texts at row ends, but stream "
                f"{tuning[0]!r} (tuning) needs whole examples. Set pack.method: best_fit"
            )
        return self

    @property
    def synthesizes(self) -> bool:
        """True if pairs are written about the documents of any stream."""
        return any(stream.synthesize for stream in self.streams.values())

    @pydantic.field_validator("streams")
    @classmethod
    def _stream_names_are_folder_names(cls, value: dict[str, StreamConfig]) -> dict[str, StreamConfig]:
        for name in value:
            if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
                raise ValueError(f"stream name {name!r} may hold letters, digits, - and _ only")
        return value
