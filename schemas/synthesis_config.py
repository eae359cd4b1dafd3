"""Configuration of synthesis: the section `synthesis` of a corpus's YAML."""

from __future__ import annotations

from typing import Any

import pydantic

from schemas.config import OneOrMore, Section


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
        backend: Name of a synthesizer: mined (rules, no model), transformers (a model in the worker process),
            sglang (servers).
        protocol: Name of a protocol: chat (any instruct model), instruction_synthesizer (the published tag
            format). Unused by mined.
        model: Directory or hub name of the model; its tokenizer builds the prompts. Null is for mined only.
        endpoints: URLs of running servers, or one URL, for sglang.
        server: Servers that the workers start, for sglang; null uses `endpoints`.
        accelerator: Accelerator for the machines of the synthesis step only, in Dataflow's notation:
            `type:nvidia-l4;count:1;install-nvidia-driver`. Other runners may ignore it. Null asks for none.
        max_new_tokens: Maximum tokens generated for one document. A row reserves as many tokens for the
            pairs, up to half of the row, and longer documents are cut into parts. For mined pairs it reserves
            768.
        context_tokens: Maximum tokens of prompt and generation together.
        max_document_tokens: Maximum tokens of a document; longer documents are cut into parts at paragraphs,
            then sentences, then words. Null cuts only documents whose prompt does not fit, or that leave no
            room for pairs in a row. Counted with the tokenizer of `model`, or with the corpus's tokenizer if
            there is no model. A third of `context_tokens` leaves room for chains.
        temperature: Sampling temperature; 0 is greedy.
        max_in_flight: Maximum requests in flight in one worker process.
        max_failure_share: Share of failed documents, 0 to 1, above which the run fails. A document fails if
            its request fails or its answer holds nothing readable.
        max_empty_share: Share of documents without pairs, 0 to 1, failed ones included, above which the run
            fails; 1 accepts runs without any pair. Exempt are later increments of fewer than 50 documents
            without a failure, and such a first increment if no model is asked.
        prompt_file: YAML file with your own prompt for protocol chat; null takes the built-in prompt,
            plugins/protocols/chat_prompt.yaml.
        trust_remote_code: True lets Python code in the model's directory run.
        options: Options of the backend; see its page.
    """

    backend: str = "mined"
    protocol: str = "chat"
    model: str | None = None
    endpoints: OneOrMore = ()
    server: ServerConfig | None = None
    accelerator: str | None = pydantic.Field(
        default=None, pattern=r"^type:[a-z0-9-]+;count:[1-9][0-9]*(;[a-z0-9:._-]+)*$"
    )
    max_new_tokens: int = pydantic.Field(default=400, ge=1)
    context_tokens: int = pydantic.Field(default=4096, ge=16)
    max_document_tokens: int | None = pydantic.Field(default=None, ge=16)
    temperature: float = pydantic.Field(default=0.0, ge=0.0)
    max_in_flight: int = pydantic.Field(default=64, ge=1)
    max_failure_share: float = pydantic.Field(default=0.05, ge=0.0, le=1.0)
    max_empty_share: float = pydantic.Field(default=0.9, ge=0.0, le=1.0)
    prompt_file: str | None = None
    trust_remote_code: bool = False
    options: dict[str, Any] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _prompt_fits(self) -> SynthesisConfig:
        if self.max_new_tokens >= self.context_tokens:
            raise ValueError(
                f"max_new_tokens {self.max_new_tokens} leaves no room for a prompt in "
                f"context_tokens {self.context_tokens}; lower the first or raise the second"
            )
        return self
