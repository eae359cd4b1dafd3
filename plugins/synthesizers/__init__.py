"""Synthesizers by name: they write instruction-response pairs about documents.

    Chain ─► Synthesizer.synthesize ─► SynthesizedDocument, one for each document of the chain

`mined` finds pairs by rules, `recorded` reads them from a file; both need no model. The others drive a
language model through the rounds of a chain (`chain_rounds.py`) with a protocol; they differ in the Generator
that answers a prompt.
"""

from plugins.registry import Registry

SYNTHESIZERS = Registry(
    "synthesizer",
    "tutelage.synthesizers",
    {
        "mined": "plugins.synthesizers.mined:MinedSynthesizer",
        "openai": "plugins.synthesizers.openai:OpenAISynthesizer",
        "recorded": "plugins.synthesizers.recorded:RecordedSynthesizer",
        "sglang": "plugins.synthesizers.sglang:SGLangSynthesizer",
        "transformers": "plugins.synthesizers.transformers:TransformersSynthesizer",
    },
)
