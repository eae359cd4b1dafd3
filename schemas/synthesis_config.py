"""Configuration of synthesis: the section `synthesis` of a corpus's YAML."""

from __future__ import annotations

from typing import Any

import pydantic

from schemas.config import OneOrMore, Section

_OURS = frozenset(
    ("conversation", "chat_template", "tokenize", "add_generation_prompt", "date_string", "strftime_now")
)
"""Arguments of `apply_chat_template` that are no variables for users."""


class ServerConfig(Section):
    """SGLang servers that the workers start, one for each group of GPUs of their machine.

    Attributes:
        python: Python interpreter of the environment that SGLang is installed in.
        model: Directory or hub name of the served model; null serves synthesis.model.
        gpus_per_server: GPUs of one server (tensor parallelism); 0 starts one server without a GPU.
        startup_timeout_sec: Seconds until a starting server must be healthy; then the build fails.
        max_restarts: Restarts of a server that exits by itself; then the build fails.
        args: Arguments of `sglang.launch_server` by name, such as `mem-fraction-static: 0.8`. They override
            plugins/sglang/server_defaults.yaml. True passes the bare flag; null or false removes an argument.
        env: Further environment variables of the servers. Their values are not stored, but a job carries them
            to workers on other machines; set keys in the environment of the workers, which servers inherit.
    """

    python: str
    model: str | None = None
    gpus_per_server: int = pydantic.Field(default=1, ge=0)
    startup_timeout_sec: float = pydantic.Field(default=900.0, gt=0)
    max_restarts: int = pydantic.Field(default=3, ge=0)
    args: dict[str, str | int | float | bool | None] = pydantic.Field(default_factory=dict)
    env: dict[str, pydantic.SecretStr] = pydantic.Field(default_factory=dict)


class SynthesisConfig(Section):
    """The synthesizer that writes the pairs, and its requests.

    Attributes:
        backend: Name of a synthesizer: mined (rules, no model), recorded (a file of pairs), transformers (a
            model in the worker process), sglang (SGLang servers), openai (any server with OpenAI's API).
        protocol: Name of a protocol: chat (any instruct model), instruction_synthesizer (the published tag
            format). Unused by mined.
        model: Directory or hub name of the model; its tokenizer builds the prompts. For openai, the name by
            which the servers know the model. Null is for mined and recorded only.
        tokenizer: Directory or hub name of the model's tokenizer. Null takes that of `model`; for openai, if
            `model` is no directory, messages are counted with the tokenizer of the corpus.
        endpoints: URLs of running servers, or one URL, for sglang and openai.
        server: Servers that the workers start, for sglang; null uses `endpoints`.
        accelerator: Accelerator for the machines of the synthesis step only, in Dataflow's notation:
            `type:nvidia-l4;count:1;install-nvidia-driver`. Other runners may ignore it. Null asks for none.
        max_new_tokens: Maximum tokens generated for one document. A row reserves as many tokens for the
            pairs, up to half of the row, and longer documents are cut into parts. For mined pairs it reserves
            768.
        thinking_tokens: Maximum tokens that a model may think before an answer, beside `max_new_tokens`; the
            limit of a request is the sum of both. Thoughts are cut off and take no room in rows. 0 closes the
            block of thoughts that a chat template opens.
        chat_template_kwargs: Variables of the chat template, such as `enable_thinking: false`.
        context_tokens: Maximum tokens of prompt, thoughts and generation together.
        max_document_tokens: Maximum tokens of a document; longer documents are cut into parts at paragraphs,
            then sentences, then words. Null cuts only documents whose prompt does not fit, or that leave no
            room for pairs in a row. Counted with the tokenizer of `model`, or with the corpus's tokenizer if
            there is no model. A third of `context_tokens` leaves room for chains.
        temperature: Sampling temperature; 0 is greedy.
        samples: Generations for one document, which need a temperature above 0. Questions that an earlier
            sample of the document asked are dropped and counted. Each sample reserves `max_new_tokens` in a
            row. The examples of a chain are the pairs of each document's first sample.
        max_in_flight: Maximum requests in flight in one worker process.
        max_failure_share: Share of failed documents, 0 to 1, above which the run fails. A document fails if
            its request fails or its answer holds nothing readable; of several samples, if all fail.
        max_empty_share: Share of documents without pairs, 0 to 1, failed ones included, above which the run
            fails; 1 accepts runs without any pair. Exempt are later increments of fewer than 50 documents
            without a failure, and such a first increment if no model is asked.
        prompt_file: Prompt of protocol chat: `small` or null (plugins/protocols/chat_prompt.yaml), `strong`
            for models of some billion parameters (strong_chat_prompt.yaml), or a YAML file of your own.
        trust_remote_code: True lets Python code in the model's directory run.
        options: Options of the backend; see its page.
    """

    added_later = frozenset({"tokenizer", "thinking_tokens", "chat_template_kwargs", "samples"})

    backend: str = "mined"
    protocol: str = "chat"
    model: str | None = None
    tokenizer: str | None = None
    endpoints: OneOrMore = ()
    server: ServerConfig | None = None
    accelerator: str | None = pydantic.Field(
        default=None, pattern=r"^type:[a-z0-9-]+;count:[1-9][0-9]*(;[a-z0-9:._-]+)*$"
    )
    max_new_tokens: int = pydantic.Field(default=400, ge=1)
    thinking_tokens: int = pydantic.Field(default=0, ge=0)
    chat_template_kwargs: dict[str, Any] = pydantic.Field(default_factory=dict)
    context_tokens: int = pydantic.Field(default=4096, ge=16)
    max_document_tokens: int | None = pydantic.Field(default=None, ge=16)
    temperature: float = pydantic.Field(default=0.0, ge=0.0)
    samples: int = pydantic.Field(default=1, ge=1)
    max_in_flight: int = pydantic.Field(default=64, ge=1)
    max_failure_share: float = pydantic.Field(default=0.05, ge=0.0, le=1.0)
    max_empty_share: float = pydantic.Field(default=0.9, ge=0.0, le=1.0)
    prompt_file: str | None = None
    trust_remote_code: bool = False
    options: dict[str, Any] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _prompt_fits(self) -> SynthesisConfig:
        if self.answer_tokens >= self.context_tokens:
            thoughts = f" with thinking_tokens {self.thinking_tokens}" if self.thinking_tokens else ""
            raise ValueError(
                f"max_new_tokens {self.max_new_tokens}{thoughts} leaves no room for a prompt in "
                f"context_tokens {self.context_tokens}; lower the first or raise the second"
            )
        return self

    @pydantic.field_validator("chat_template_kwargs")
    @classmethod
    def _are_no_arguments_of_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in _OURS & set(value):
            raise ValueError(f"{name!r} is set by the protocol; name variables of the template only")
        return value

    @pydantic.model_validator(mode="after")
    def _samples_differ(self) -> SynthesisConfig:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples {self.samples} at temperature 0 would all be the same; set temperature, such as "
                "0.7, or samples: 1"
            )
        return self

    @property
    def answer_tokens(self) -> int:
        """Maximum tokens that one request generates: thoughts and answer."""
        return self.max_new_tokens + self.thinking_tokens
