"""Evaluation of a model behind a running SGLang server.

    choice       prompt and option as token ids ─► log-probabilities of the option's tokens ─► their mean
    generation   the prompt's token ids ─► greedy, up to a newline
    perplexity   each window's token ids ─► log-probabilities of its scored tokens ─► their sum over windows

Rows are tokenised and truncated here, as for a model in this process. The first option of a row is sent
before the others; the server then takes their prompt from its prefix cache, so it reads each prompt once. The
server computes log-probabilities from logits in the model's precision, unless it was started with float32
logits.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from plugins.synthesizers.generator import GenerationFailure
from plugins.tasks.rows import ChoiceRow, GenerateRow, RefusedRow, Row, TextRow
from schemas.errors import ConfigError, TutelageError
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.choice import choose
from trainer.evaluation.scoring.encoding import EncodedRow, encode_row
from trainer.evaluation.scoring.generation import encode_prompts
from trainer.evaluation.scoring.perplexity import Windows, encode_text, text_opening

if TYPE_CHECKING:
    from plugins.sglang.client import SGLangClient

RowT = TypeVar("RowT", ChoiceRow, GenerateRow, TextRow)

_MAX_IN_FLIGHT = 64
_PATIENCE_SEC = 60
_CONNECT_SEC = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A running server and the model that it serves.

    Attributes:
        url: Such as `http://127.0.0.1:30000`.
        name: The model's directory or hub name on the server's command line.
        tokenizer_name: The tokenizer's directory or hub name on the server's command line.
        context_tokens: Longest request, in tokens.
    """

    url: str
    name: str
    tokenizer_name: str
    context_tokens: int

    @classmethod
    def connect(cls, url: str) -> ServedModel:
        """Ask a server for its model.

        Raises:
            ConfigError: The URL is not valid, or no SGLang server answers there.
        """
        from plugins.servers.urls import check_endpoint  # not needed in training

        url = check_endpoint(url, "--server")
        info = _get(url, "server_info", "get_server_info")
        try:
            return cls(
                url=url,
                name=info["model_path"],
                tokenizer_name=info.get("tokenizer_path") or info["model_path"],
                context_tokens=int(info["max_req_input_len"]) - 1,
            )
        except (KeyError, TypeError, ValueError):
            raise ConfigError(
                f"--server {url!r} answers, but is no SGLang server; give the URL of an SGLang server."
            ) from None

    def answer_choices(
        self, rows: Sequence[ChoiceRow], tokenizer: Any, *, add_bos: bool
    ) -> list[Answer | RefusedRow]:
        """Score the options of rows; one outcome per row, in their order.

        Raises:
            TutelageError: The server cannot be reached, or fails at a row after all retries.
        """

        async def score(client: SGLangClient, index: int, row: ChoiceRow) -> Answer | RefusedRow:
            encoded = encode_row(index, row, tokenizer, add_bos=add_bos, context_tokens=self.context_tokens)
            if isinstance(encoded, RefusedRow):
                return encoded
            # The first request puts the prompt into the prefix cache for the others.
            first = await _mean_logprob(client, encoded, 0)
            others = range(1, len(encoded.sequences))
            rest = await asyncio.gather(*(_mean_logprob(client, encoded, option) for option in others))
            scores = [first, *rest]
            if failed := [each for each in scores if isinstance(each, GenerationFailure)]:
                return _refused(row, failed[0])
            return choose(encoded, [each for each in scores if isinstance(each, float)])

        return self._each(rows, score)

    def answer_prompts(
        self, rows: Sequence[GenerateRow], tokenizer: Any, *, add_bos: bool, max_new_tokens: int
    ) -> list[Answer | RefusedRow]:
        """Continue rows greedily up to a newline; one outcome per row, in their order.

        Raises:
            ConfigError: The answer leaves no room for a prompt.
            TutelageError: The server cannot be reached, or fails at a row after all retries.
        """
        encoded = encode_prompts(
            rows,
            tokenizer,
            add_bos=add_bos,
            context_tokens=self.context_tokens,
            max_new_tokens=max_new_tokens,
        )
        sampling: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": 0.0, "stop": ["\n"]}
        if ends := getattr(tokenizer, "end_of_turn_ids", None):
            sampling["stop_token_ids"] = sorted(ends)

        async def ask(client: SGLangClient, index: int, row: GenerateRow) -> Answer | RefusedRow:
            prompt = encoded[index]
            if isinstance(prompt, RefusedRow):
                return prompt
            answer = await client.send({"input_ids": prompt.token_ids, "sampling_params": sampling})
            if isinstance(answer, GenerationFailure):
                return _refused(row, answer)
            return Answer(value=answer.text.split("\n", 1)[0].strip(), is_truncated=prompt.is_truncated)

        return self._each(rows, ask)

    def answer_texts(
        self, rows: Sequence[TextRow], tokenizer: Any, *, add_bos: bool | None, windows: Windows
    ) -> list[Answer | RefusedRow]:
        """Score held-out texts, one request a window; one outcome per row, in their order.

        Raises:
            ConfigError: Nothing opens a text.
            TutelageError: The server cannot be reached, or fails at a row after all retries.
        """
        opening = text_opening(tokenizer, add_bos)

        async def score(client: SGLangClient, index: int, row: TextRow) -> Answer | RefusedRow:
            encoded = encode_text(index, row, tokenizer, opening=opening, windows=windows)
            if isinstance(encoded, RefusedRow):
                return encoded
            logprobs: list[float] = []
            for found in await asyncio.gather(
                *(client.logprobs(each.ids, each.start) for each in encoded.windows)
            ):
                if isinstance(found, GenerationFailure):
                    return _refused(row, found)
                logprobs += found
            return encoded.answer(row, logprobs)

        return self._each(rows, score)

    def _each(
        self,
        rows: Sequence[RowT],
        answer: Callable[[SGLangClient, int, RowT], Awaitable[Answer | RefusedRow]],
    ) -> list[Answer | RefusedRow]:
        from plugins.servers.retries import ClientOptions
        from plugins.sglang.client import SGLangClient  # training does without

        async def run() -> list[Answer | RefusedRow]:
            options = ClientOptions(max_in_flight=_MAX_IN_FLIGHT, patience_sec=_PATIENCE_SEC)
            client = SGLangClient([self.url], options)
            # Rows start in order, a few at a time, so that a row's prompt is still cached for its options.
            slots = asyncio.Semaphore(_MAX_IN_FLIGHT)

            async def one(index: int, row: RowT) -> Answer | RefusedRow:
                async with slots:
                    return await answer(client, index, row)

            tasks = [asyncio.create_task(one(index, row)) for index, row in enumerate(rows)]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await client.close()

        return asyncio.run(run())


