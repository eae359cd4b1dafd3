"""What a corpus is built from: the YAML of `tutelage corpus build`."""

from __future__ import annotations

import string
from typing import Any, Literal

import pydantic

from schemas.config import Section
from schemas.mds import COMPRESSIONS, is_compression


class SourceConfig(Section):
    """Files of one kind.

    Attributes:
        reader: Name of a reader: jsonl, text, parquet, medline, huggingface, squad. A preset brings its own.
        uri: Path or fsspec URI, with globs; a directory means the files directly in it. A path that exists
            is taken as it is, even with [ * ? in it. Relative paths are taken from the working directory.
            For huggingface, a dataset's directory or its name on the hub, without globs.
        allow_unreadable: Whether a build goes on without what cannot be listed or read: directories inside
            the directory or without permission, links to nothing, files without a single readable row. It
            is named and counted. Otherwise it fails the build.
        preset: Name of a well-known set in `plugins/readers/presets.yaml`: pile, openorca,
            openorca-system, lima, wizardlm-evol, medicine-instruction-augmented, pubmed; for synthesizer
            tuning squad, squad-hub, ft-instruction-synthesizer-collection. It gives every field not set here.
        text_field: Dotted path of the text in a row. A list there, such as `conversations`, becomes one
            text: its turns in order, a blank line between them. A turn is a string, or an object whose
            `value` or `content` is one, or null, or a list of parts with `text`. Bytes are text if UTF-8.
        id_field: Dotted path of a stable id; without it the id is the file's name and the position.
        format: Instead of `text_field`, a text made of several fields: "{question} {response}".
            A field that is empty or missing leaves nothing behind, nor the white space before it. A list
            becomes its turns here too.
        metadata_fields: Further fields to carry along.
        pairs_field: Dotted path of a list of question-answer pairs about the text, or "." where the row
            itself is one. For streams with `tuning`, and needed there. A pair has `question` and `answers`
            or `answer`, or `Q` and `A`; see plugins/readers/pair_fields.py.
        dataset_field: Dotted path of the name of the question-answer set that a row is of; without it the
            source is one set.
        delimiter: For reader text, what stands between the documents of a file, such as "\\n\\n\\n" or
            "\\n<|endoftext|>\\n" (in double quotes); without it a file is one document.
        config_name: For reader huggingface, which of a dataset's configurations; null is its default.
        split: For reader huggingface, which of a dataset's splits; null is `train`.
    """

    reader: str | None = None
    uri: str
    allow_unreadable: bool = False
    preset: str | None = None
    text_field: str = "text"
    id_field: str | None = None
    format: str | None = None
    metadata_fields: tuple[str, ...] = ()
    pairs_field: str | None = pydantic.Field(default=None, min_length=1)
    dataset_field: str | None = pydantic.Field(default=None, min_length=1)
    delimiter: str | None = pydantic.Field(default=None, min_length=1)
    config_name: str | None = None
    split: str | None = None

    @pydantic.model_validator(mode="after")
    def _reader_is_known_by_someone(self) -> SourceConfig:
        if self.reader is None and self.preset is None:
            raise ValueError("needs a reader, such as jsonl, or a preset that brings one, such as openorca")
        return self

    @pydantic.field_validator("format")
    @classmethod
    def _format_is_plain(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = list(string.Formatter().parse(value))
        except ValueError as error:
            raise ValueError(f"{value!r} is no format: {error}; expected text with {{field}} in it") from None
        names = [name for _, name, _, _ in parts if name is not None]
        if not names or any(not name or spec or conv for _, name, spec, conv in parts if name is not None):
            raise ValueError(
                f"{value!r} is no format: expected {{field}} names and nothing more inside braces"
            )
        return value


class TuningConfig(Section):
    """Data that an instruction synthesizer is tuned on, made of question-answer sets.

    Attributes:
        max_examples: Most examples (a context and all pairs about it) that an increment takes of one set;
            those with most pairs are preferred.
    """

    max_examples: int = pydantic.Field(default=10_000, ge=1)


class StreamConfig(Section):
    """One stream of rows: its sources, and whether pairs are synthesized for them.

    Attributes:
        sources: Where its documents come from.
        synthesize: Whether instruction-response pairs are written about its documents.
        tuning: Whether, and how, its sources' own pairs become synthesizer tuning data; `{}` is as published.
    """

    sources: tuple[SourceConfig, ...] = pydantic.Field(min_length=1)
    synthesize: bool = False
    tuning: TuningConfig | None = None

    @pydantic.model_validator(mode="after")
    def _pairs_come_from_one_place(self) -> StreamConfig:
        if self.synthesize and self.tuning is not None:
            raise ValueError(
                "has both synthesize and tuning; pairs are either written about its documents, or come with "
                "them. Keep one, or make two streams"
            )
        return self


class BoilerplateConfig(Section):
    """Lines to drop, wherever they come from.

    Attributes:
        javascript: Lines that ask for JavaScript to be enabled.
        policy: Lines about cookies, privacy and terms of use.
        lorem_ipsum: Lines of placeholder text.
    """

    javascript: bool = False
    policy: bool = False
    lorem_ipsum: bool = False


class PersonalDataConfig(Section):
    """Personal data to replace by `<EMAIL>`, `<IP>`, `<PHONE>`.

    Attributes:
        email: E-mail addresses.
        ip: IP addresses, v4 and v6, unless they are local.
        phone: Valid phone numbers in international form.
        phone_region: Two letters of a country (US): its numbers are found as they are dialled there, too.
    """

    email: bool = False
    ip: bool = False
    phone: bool = False
    phone_region: str | None = pydantic.Field(default=None, pattern="^[A-Z]{2}$")


class CleanConfig(Section):
    """Cleaning of raw text.

    Attributes:
        repair_unicode: Whether text that was decoded wrongly once ("cafÃ©") is repaired.
        boilerplate: Lines to drop.
        mask_personal_data: Personal data to replace.
        min_words: Documents of fewer words are rejected; see plugins/words.py for what a word is.
        max_characters: Longer documents are rejected.
    """

    repair_unicode: bool = True
    boilerplate: BoilerplateConfig = BoilerplateConfig()
    mask_personal_data: PersonalDataConfig = PersonalDataConfig()
    min_words: int = pydantic.Field(default=5, ge=0)
    max_characters: int = pydantic.Field(default=2_000_000, ge=1)


class NearDedupConfig(Section):
    """When two documents are near copies; see pipelines/steps/near/minhash.py. The defaults are FineWeb's
    (arXiv 2406.17557): of documents that have three quarters of their shingles in common, 77 % are found.

    Attributes:
        ngram: Words in a row that make a shingle.
        bands: Bands of a signature; near copies agree in all hashes of at least one.
        rows: MinHashes of a band.
    """

    ngram: int = pydantic.Field(default=5, ge=1)
    bands: int = pydantic.Field(default=14, ge=1)
    rows: int = pydantic.Field(default=8, ge=1)


class DedupConfig(Section):
    """Which copies of documents are dropped. Exact ones always are.

    Attributes:
        near: When documents are near copies; null keeps them. A corpus keeps to one set of values.
    """

    near: NearDedupConfig | None = NearDedupConfig()


class DecontaminationConfig(Section):
    """Evaluation tasks that no training text may overlap with; see plugins/task_overlap.py.

    Attributes:
        tasks: Files of task rows, globs, or directories of them, at any fsspec URI that the workers reach:
            .jsonl, .json, .parquet, plain or .gz, .zst, .bz2. None turns this off.
        ngram: Words in a row that make a document or pair contaminated.
        min_words: A row's text of fewer than `ngram` words is compared as a whole if it has this many.
        max_rows: What more rows than this share is the wording of their prompt, and ignored.
    """

    tasks: tuple[str, ...] = ()
    ngram: int = pydantic.Field(default=13, ge=1)
    min_words: int = pydantic.Field(default=8, ge=1)
    max_rows: int = pydantic.Field(default=10, ge=1)

    @pydantic.field_validator("tasks", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _short_rows_are_shorter(self) -> DecontaminationConfig:
        if self.min_words > self.ngram:
            raise ValueError(
                f"min_words {self.min_words} is more than ngram {self.ngram}; "
                "lower the first or raise the second"
            )
        return self


class ChainConfig(Section):
    """How documents are grouped.

    Attributes:
        max_documents: M, the texts of a chain: 2 from scratch, 3 for domain-adaptive training.
        bucket_documents: Documents a hash bucket holds on average; bounds memory.
    """

    max_documents: int = pydantic.Field(default=3, ge=1)
    bucket_documents: int = pydantic.Field(default=20_000, ge=1)


class ServerConfig(Section):
    """SGLang servers that the workers start for themselves, one for each group of GPUs of their machine.

    Attributes:
        python: Interpreter of the environment that SGLang is installed in.
        model: Directory or hub name that it serves; null is synthesis.model.
        gpus_per_server: GPUs of a group (tensor parallelism); 0 starts one server that is given none.
        startup_timeout_sec: How long a server may take until it is healthy.
        max_restarts: How often a server that ends by itself is started again.
        args: Arguments of `sglang.launch_server` by name, over those of plugins/sglang/server.yaml:
            `mem-fraction-static: 0.8`; true gives the bare flag, null or false takes one away.
        env: Further environment variables. Their values are stored nowhere, but go to workers on other
            machines with the job; a key belongs into the environment of the workers, which servers inherit.
    """

    python: str
    model: str | None = None
    gpus_per_server: int = pydantic.Field(default=1, ge=0)
    startup_timeout_sec: float = pydantic.Field(default=900.0, gt=0)
    max_restarts: int = pydantic.Field(default=3, ge=0)
    args: dict[str, str | int | float | bool | None] = pydantic.Field(default_factory=dict)
    env: dict[str, pydantic.SecretStr] = pydantic.Field(default_factory=dict)


class SynthesisConfig(Section):
    """Who writes the pairs, and how it is asked.

    Attributes:
        backend: Name of a synthesizer: mined, transformers, sglang.
        protocol: Name of a protocol: chat, instruction_synthesizer. Not used by mined.
        model: Directory or hub name of the model; its tokenizer builds the prompts.
        endpoints: URLs of running servers, or one URL, for sglang.
        server: Instead of endpoints, servers that the workers start for themselves, for sglang.
        accelerator: What the machines of this step alone shall have, in Dataflow's words:
            `type:nvidia-l4;count:1;install-nvidia-driver`. Other runners may ignore it.
        max_new_tokens: Most tokens generated for one document. As many of a row, but at most half of it, are
            kept free for its pairs: longer documents are cut into parts. Mined pairs get 768 instead.
        context_tokens: Most tokens of prompt and generation together.
        max_document_tokens: Documents longer than this are cut into parts, at paragraphs, then sentences,
            then words; null cuts only those whose prompt would not fit, or that leave a row no room for their
            pairs. In tokens of the model that is asked; where none is, as with mined, in those of the
            corpus's tokenizer. A third of what fits leaves room for chains.
        temperature: 0 is greedy.
        max_in_flight: Requests in flight at once in a worker process.
        max_failure_share: Share of failed documents, 0 to 1, above which the run fails. A document has failed
            if its request did, or if nothing in its answer can be read.
        max_empty_share: Share of documents without pairs, failed ones included, above which the run fails; 1
            lets runs succeed in which nothing became pairs. Increments of fewer than 50 documents, none of
            them failed, are not held to it after the first one, nor is the first where no model is asked.
        prompt_file: Your own prompt for the chat protocol.
        trust_remote_code: Whether code that comes with the model may run.
        options: What one backend understands beyond these.
    """

    backend: str = "mined"
    protocol: str = "chat"
    model: str | None = None
    endpoints: tuple[str, ...] = ()
    server: ServerConfig | None = None
    accelerator: str | None = pydantic.Field(
        default=None, pattern=r"^type:[a-z0-9-]+;count:[1-9][0-9]*(;[a-z0-9:._-]+)*$"
    )
    max_new_tokens: int = pydantic.Field(default=400, ge=1)
    context_tokens: int = pydantic.Field(default=4096, ge=16)
    max_document_tokens: int | None = pydantic.Field(default=None, ge=16)
    temperature: float = pydantic.Field(default=0.0, ge=0.0)
    max_in_flight: int = pydantic.Field(default=64, ge=1)
    max_failure_share: float = pydantic.Field(default=0.05, ge=0.0, le=1.0)
    max_empty_share: float = pydantic.Field(default=0.9, ge=0.0, le=1.0)
    prompt_file: str | None = None
    trust_remote_code: bool = False
    options: dict[str, Any] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("endpoints", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _prompt_fits(self) -> SynthesisConfig:
        if self.max_new_tokens >= self.context_tokens:
            raise ValueError(
                f"max_new_tokens {self.max_new_tokens} leaves no room for a prompt in "
                f"context_tokens {self.context_tokens}; lower the first or raise the second"
            )
        return self


class TokenizerConfig(Section):
    """The tokenizer of the model to be trained.

    Attributes:
        name: Directory or hub name.
        add_bos: Whether a text is opened; null opens it as the tokenizer itself does, true does too, but with
            BOS where the tokenizer opens it with nothing.
        add_eos: Whether a text ends in EOS, whatever the tokenizer itself puts behind one.
    """

    name: str
    add_bos: bool | None = None
    add_eos: bool = True


class PackConfig(Section):
    """How texts become rows.

    Attributes:
        method: `best_fit` keeps texts whole; `concat` chops at row ends, also between passage and pairs.
        seq_len: T, tokens a row.
        top_up: Whether rows that texts do not fill get texts of other rows once more, whole ones and then the
            beginning of one, instead of padding; about one row in those of `shards.group_tokens` does. No
            beginning is taken of a text that asks before its passage.
    """

    method: Literal["best_fit", "concat"] = "best_fit"
    seq_len: int = pydantic.Field(default=4096, ge=8)
    top_up: bool = True


class ShardConfig(Section):
    """How rows are written.

    Attributes:
        compression: br, bz2, gz, snappy or zstd, with a level (`zstd:3`) or without; null for none.
        size_limit_bytes: Most bytes of a shard file before compression.
        group_tokens: Tokens that one worker packs and writes at a time; bounds its memory.
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


class CorpusConfig(Section):
    """A corpus: `tutelage corpus build FILE.yaml`.

    Attributes:
        corpus: Directory of the corpus, at any fsspec URI.
        seed: From which every random choice is derived.
        streams: Streams by name; the trainer mixes them by these names.
        filters: Quality filters by name, in the order in which they are applied, each with its options; {}
            or null is as published.
        templates: Name of the template family.
    """

    corpus: str
    seed: int = 17
    streams: dict[str, StreamConfig] = pydantic.Field(min_length=1)
    clean: CleanConfig = CleanConfig()
    filters: dict[str, dict[str, Any] | None] = pydantic.Field(default_factory=dict)
    dedup: DedupConfig = DedupConfig()
    decontaminate: DecontaminationConfig = DecontaminationConfig()
    chains: ChainConfig = ChainConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    templates: str = "reading_comprehension"
    tokenizer: TokenizerConfig
    pack: PackConfig = PackConfig()
    shards: ShardConfig = ShardConfig()

    @pydantic.model_validator(mode="after")
    def _examples_stay_whole(self) -> CorpusConfig:
        tuning = [name for name, stream in self.streams.items() if stream.tuning is not None]
        if tuning and self.pack.method != "best_fit":
            raise ValueError(
                f"pack.method is {self.pack.method!r}, which cuts texts at row ends; the examples of stream "
                f"{tuning[0]!r} (tuning) must stay whole. Set pack.method: best_fit"
            )
        return self

    @property
    def synthesizes(self) -> bool:
        """Whether pairs are written about the documents of any stream."""
        return any(stream.synthesize for stream in self.streams.values())

    @pydantic.field_validator("streams")
    @classmethod
    def _stream_names_are_folder_names(cls, value: dict[str, StreamConfig]) -> dict[str, StreamConfig]:
        for name in value:
            if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
                raise ValueError(f"stream name {name!r} may hold letters, digits, - and _ only")
        return value
