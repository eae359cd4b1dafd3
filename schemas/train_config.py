"""What a model is trained with, in llm-foundry's vocabulary: the YAML of `tutelage train`."""

from __future__ import annotations

import difflib
import itertools
import re
from typing import Any, Literal

import pydantic

from schemas.config import Section


class NamedConfig(Section):
    """A thing chosen by `name`, with its own arguments beside the name."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """All keys beside `name`."""
        return dict(self.model_extra or {})


NO_DECAY_KINDS = ("norms", "biases", "embeddings")
"""Kinds of parameters that `optimizer.no_decay` knows by themselves."""


class OptimizerConfig(NamedConfig):
    """The optimizer, its arguments beside its name.

    Attributes:
        no_decay: Parameters that weight decay leaves alone: norms, biases, embeddings, or regular expressions
            that are found anywhere in a parameter's name. The default is what transformers' Trainer does.
    """

    no_decay: tuple[str, ...] = ("norms", "biases")

    @pydantic.field_validator("no_decay", mode="before")
    @classmethod
    def _list(cls, no_decay: Any) -> Any:
        if not isinstance(no_decay, list | tuple):
            raise ValueError(f"{no_decay!r} is no list; expected one such as [norms], or [] to decay all")
        return no_decay

    @pydantic.field_validator("no_decay")
    @classmethod
    def _expressions(cls, no_decay: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in no_decay:
            if not pattern:
                raise ValueError("'' would match every name; expected a kind or a regular expression")
            near = difflib.get_close_matches(pattern.lower(), NO_DECAY_KINDS, n=1, cutoff=0.75)
            if near and pattern not in NO_DECAY_KINDS and pattern.isalpha():
                raise ValueError(
                    f"{pattern!r} is no kind. Did you mean {near[0]!r}? As a regular expression write "
                    f"'{pattern}.*'"
                )
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return no_decay


class ModelConfig(Section):
    """The model.

    Attributes:
        name: Kind of model; hf_causal_lm is any causal LM of transformers.
        pretrained_model_name_or_path: Directory or hub name.
        pretrained: Whether its weights are loaded; false starts from random ones.
        config_overrides: Keys of the model's own configuration to change.
        attn_implementation: sdpa, eager, flash_attention_2 or flex_attention.
        init_device: cpu, meta or mixed (rank 0 on CPU, others meta).
        trust_remote_code: Whether code that comes with the model may run.
        weights_may_differ: Regular expressions of weights that the model's files may lack (they start at
            random values), hold beyond the model, or hold in another shape. Others are refused.
        new_embeddings: Rows of tokens that `tokenizer.name` has and the model's own tokenizer lacks: `mean`
            of its own tokens' rows, mean of the `pieces` that its tokenizer makes of each, or a safetensors
            file with them (trainer/model/new_embeddings.py); null refuses such a tokenizer.
        peft_config: Adapters to train beside the frozen model, as llm-foundry writes them (`peft_type: LORA`,
            r, lora_alpha, target_modules, …); null trains the model itself.
    """

    name: Literal["hf_causal_lm"] = "hf_causal_lm"
    pretrained_model_name_or_path: str
    pretrained: bool = True
    config_overrides: dict[str, Any] = pydantic.Field(default_factory=dict)
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] = "sdpa"
    init_device: Literal["cpu", "meta", "mixed"] = "cpu"
    trust_remote_code: bool = False
    weights_may_differ: tuple[str, ...] = ()
    peft_config: dict[str, Any] | None = None
    new_embeddings: str | None = None

    @pydantic.model_validator(mode="after")
    def _new_rows_need_old_ones(self) -> ModelConfig:
        if self.new_embeddings is not None and not self.pretrained:
            raise ValueError(
                "new_embeddings sets rows beside trained ones; with pretrained: false, "
                "config_overrides.vocab_size says how many there are"
            )
        return self


class TrainTokenizerConfig(Section):
    """The tokenizer; `name` null takes the model's own."""

    name: str | None = None