async def _mean_logprob(client: SGLangClient, row: EncodedRow, option: int) -> float | GenerationFailure:
    ids, start = row.sequences[option], row.starts[option]
    logprobs = await client.logprobs(ids, start)
    return logprobs if isinstance(logprobs, GenerationFailure) else math.fsum(logprobs) / len(logprobs)


def _refused(row: Row, failure: GenerationFailure) -> RefusedRow:
    """Refuse the row if the server refuses it; raise for any other failure, which is not the row's fault."""
    if failure.reason == "refused":
        return RefusedRow(position=row.position, reason=f"the server refuses it: {failure.detail}")
    raise TutelageError(f"{row.position}: the server gave no answer ({failure.reason}): {failure.detail}")


def _get(url: str, *paths: str) -> Any:
    """The JSON at the first of these paths that answers: versions of SGLang have different paths."""
    from plugins.servers.http import Http
    from plugins.servers.json_answers import parse  # not needed in training
    from plugins.servers.urls import base_url_hint

    async def ask() -> Any:
        http = Http([url], limit=1, timeout_sec=_CONNECT_SEC)
        problem: object = None
        try:
            for path in paths:
                try:
                    answer = await http.get(url, f"/{path}", timeout_sec=_CONNECT_SEC)
                    if answer.status == 200:
                        return parse(answer.body)
                    problem = f"HTTP {answer.status}"
                except (ConnectionError, TimeoutError, ValueError) as error:
                    problem = error
        finally:
            await http.close()
        raise ConfigError(
            f"--server {url!r} does not report its model: {problem}. Give the URL of a running "
            f"SGLang server, such as http://127.0.0.1:30000{base_url_hint(url)}."
        )

    return asyncio.run(ask())
