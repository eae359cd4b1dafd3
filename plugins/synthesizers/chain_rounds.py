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

Source: Cheng et al. 2024, arXiv 2406.14491, section 2.2.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from plugins.plain_token_ids import TokenIds
from plugins.protocols.base import Example, Parsed, SynthesisProtocol, pair_key
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
    budget = config.context_tokens - config.max_new_tokens

    async def generate(
        prompt: TokenIds, repair: Callable[[str], TokenIds | None] | None = None
    ) -> Generation | GenerationFailure:
        answer = await generator.generate(
            GenerationRequest(
                prompt_ids=prompt,
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                stop=protocol.stop,
                json_schema=protocol.json_schema,
                affinity=chain.chain_id,
                repair=repair,
            )
        )
        if isinstance(answer, Generation):
            count(answer)
        return answer

    async def ask(prompt: TokenIds, document: Document) -> tuple[Parsed, Generation] | GenerationFailure:
        """Ask about a document, and once more after an unreadable answer; return the last answer as well."""
        answer = await generate(prompt, repair=functools.partial(protocol.repair, examples, document))
        if isinstance(answer, GenerationFailure):
            return answer
        parsed = protocol.read(answer.text)
        again = protocol.repair(examples, document, answer.text) if parsed.unreadable else None
        if again is None or len(again) > budget:
            return parsed, answer
        answer = await generate(again)
        if isinstance(answer, GenerationFailure):
            return answer
        return protocol.read(answer.text), answer

    examples: Sequence[Example] = ()
    done: list[SynthesizedDocument] = []
    lost: GenerationFailure | None = None
    for document in chain.documents:
        found: tuple[Parsed, Generation] | GenerationFailure
        if lost is not None:
            found = lost
        else:
            prompt, examples = next_prompt(protocol, examples, document, budget=budget)
            if len(prompt) > budget:
                detail = f"the prompt has {len(prompt)} tokens, at most {budget} fit beside the generation"
                found = GenerationFailure(reason="too_long", detail=detail)
            else:
                found = await ask(prompt, document)
        if isinstance(found, GenerationFailure):
            done.append(SynthesizedDocument(document=document, failure=f"{found.reason}: {found.detail}"))
            examples = ()
            lost = found if found.ends_chain else None
            continue
        parsed, answer = found
        shown = set(map(pair_key, protocol.worked_pairs))
        shown.update(pair_key(pair) for example in examples for pair in example.pairs)
        pairs = tuple(
            pair for pair in parsed.pairs if pair_key(pair) not in shown or _may_come_again(pair, document)
        )
        done.append(
            SynthesizedDocument(
                document=document,
                pairs=pairs,
                follows_previous=bool(pairs) and bool(examples),
                failure=_unreadable(answer) if parsed.unreadable else "",
                generation=answer.key,
                dropped={
                    "bad_pieces": parsed.num_bad_pieces,
                    "repeated_questions": parsed.num_repeated,
                    "copied_pairs": len(parsed.pairs) - len(pairs),
                },
            )
        )
        examples = [*examples, Example(document=document, pairs=pairs)] if pairs else ()
    return tuple(done)


def _may_come_again(pair: InstructionPair, document: Document) -> bool:
    """True if a pair that equals an example may belong to this document too."""
    own = re.compile(rf"(?<!\w){re.escape(pair.response)}(?!\w)", re.IGNORECASE)
    return bool(pair.options) or own.search(document.text) is not None


def _unreadable(answer: Generation) -> str:
    beginning = answer.text[:_SHOWN_CHARACTERS]
    return f"unreadable: no pair in the answer (finished by {answer.finish_reason}): {beginning!r}"
