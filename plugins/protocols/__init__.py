"""Protocols by name: they build prompts for a language model and parse pairs out of its answers."""

from plugins.registry import Registry

PROTOCOLS = Registry(
    "protocol",
    "tutelage.protocols",
    {
        "chat": "plugins.protocols.chat_json:ChatProtocol",
        "instruction_synthesizer": "plugins.protocols.instruction_synthesizer:InstructionSynthesizerProtocol",
    },
)
