"""M-shot chains: each document is prompted with the chain's earlier documents and their pairs.

    round 1   text₁                                     → pairs₁
    round 2   text₁ pairs₁ text₂                        → pairs₂
    round 3   text₁ pairs₁ text₂ pairs₂ text₃           → pairs₃

Examples reach back to the last break. The chain breaks before a document if the document before it got no
pairs, or if examples, document and generation do not fit into the context. A document after a break has no
examples and starts a new training text. A document without pairs stays raw and is no example. Each chain runs
through its rounds independently, so its prefix stays in a server's cache and no round waits for another
chain.

Repeated questions are dropped within one answer only, because few-shot texts need instructions that documents
of a chain share. Small models copy whole pairs from their prompt. A pair equal to an example in question and
response is dropped as a copy, unless it chooses among options (documents may have the same class) or its
response occurs in the document's own text. After an unreadable answer the protocol may ask once more; if the
second answer is unreadable too, the document has failed.

With `samples` above 1, a document has several generations: the first alone, so that a prefix cache then holds
its prompt, and the others together. Questions of an earlier sample are dropped. The first sample's pairs are
the document's examples, so that a change of `samples` changes neither the prompts of later rounds nor their
stored answers. A document fails if all its samples fail.

Source: Cheng et al. 2024, arXiv 2406.14491, section 2.2.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence, Set

from plugins.plain_token_ids import TokenIds
from plugins.protocols.base import Example, Parsed, SynthesisProtocol, pair_key, question_key
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest, Generator
from schemas.records import Chain, Document, Generation, InstructionPair, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig

_SHOWN_CHARACTERS = 200


def next_prompt(
    protocol: SynthesisProtocol,
    examples: Sequence[Example],
    document: Document,
    *,
    budget: int,
    answer_tokens: int = 0,
) -> tuple[TokenIds, Sequence[Example]]:
    """Return the prompt of a round, and the examples in it: all or none.

    The chain breaks if examples and document do not fit into `budget` tokens. An estimate does not know the
    pairs of the examples, and adds `answer_tokens` for each example.
    """
    prompt = protocol.prompt(examples, document)
    if examples and len(prompt) + len(examples) * answer_tokens > budget:
        return protocol.prompt((), document), ()
    return prompt, examples


async def run_chain(
    chain: Chain,
    *,
    protocol: SynthesisProtocol,
    generator: Generator,
    config: SynthesisConfig,
    count: Callable[[Generation], None],
) -> tuple[SynthesizedDocument, ...]:
    """Run one chain through its rounds; return a SynthesizedDocument for each document, in order.

    `failure` is set and the document stays raw if the prompt is too long, the request fails or the answer is
    unreadable. `count` is called with each received generation.
    """
    budget = config.context_tokens - config.answer_tokens

    async def generate(request: GenerationRequest) -> Generation | GenerationFailure:
        answer = await generator.generate(request)
        if isinstance(answer, Generation):
            count(answer)
        return answer

    async def ask(
        examples: Sequence[Example], document: Document, prompt: TokenIds, sample: int = 0
    ) -> tuple[Parsed, Generation] | GenerationFailure:
        """Ask about a document, and once more after an unreadable answer; return the last answer as well."""
        asking = protocol.for_sample(sample)
        if sample:
            prompt = asking.prompt(examples, document)
        if len(prompt) > budget:
            detail = f"the prompt has {len(prompt)} tokens, at most {budget} fit beside the generation"
            return GenerationFailure(reason="too_long", detail=detail)
        first = GenerationRequest(
            prompt_ids=prompt,
            messages=asking.messages(examples, document),
            max_new_tokens=config.answer_tokens,
            temperature=config.temperature,
            stop=protocol.stop,
            json_schema=protocol.json_schema,
            affinity=chain.chain_id,
            sample=sample,
            seed=sample if config.samples > 1 else None,
        )

        def repair(text: str) -> GenerationRequest | None:
            again = asking.repair(examples, document, text)
            if again is None:
                return None
            messages = asking.messages(examples, document, unreadable=text)
            return dataclasses.replace(first, prompt_ids=again, messages=messages)

        answer = await generate(dataclasses.replace(first, repair=repair))
        if isinstance(answer, GenerationFailure):
            return answer
        parsed = asking.read(answer.text)
        second = repair(answer.text) if parsed.unreadable else None
        if second is None or len(second.prompt_ids) > budget:
            return parsed, answer
        answer = await generate(second)
        if isinstance(answer, GenerationFailure):
            return answer
        return asking.read(answer.text), answer

    async def ask_all(
        examples: Sequence[Example], document: Document, prompt: TokenIds
    ) -> list[tuple[Parsed, Generation] | GenerationFailure]:
        """Ask for all samples; the first failure that ends a chain is the only result."""
        found = [await ask(examples, document, prompt)]
        if config.samples > 1 and not (isinstance(found[0], GenerationFailure) and found[0].ends_chain):
            rest = (ask(examples, document, prompt, sample) for sample in range(1, config.samples))
            found += await asyncio.gather(*rest)
        return found

    examples: Sequence[Example] = ()
    done: list[SynthesizedDocument] = []
    lost: GenerationFailure | None = None
    for document in chain.documents:
        if lost is not None:
            found: list[tuple[Parsed, Generation] | GenerationFailure] = [lost]
        else:
            prompt, examples = next_prompt(protocol, examples, document, budget=budget)
            found = await ask_all(examples, document, prompt)
        shown = set(map(pair_key, protocol.worked_pairs))
        shown.update(pair_key(pair) for example in examples for pair in example.pairs)
        made, first_pairs = _together(found, document, shown)
        lost = next((each for each in found if isinstance(each, GenerationFailure) and each.ends_chain), None)
        is_shown = bool(made.pairs) and bool(examples)
        done.append(dataclasses.replace(made, follows_previous=is_shown))
        examples = [*examples, Example(document=document, pairs=first_pairs)] if first_pairs else ()
    return tuple(done)


def _together(
    found: Sequence[tuple[Parsed, Generation] | GenerationFailure], document: Document, shown: Set[str]
) -> tuple[SynthesizedDocument, tuple[InstructionPair, ...]]:
    """Put the samples of a document together; return the pairs of the first sample as well.

    `shown` are the keys of the pairs in the prompt.
    """
    failures = [
        f"{each.reason}: {each.detail}"
        if isinstance(each, GenerationFailure)
        else (_unreadable(each[1]) if each[0].unreadable else "")
        for each in found
    ]
    answers = [each for each in found if not isinstance(each, GenerationFailure)]
    failure = "" if "" in failures else failures[0]
    if not answers:
        return SynthesizedDocument(document=document, failure=failure), ()
    dropped = Counter(bad_pieces=0, repeated_questions=0, copied_pairs=0)
    kept: list[InstructionPair] = []
    asked: set[str] = set()
    first_pairs: tuple[InstructionPair, ...] = ()
    for number, each in enumerate(found):
        if isinstance(each, GenerationFailure):
            continue
        parsed, _ = each
        pairs = tuple(
            pair for pair in parsed.pairs if pair_key(pair) not in shown or _may_come_again(pair, document)
        )
        dropped["bad_pieces"] += parsed.num_bad_pieces
        dropped["repeated_questions"] += parsed.num_repeated
        dropped["copied_pairs"] += len(parsed.pairs) - len(pairs)
        if number == 0:
            first_pairs = pairs
        fresh = [pair for pair in pairs if question_key(pair) not in asked]
        if len(found) > 1:
            dropped["repeated_in_samples"] += len(pairs) - len(fresh)
        asked.update(map(question_key, fresh))
        kept += fresh
    if len(found) > 1:
        dropped["failed_samples"] = len(failures) - failures.count("")
    made = SynthesizedDocument(
        document=document,
        pairs=tuple(kept),
        failure=failure,
        generation=" ".join(answer.key for _, answer in answers).strip(),
        dropped=dict(dropped),
    )
    return made, first_pairs


def _may_come_again(pair: InstructionPair, document: Document) -> bool:
    """True if a pair that equals an example may belong to this document too."""
    own = re.compile(rf"(?<!\w){re.escape(pair.response)}(?!\w)", re.IGNORECASE)
    return bool(pair.options) or own.search(document.text) is not None


def _unreadable(answer: Generation) -> str:
    beginning = answer.text[:_SHOWN_CHARACTERS]
    return f"unreadable: no pair in the answer (finished by {answer.finish_reason}): {beginning!r}"