class LaterManifest(Section):
    """A manifest that a run takes after some of its epochs.

    Attributes:
        at: Epochs done before it is taken: `1ep`. Only a new epoch can read other rows without
            repeating or leaving out any.
        manifest: Its number.
    """

    at: str
    manifest: int = pydantic.Field(ge=1)

    @pydantic.field_validator("at")
    @classmethod
    def _whole_epochs(cls, at: str) -> str:
        if not re.fullmatch(r"[1-9]\d*ep", at):
            raise ValueError(
                f"{at!r} is no number of epochs, such as 1ep: another manifest is taken between two epochs "
                "only (epoch_size makes them shorter)"
            )
        return at

    @property
    def epoch(self) -> int:
        """The first epoch that reads it, counted from 0."""
        return int(self.at.removesuffix("ep"))


class TrainStreamConfig(Section):
    """One stream of a corpus, and its share of the mix.

    Attributes:
        corpus: URI of the corpus.
        stream: Name of the stream in it; null takes the key under which this stands.
        manifest: Number of the manifest to read; null takes the newest when the run starts.
        later: Manifests to read after some epochs instead, in order; may be added to while a run is
            stopped, for epochs that it has not begun.
        proportion: Share of the rows, relative to the other streams'.
        repeat: Times an epoch sees the stream.
        choose: Rows of the stream in an epoch.
    """

    corpus: str
    stream: str | None = None
    manifest: int | None = pydantic.Field(default=None, ge=1)
    later: tuple[LaterManifest, ...] = ()
    proportion: float | None = pydantic.Field(default=None, gt=0)
    repeat: float | None = pydantic.Field(default=None, gt=0)
    choose: int | None = pydantic.Field(default=None, ge=1)

    @pydantic.model_validator(mode="after")
    def _later_is_later(self) -> TrainStreamConfig:
        epochs = [0, *(each.epoch for each in self.later)]
        numbers = [self.manifest or 0, *(each.manifest for each in self.later)]
        for name, values in (("at", epochs), ("manifest", numbers)):
            if any(second <= first for first, second in itertools.pairwise(values)):
                raise ValueError(f"each {name} of later must be greater than the one before it, not {values}")
        return self


class DatasetConfig(Section):
    """Streams and how they are read.

    Attributes:
        streams: By name. Either all have a `proportion` or none.
        shuffle: Whether rows are shuffled each epoch.
        shuffle_seed: Seed of the shuffle.
        epoch_size: Rows in an epoch; null follows from the streams.
        attention_boundaries: Whether each packed text attends to itself alone.
        loss_on: `all` tokens, which is the method; or `pairs`, to tune a synthesizer: only question-answer
            pairs carry loss, the contexts before them none. Needs streams that were built with `tuning`.
        cache_dir: Where shards are decompressed, a folder that nobody else may write to; null takes one in
            the system's temporary folder.
    """

    streams: dict[str, TrainStreamConfig] = pydantic.Field(min_length=1)
    shuffle: bool = True
    shuffle_seed: int = 9176
    epoch_size: int | None = pydantic.Field(default=None, ge=1)
    attention_boundaries: bool = True
    loss_on: Literal["all", "pairs"] = "all"
    cache_dir: str | None = None

    @pydantic.model_validator(mode="after")
    def _one_way_of_mixing(self) -> DatasetConfig:
        by_proportion = [name for name, stream in self.streams.items() if stream.proportion is not None]
        absolute = [
            name for name, stream in self.streams.items() if (stream.repeat or stream.choose) is not None
        ]
        if by_proportion and (absolute or len(by_proportion) < len(self.streams)):
            rest = sorted(set(self.streams) - set(by_proportion)) or absolute
            raise ValueError(
                f"proportion is given for {', '.join(by_proportion)} but not alone for {', '.join(rest)}; "
                "give every stream a proportion, or none (then repeat and choose may be used)"
            )
        both = [name for name, stream in self.streams.items() if stream.repeat and stream.choose]
        if both:
            raise ValueError(f"stream {both[0]} has both repeat and choose; keep one")
        return self


