"""M-shot chains: each document is prompted with the chain's earlier documents and their pairs.

    round 1   text₁                                     → pairs₁
    round 2   text₁ pairs₁ text₂                        → pairs₂
    round 3   text₁ pairs₁ text₂ pairs₂ text₃           → pairs₃

Earlier examples reach back until the last break. The chain breaks before a document if the one before
it got no pairs, or if examples and document do not fit into the context beside the generation. A
document after a break is prompted alone and starts a new training text. A document that yields no
pairs stays raw and joins nothing. A question that the chain has asked before is dropped: small models
copy those of their examples. One chain is driven through its rounds on its own, so that its
prefix stays warm in a server's cache and no round waits for another chain.

Source: Cheng et al. 2024, arXiv 2406.14491, section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable

from plugins.protocols.base import Example, SynthesisProtocol, question_key
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest, Generator
from schemas.corpus_config import SynthesisConfig
from schemas.records import Chain, Generation, SynthesizedDocument


async def run_chain(
    chain: Chain,
    *,
    protocol: SynthesisProtocol,
    generator: Generator,
    config: SynthesisConfig,
    count: Callable[[Generation], None],
) -> tuple[SynthesizedDocument, ...]:
    """Drive one chain through its rounds.

    Args:
        chain: The documents, in round order.
        protocol: Builds prompts and parses answers.
        generator: Answers them.
        config: Token limits and sampling.
        count: Called with each generation received.

    Returns:
        One SynthesizedDocument for each document, in order. A document whose prompt alone is too long,
        or whose request failed, has `failure` set and goes on raw.
    """
    budget = config.context_tokens - config.max_new_tokens
    examples: list[Example] = []
    asked: set[str] = set()
    done: list[SynthesizedDocument] = []
    lost: GenerationFailure | None = None
    for document in chain.documents:
        if lost is not None:
            done.append(SynthesizedDocument(document=document, failure=f"{lost.reason}: {lost.detail}"))
            continue
        prompt = protocol.prompt(examples, document)
        if examples and len(prompt) > budget:
            examples = []
            prompt = protocol.prompt(examples, document)
        if len(prompt) > budget:
            detail = f"the prompt has {len(prompt)} tokens, at most {budget} fit beside the generation"
            done.append(SynthesizedDocument(document=document, failure=f"too_long: {detail}"))
            examples = []
            continue
        answer = await generator.generate(
            GenerationRequest(
                prompt_ids=tuple(prompt),
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                stop=protocol.stop,
                affinity=chain.chain_id,
            )
        )
        if isinstance(answer, GenerationFailure):
            done.append(SynthesizedDocument(document=document, failure=f"{answer.reason}: {answer.detail}"))
            examples = []
            lost = answer if answer.ends_chain else None
            continue
        count(answer)
        parsed = protocol.parse(answer.text)
        pairs = tuple(pair for pair in parsed.pairs if question_key(pair) not in asked)
        asked.update(map(question_key, pairs))
        done.append(
            SynthesizedDocument(
                document=document, pairs=pairs, follows_previous=bool(pairs) and bool(examples)
            )
        )
        if pairs:
            examples.append(Example(document=document, pairs=pairs))
        else:
            examples = []
    return tuple(done)
