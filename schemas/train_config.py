"""Configuration of a training run, in llm-foundry's vocabulary: the YAML of `tutelage train`."""

from __future__ import annotations

import difflib
import itertools
import re
from typing import Any, Literal

import pydantic

from schemas.config import Section


class NamedConfig(Section):
    """An object chosen by `name`, with its arguments beside the name.

    Attributes:
        name: Name of the object.
    """

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """All keys beside `name`."""
        return dict(self.model_extra or {})


NO_DECAY_KINDS = ("norms", "biases", "embeddings")
"""Kinds of parameters that `optimizer.no_decay` knows."""


class OptimizerConfig(NamedConfig):
    """The optimizer, with its arguments beside its name.

    Attributes:
        name: decoupled_adamw or adamw.
        no_decay: Parameters without weight decay: norms, biases, embeddings, or regular expressions that
            match anywhere in a parameter's name. The default is that of transformers' Trainer; [] decays all.
    """

    no_decay: tuple[str, ...] = ("norms", "biases")

    @pydantic.field_validator("no_decay", mode="before")
    @classmethod
    def _list(cls, no_decay: Any) -> Any:
        if not isinstance(no_decay, list | tuple):
            raise ValueError(f"{no_decay!r} is not a list; expected one such as [norms], or [] to decay all")
        return no_decay

    @pydantic.field_validator("no_decay")
    @classmethod
    def _expressions(cls, no_decay: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in no_decay:
            if not pattern:
                raise ValueError("'' matches every name; expected a kind or a regular expression")
            near = difflib.get_close_matches(pattern.lower(), NO_DECAY_KINDS, n=1, cutoff=0.75)
            if near and pattern not in NO_DECAY_KINDS and pattern.isalpha():
                raise ValueError(
                    f"{pattern!r} is not a kind. Did you mean {near[0]!r}? For a regular expression write "
                    f"'{pattern}.*'"
                )
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return no_decay


class ModelConfig(Section):
    """The model.

    Attributes:
        name: Kind of model; hf_causal_lm is any causal LM of transformers.
        pretrained_model_name_or_path: Directory or hub name.
        pretrained: True loads the model's weights; false starts from random weights.
        config_overrides: Changes to the model's own configuration, by key.
        attn_implementation: sdpa, eager, flash_attention_2 or flex_attention.
        init_device: Device on which the model is created: cpu, meta, or mixed (rank 0 on CPU, others on
            meta).
        trust_remote_code: True lets Python code in the model's directory run.
        weights_may_differ: Regular expressions of weights that may be missing in the model's files (they
            start at random values), unused by the model, or of another shape. Other such weights are an
            error.
        new_embeddings: Embeddings of tokens that `tokenizer.name` adds to the model's own tokenizer: `mean`
            of all rows, mean of the `pieces` into which the model's tokenizer splits each new token, or a
            safetensors file (trainer/model/new_embeddings.py). Null refuses a tokenizer with new tokens.
        peft_config: Adapters to train on the frozen model, as llm-foundry writes them (`peft_type: LORA`, r,
            lora_alpha, target_modules, …); null trains the model itself.
        chunked_loss: True computes output layer and loss in chunks of tokens, where that gives the same loss:
            less memory at a large vocabulary. False always holds the logits of a whole forward pass.
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
    chunked_loss: bool = True

    @pydantic.model_validator(mode="after")
    def _new_rows_need_old_ones(self) -> ModelConfig:
        if self.new_embeddings is not None and not self.pretrained:
            raise ValueError(
                "new_embeddings adds rows to trained ones; with pretrained: false, set "
                "config_overrides.vocab_size to the number of tokens instead"
            )
        return self


class TrainTokenizerConfig(Section):
    """The tokenizer.

    Attributes:
        name: Directory or hub name; null takes the model's own.
    """

    name: str | None = None


class LaterManifest(Section):
    """A newer manifest that a run reads from some epoch on.

    Attributes:
        at: Finished epochs before the change, such as `1ep`. A change inside an epoch would repeat or leave
            out rows.
        manifest: Number of the manifest.
    """

    at: str
    manifest: int = pydantic.Field(ge=1)

    @pydantic.field_validator("at")
    @classmethod
    def _whole_epochs(cls, at: str) -> str:
        if not re.fullmatch(r"[1-9]\d*ep", at):
            raise ValueError(
                f"{at!r} is not a number of epochs, such as 1ep: a run changes to another manifest only "
                "between two epochs (epoch_size makes epochs shorter)"
            )
        return at

    @property
    def epoch(self) -> int:
        """Index of the first epoch that reads the manifest, from 0."""
        return int(self.at.removesuffix("ep"))


class TrainStreamConfig(Section):
    """One stream of a corpus, and its share of the mix.

    Attributes:
        corpus: URI of the corpus.
        stream: Name of the stream in the corpus; null takes the key of this section.
        manifest: Number of the manifest to read; null takes the newest one when the run starts.
        later: Newer manifests to read from later epochs on, in order. While a run is stopped, entries may be
            added for epochs that it has not begun.
        proportion: Share of the rows, relative to the other streams' proportions; null uses `repeat` or
            `choose`.
        repeat: Passes over the stream in an epoch; null is one pass.
        choose: Rows of the stream in an epoch; null takes all rows.
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
                raise ValueError(f"later: each {name} must be greater than the one before it, found {values}")
        return self


class DatasetConfig(Section):
    """Streams of a corpus, and the reading of their rows.

    Attributes:
        streams: Streams by name, at least one. Either all have a `proportion` or none.
        shuffle: True shuffles the rows in each epoch.
        shuffle_seed: Seed of the shuffle.
        epoch_size: Rows in an epoch; null follows from the streams.
        attention_boundaries: True limits the attention of a packed text to that text; false lets it reach
            back to earlier texts of the row.
        loss_on: `all` computes the loss on all tokens, as the method does. `pairs` tunes a synthesizer: only
            question-answer pairs carry loss, not their contexts. It needs streams built with `tuning`.
        cache_dir: Folder for decompressed shards, which no other user may write to; null takes a folder in
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
        missing = sorted(set(self.streams) - set(by_proportion))
        if by_proportion and (absolute or missing):
            problem = (
                f"missing for {', '.join(missing)}" if missing else f"{absolute[0]} also has repeat or choose"
            )
            raise ValueError(
                f"proportion is given for {', '.join(by_proportion)} but {problem}; "
                "give every stream a proportion, or none (then repeat and choose may be used)"
            )
        both = [name for name, stream in self.streams.items() if stream.repeat and stream.choose]
        if both:
            raise ValueError(f"stream {both[0]} has both repeat and choose; keep one key")
        return self


class LoaderConfig(Section):
    """The training data loader.

    Attributes:
        dataset: Streams of a corpus, and the reading of their rows.
        num_workers: Reader processes of a rank; 0 reads in the training process.
        prefetch_factor: Batches that each reader process keeps ready.
    """

    dataset: DatasetConfig
    num_workers: int = pydantic.Field(default=0, ge=0)
    prefetch_factor: int = pydantic.Field(default=2, ge=1)


class TrainConfig(Section):
    """A training run: `tutelage train FILE.yaml`.

    Attributes:
        run_name: Name of the run; autoresume finds the checkpoints of a run by it.
        seed: Seed of all random choices except the order of rows (`shuffle_seed`).
        model: The model to train.
        tokenizer: The tokenizer; by default the model's own.
        train_loader: The training data loader.
        max_duration: Length of the run in Composer's notation: 4000ba (steps), 1ep, 1000000000tok.
        global_train_batch_size: Rows in a step, over all ranks.
        device_train_microbatch_size: Rows in a forward pass on one device; auto finds the largest that fits.
        precision: Precision in Composer's notation: fp32, amp_bf16, amp_fp16.
        optimizer: The optimizer, with its arguments.
        scheduler: The learning rate's schedule: name (cosine_with_warmup, linear_decay_with_warmup,
            constant_with_warmup) and arguments.
        algorithms: Composer's algorithms by name (gradient_clipping), with arguments; none by default.
        callbacks: Callbacks by name, with arguments; domain_eval and hf_export are ours. None by default.
        loggers: Loggers by name, with arguments: file, jsonl, tensorboard, wandb. A JSONL file beside the
            checkpoints always receives the metrics; `jsonl: {path: …}` moves it.
        parallelism_config: `fsdp:` and `tp:` in Composer's notation; null is DDP.
        save_folder: Folder or fsspec URI for checkpoints; `{run_name}` is filled in. Null saves none.
        save_interval: Time between two checkpoints in Composer's notation.
        save_num_checkpoints_to_keep: Number of newest checkpoints that are kept, also across resumptions; -1
            keeps all. With 1, a run cannot resume if its only checkpoint is damaged.
        load_path: Checkpoint to start from, a path or fsspec URI; null starts from the model.
        load_weights_only: True loads only the model from `load_path`; false also optimizer and progress.
        on_nan: Reaction to a loss or gradient that is not finite: `stop` ends the run before the step, `skip`
            leaves the step out. Both name the rows of the batch.
        max_skipped_steps: Maximum steps that `skip` leaves out; one more ends the run.
        autoresume: True continues an interrupted run of this name from its newest intact checkpoint.
        progress_bar: True shows a progress bar on a terminal.
        python_log_level: Level of Composer's log: info, debug, …
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