class LoaderConfig(Section):
    """The training data loader.

    Attributes:
        dataset: What is read.
        num_workers: Reader processes a rank; 0 reads in the training process.
        prefetch_factor: Batches that each reader process holds ready.
    """

    dataset: DatasetConfig
    num_workers: int = pydantic.Field(default=0, ge=0)
    prefetch_factor: int = pydantic.Field(default=2, ge=1)


class TrainConfig(Section):
    """A training run: `tutelage train FILE.yaml`.

    Attributes:
        run_name: Name of the run; autoresume finds its checkpoints by it.
        seed: Seed of everything random but the data order.
        max_duration: As Composer writes time: 4000ba, 1ep, 1000000000tok.
        global_train_batch_size: Rows a step over all ranks.
        device_train_microbatch_size: Rows a forward pass on one device, or auto.
        precision: As Composer names it: fp32, amp_bf16, amp_fp16.
        optimizer: name (decoupled_adamw, adamw), its arguments, and `no_decay`.
        scheduler: name (cosine_with_warmup, linear_decay_with_warmup, constant_with_warmup) and
            its arguments.
        algorithms: By name (gradient_clipping) with arguments.
        callbacks: By name with arguments; domain_eval and hf_export are ours.
        loggers: By name with arguments: file, jsonl, tensorboard, wandb. Metrics go to a JSONL file
            beside the checkpoints in any case; `jsonl: {path: …}` says where instead.
        parallelism_config: `fsdp:` and `tp:` as Composer takes them; null is DDP.
        save_folder: Where checkpoints go, a folder or any URI of fsspec; `{run_name}` is filled in. Null
            saves none.
        save_interval: Time between checkpoints.
        save_num_checkpoints_to_keep: Newest k stay, also across resumptions; -1 keeps all. With one
            alone a damaged newest checkpoint cannot be survived.
        load_path: Checkpoint to start from, a path or any URI of fsspec.
        load_weights_only: Whether only the model is taken from it.
        on_nan: What happens at a step whose loss or gradients are not finite: `stop` ends the run before the
            step, `skip` leaves the step out. The rows of its batch are named.
        max_skipped_steps: Steps that `skip` may leave out before the run ends all the same.
        autoresume: Whether an interrupted run of this name goes on from its newest sound checkpoint.
        progress_bar: Whether progress is shown as a bar where there is a terminal.
        python_log_level: info, debug, ...
    """

    run_name: str
    seed: int = 17
    model: ModelConfig
    tokenizer: TrainTokenizerConfig = TrainTokenizerConfig()
    train_loader: LoaderConfig
    max_duration: str
    global_train_batch_size: int = pydantic.Field(ge=1)
    device_train_microbatch_size: int | Literal["auto"] = "auto"
    precision: str = "amp_bf16"
    optimizer: OptimizerConfig
    scheduler: NamedConfig
    algorithms: dict[str, dict[str, Any]] = pydantic.Field(default_factory=dict)
    callbacks: dict[str, dict[str, Any]] = pydantic.Field(default_factory=dict)
    loggers: dict[str, dict[str, Any]] = pydantic.Field(default_factory=dict)
    parallelism_config: dict[str, Any] | None = None
    save_folder: str | None = None
    save_interval: str = "500ba"
    save_num_checkpoints_to_keep: int = -1
    load_path: str | None = None
    load_weights_only: bool = False
    on_nan: Literal["stop", "skip"] = "stop"
    max_skipped_steps: int = pydantic.Field(default=10, ge=0)
    autoresume: bool = False
    progress_bar: bool = True
    python_log_level: str = "info"
