"""Token estimate for chains without their answers.

    round 1   [opening text₁]                                    in brackets: held by an ideal prefix cache
    round 2   [opening text₁ answer₁] text₂
    round 3   [opening text₁ answer₁ text₂ answer₂] text₃

The prompts are those of a build (`plugins/synthesizers/chain_rounds.py`), but for the pairs of earlier
documents: each earlier answer counts as `answer_tokens` tokens and is assumed to hold pairs. An ideal prefix
cache holds the opening that all prompts share, the prompt and the answer of a chain's previous round, and the
prompt of a document's further samples.

Cost: every prompt is made; about 5 s on one core for 300 chains of 3 documents of 400 tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import apache_beam as beam

from pipelines.planning.assumptions import PAPER_PAIR_TOKENS
from pipelines.steps.loss_spans import num_common
from pipelines.steps.tokenize import ends
from plugins.plain_token_ids import TokenIds
from plugins.protocols.base import Example, SynthesisProtocol
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.chain_rounds import next_prompt
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from plugins.tokenizers import load_tokenizer
from plugins.verifiers.base import ModelVerifier
from plugins.verifiers.rules import make_rules, rules_of
from schemas.corpus_config import CorpusConfig
from schemas.records import Chain, InstructionPair
from schemas.synthesis_config import SynthesisConfig

_NO_PAIR = InstructionPair(instruction="", response="")


class Round(NamedTuple):
    """Tokens of one request."""

    prompt_tokens: int
    cached_tokens: int  # prompt tokens that an ideal prefix cache holds
    is_alone: bool  # the document is prompted without examples, and so begins a training text


def estimate_rounds(
    chain: Chain, *, protocol: SynthesisProtocol, config: SynthesisConfig, answer_tokens: int
) -> Iterator[Round]:
    """Yield a Round for each document of a chain; each document fits a prompt alone."""
    budget = config.context_tokens - config.answer_tokens
    opening = protocol.prompt((), dataclasses.replace(chain.documents[0], text=""))
    examples: Sequence[Example] = ()
    before: TokenIds = ()
    for document in chain.documents:
        prompt, examples = next_prompt(
            protocol, examples, document, budget=budget, answer_tokens=answer_tokens
        )
        of_answers = len(examples) * answer_tokens
        yield Round(
            prompt_tokens=len(prompt) + of_answers,
            cached_tokens=num_common(prompt, before if examples else opening) + of_answers,
            is_alone=not examples,
        )
        before = prompt
        examples = [*examples, Example(document=document, pairs=())]


class EstimateTokens(beam.DoFn):
    """Count tokens of a sample of a stream.

    Takes Chains; gives pairs of a name and a count, to be added up:

        chains, documents, characters    size of the sample
        texts                            its training texts: a chain's text is cut between documents where the
                                         next document and its answer do not fit the row
        cut_texts                        texts that are longer than a row
        own_rows                         rows at least: full rows of cut texts, and one for each text or rest
                                         of more than half a row; 0 for `pack.method: concat`
        text_tokens                      tokens of its documents, to the trained model
        document_tokens                  the same, to the synthesizer
        prompt_tokens, cached_tokens     see Round
        verify_requests                  requests of rules of `verify` about `pairs_each` pairs a document
        verify_prompt_tokens, verify_cached_tokens, verify_completion_tokens    their tokens, at most

    `answer_tokens` is the assumed length of an answer without thoughts; None without requests.
    """

    def __init__(self, config: CorpusConfig, *, answer_tokens: int | None, pairs_each: float = 0.0):
        self.config = config
        self.answer_tokens = answer_tokens
        self.pairs_each = pairs_each

    def setup(self) -> None:
        self._tokenizer = load_tokenizer(self.config.tokenizer.name)
        self._num_ends = sum(map(len, ends(self._tokenizer, self.config.tokenizer)))
        self._protocol: SynthesisProtocol | None = None
        if self.answer_tokens is not None:
            synthesis = self.config.synthesis
            synthesizer = SYNTHESIZERS.load(synthesis.backend)(synthesis, seed=self.config.seed)
            assert isinstance(synthesizer, LanguageModelSynthesizer)
            self._protocol = synthesizer.protocol  # loads a tokenizer; no model, no connection
        rules = make_rules(rules_of(self.config), self.config.synthesis, seed=self.config.seed)
        self._rules = [rule for rule in rules.values() if isinstance(rule, ModelVerifier)]
        for rule in self._rules if self.pairs_each else ():
            rule.open()

    def process(self, chain: Chain) -> Iterator[tuple[str, int]]:
        texts = [document.text for document in chain.documents]
        encoded = self._tokenizer(texts, add_special_tokens=False, verbose=False).input_ids
        yield "chains", 1
        yield "documents", len(texts)
        yield "characters", sum(map(len, texts))
        yield "text_tokens", sum(map(len, encoded))
        yield from self._verification(texts)
        sizes = [len(ids) for ids in encoded]
        if self._protocol is None or self.answer_tokens is None:
            yield from self._texts(sizes, [number == 0 for number in range(len(sizes))])
            return
        num_samples = self.config.synthesis.samples
        rounds = list(
            estimate_rounds(
                chain, protocol=self._protocol, config=self.config.synthesis, answer_tokens=self.answer_tokens
            )
        )
        yield from self._texts(
            [size + num_samples * self.answer_tokens for size in sizes], [each.is_alone for each in rounds]
        )
        yield "document_tokens", sum(len(self._protocol.plain_ids(text)) for text in texts)
        prompt_tokens = sum(each.prompt_tokens for each in rounds)
        yield "prompt_tokens", num_samples * prompt_tokens
        yield "cached_tokens", sum(each.cached_tokens for each in rounds) + (num_samples - 1) * prompt_tokens

    def _verification(self, texts: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Count the requests about pairs of the paper's length, the first of a passage without a cache."""
        for rule in self._rules if self.pairs_each else ():
            for text in texts:
                size = len(rule.request(text, _NO_PAIR).prompt_ids) + PAPER_PAIR_TOKENS
                cached = rule.prefix_tokens(text, _NO_PAIR) * max(self.pairs_each - 1, 0)
                yield "verify_requests", round(self.pairs_each)
                yield "verify_prompt_tokens", round(size * self.pairs_each)
                yield "verify_cached_tokens", round(cached)
                yield "verify_completion_tokens", round(rule.max_new_tokens * self.pairs_each)

    def _texts(self, sizes: Sequence[int], begins: Sequence[bool]) -> Iterator[tuple[str, int]]:
        """Count the texts of a chain from its documents' tokens with answers, and which must begin a text."""
        seq_len, num_ends = self.config.pack.seq_len, self._num_ends
        texts: list[int] = []
        for size, is_first in zip(sizes, begins, strict=True):
            if is_first or texts[-1] + size > seq_len:
                texts.append(num_ends)
            texts[-1] += size
        yield "texts", len(texts)
        yield "cut_texts", sum(size > seq_len for size in texts)
        if self.config.pack.method == "best_fit":
            yield "own_rows", sum(size // seq_len + (size % seq_len > seq_len // 2) for size in texts)
