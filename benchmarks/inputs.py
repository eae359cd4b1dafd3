"""What the benchmarks of synthesis are fed with."""

from __future__ import annotations

from schemas.records import Chain, Document

NUM_ROUNDS = 3
_WORDS = tuple(
    [
        "the",
        "cell",
        "protein",
        "binds",
        "dose",
        "in",
        "trial",
        "of",
        "a",
        "patient",
        "question",
        "answer",
        "text",
        "which",
        "what",
        "after",
    ]
)


def make_chains(count: int, num_words: int = 60) -> list[Chain]:
    """Chains of NUM_ROUNDS documents, all different."""
    chains = []
    for number in range(count):
        documents = tuple(
            Document.of(
                f"{number}-{position}",
                f"Case {number} {position}. "
                + " ".join(
                    _WORDS[(number * 7 + position * 5 + at * at) % len(_WORDS)] for at in range(num_words)
                ),
                source="benchmark",
            )
            for position in range(NUM_ROUNDS)
        )
        chains.append(Chain(chain_id=f"chain-{number}", documents=documents))
    return chains


def tiny_tokenizer(folder: str) -> str:
    """Save a byte-level BPE tokenizer with BOS and EOS; gives its directory."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(_WORDS)] * 4, trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(
        folder
    )
    return folder
