"""Protocols by name: how a language model is asked for pairs, and how its answer is read."""

from plugins.registry import Registry

PROTOCOLS = Registry(
    "protocol",
    "tutelage.protocols",
    {
        "chat": "plugins.protocols.chat_json:ChatProtocol",
        "instruction_synthesizer": "plugins.protocols.instruction_synthesizer:InstructionSynthesizerProtocol",
    },
)
