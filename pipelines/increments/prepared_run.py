"""Preparation of a run: tokenizer, ends of texts, row length, protocol, needs of the workers."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.increment import IncrementSpec, config_hash
from pipelines.increments.changed_source_files import FilePart
from pipelines.increments.lease import new_token
from pipelines.runners.counters import progress_files_in
from pipelines.runners.remote.reachability import prepare_workers
from pipelines.runners.run import runs_here
from pipelines.steps.loss_spans import ends_of_examples
from pipelines.steps.split_documents import row_limit
from pipelines.steps.tokenize import ends
from plugins.corpus_tokenizer import files_to_keep, is_kept
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from plugins.templates import TEMPLATES
from plugins.tokenizers import fingerprint, load_tokenizer, pad_token_id
from plugins.verifiers.base import ModelVerifier
from plugins.verifiers.rules import make_rules, rules_of
from schemas.corpus_config import CorpusConfig, DecontaminationConfig
from schemas.errors import CorpusError
from schemas.manifest import Increment, Manifest
from schemas.scratch_folder import scratch
from schemas.synthesis_config import SynthesisConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that may begin."""

    spec: IncrementSpec
    options: PipelineOptions
    tokenizer: str  # its fingerprint
    tokenizer_files: Mapping[str, bytes]  # that the corpus keeps; none if it has them already
    around: tuple[list[int], list[int]]  # token ids before and after each text

    def manifest(self, increments: Sequence[Increment]) -> Manifest:
        """The manifest of these increments that this run would publish."""
        config = self.spec.config
        return Manifest(
            number=self.spec.number,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            seq_len=config.pack.seq_len,
            tokenizer=self.tokenizer,
            tokenizer_name=config.tokenizer.name,
            pad_token_id=self.spec.pad_id,
            opening=tuple(self.around[0]),
            closing=tuple(self.around[1]),
            config_hash=config_hash(config),
            increments=tuple(sorted(increments, key=lambda increment: increment.number)),
        )


@contextlib.contextmanager
def prepared(
    config: CorpusConfig,
    options: PipelineOptions,
    *,
    before: Manifest | None,
    files: Mapping[str, Sequence[FilePart]],
) -> Iterator[Prepared]:
    """Load the tokenizer, check that it fits the corpus, and make the folder of the run's progress files.

    It adds the needs of remote workers to `options`.

    Raises:
        ConfigError: A value or option is refused.
        CorpusError: The corpus has rows of another tokenizer, or its texts begin or end with other tokens.
    """
    tokenizer = load_tokenizer(config.tokenizer.name)
    around = ends(tokenizer, config.tokenizer)
    if _is_tuning(config):
        ends_of_examples(tokenizer, config.tokenizer)
    if config.synthesizes and files:
        synthesizer = SYNTHESIZERS.load(config.synthesis.backend)(config.synthesis, seed=config.seed)
        row_limit(config, synthesizer.pair_tokens)
    name = fingerprint(tokenizer)
    if before is not None and before.tokenizer != name:
        raise CorpusError(
            f"{config.corpus}: was tokenised by {before.tokenizer_name!r}, which differs from tokenizer "
            f"{config.tokenizer.name!r}. Use the corpus's tokenizer, or build a new corpus."
        )
    if before is not None:
        _check_ends(config, before, tokenizer, around)
    is_known = is_kept(config.corpus, name)
    with contextlib.ExitStack() as stack:
        if runs_here(options):
            stack.enter_context(progress_files_in(stack.enter_context(scratch("progress"))))
        else:
            staging = stack.enter_context(scratch("staging"))
            prepare_workers(config if files else for_rewriting(config), options, Path(staging))
        yield Prepared(
            spec=IncrementSpec(
                config=config,
                number=before.number + 1 if before else 1,
                known=before.names() if before else (),
                files=files,
                pad_id=pad_token_id(tokenizer),
                token=new_token(),
            ),
            options=options,
            tokenizer=name,
            tokenizer_files={} if is_known else files_to_keep(config.tokenizer.name, tokenizer),
            around=around,
        )


def _check_ends(
    config: CorpusConfig, before: Manifest, tokenizer: Any, around: tuple[list[int], list[int]]
) -> None:
    """Check that new texts begin and end with the same tokens as those of the corpus."""
    opening, closing = before.opening, before.closing
    if opening is None:  # an older manifest, from when only BOS could open a text
        bos = tokenizer.bos_token_id
        has_bos = bos is not None and (config.tokenizer.add_bos or around[0][:1] == [bos])
        opening = (bos,) if has_bos else ()
        if _is_tuning(config) and ends_of_examples(tokenizer, config.tokenizer)[0] != [bos]:
            raise CorpusError(
                f"{config.corpus}: its examples begin with BOS alone, and new ones would begin as the "
                "tokenizer itself begins a text. Build a new corpus."
            )
    for key, what, known, now in (
        ("add_bos", "begin with", opening, around[0]),
        ("add_eos", "end with", closing, around[1]),
    ):
        if known is not None and list(known) != now:
            raise CorpusError(
                f"{config.corpus}: its texts {what} {_tokens(tokenizer, known)}, and new ones would {what} "
                f"{_tokens(tokenizer, now)}: the corpus would mix rows of both kinds. Set tokenizer.{key} to "
                f"{'what it was' if known else 'false'}, or build a new corpus."
            )


def _is_tuning(config: CorpusConfig) -> bool:
    return any(stream.tuning is not None for stream in config.streams.values())


def _tokens(tokenizer: Any, ids: Sequence[int]) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(list(ids))) or "nothing"


def for_rewriting(config: CorpusConfig) -> CorpusConfig:
    """The configuration without servers, sources, tasks and filters, for runs that only rewrite texts."""
    streams = {
        name: stream.model_copy(update={"sources": (), "synthesize": False})
        for name, stream in config.streams.items()
    }
    unused: dict[str, Any] = {"synthesis": SynthesisConfig(), "decontaminate": DecontaminationConfig()}
    unused |= {"filters": {}, "verify": None}
    return config.model_copy(update={"streams": streams, **unused})


def check_protocol(config: CorpusConfig, options: PipelineOptions) -> None:
    """Load the tokenizer, chat template and prompt file of the model, and the template files.

    Remote workers may have a model or files that this machine lacks, so they check for themselves.

    Raises:
        ConfigError: One is unusable; says which.
    """
    if config.synthesizes and runs_here(options):
        TEMPLATES.load(config.templates)(config.template_files)
        synthesizer = SYNTHESIZERS.load(config.synthesis.backend)(config.synthesis, seed=config.seed)
        if isinstance(synthesizer, LanguageModelSynthesizer):
            synthesizer.protocol  # noqa: B018
        for rule in make_rules(rules_of(config), config.synthesis, seed=config.seed).values():
            if isinstance(rule, ModelVerifier):
                rule.open()
