"""Ask a model: `tutelage chat --model DIR_OR_NAME [--prompt TEXT]`.

An instruction-tuned model gets the prompt in its chat template; a base model, or any model with `--raw`,
continues the text of the prompt. Answers are greedy and appear while they are generated.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from plugins.adapter_folder import tokenizer_of
from plugins.causal_lm import load_causal_lm
from plugins.commands.parser import Parser
from plugins.tokenizers import load_tokenizer, opening_ids
from schemas.errors import ConfigError, TutelageError, report
from trainer.startup.config_checks import check_model_name


def main(argv: list[str]) -> int:
    """Run the command; return the exit status."""
    parser = Parser(prog="tutelage chat", description="Ask a model.")
    parser.add_argument(
        "--model", required=True, metavar="DIR_OR_NAME", help="directory or hub name of a model or adapter"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="ask once; without it, ask on the terminal")
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="longest answer (256)")
    parser.add_argument("--raw", action="store_true", help="continue the text, without the chat template")
    parser.add_argument(
        "--weights-may-differ", action="append", default=[], metavar="REGEX",
        help="weights that may be missing from the model's files or differ from them in the loaded model; "
        "any other such weight is an error; repeat for several",
    )  # fmt: skip
    args = parser.parse_args(argv)
    try:
        if args.max_new_tokens < 1:
            raise ConfigError(f"--max-new-tokens is {args.max_new_tokens}; expected at least 1.")
        if args.prompt is None and not sys.stdin.isatty():
            raise ConfigError("--prompt is missing, and stdin is no terminal. Give --prompt TEXT.")
        check_model_name("--model", args.model, may_be_adapter=True)
        chat = Chat(
            args.model, max_new_tokens=args.max_new_tokens, raw=args.raw, may_differ=args.weights_may_differ
        )
        if args.prompt is not None:
            chat.answer(args.prompt)
        else:
            chat.converse()
    except TutelageError as error:
        return report(error)
    except KeyboardInterrupt:
        print()
    return 0


class Chat:
    """A model, its tokenizer, and the conversation so far.

    Args:
        name: Directory or hub name of a model or adapter.
        max_new_tokens: Longest answer, in tokens.
        raw: Whether the model continues the text even if it has a chat template.
        may_differ: Regular expressions of weights that may differ between its files and the model.

    Raises:
        ConfigError: The model cannot be loaded.
    """

    def __init__(self, name: str, *, max_new_tokens: int, raw: bool, may_differ: Sequence[str] = ()):
        import torch

        self.tokenizer = load_tokenizer(tokenizer_of("--model", name))
        self.templated = bool(self.tokenizer.chat_template) and not raw
        if self.templated:
            # A chat template contains special tokens as strings.
            self.tokenizer.split_special_tokens = False
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = load_causal_lm(
            "--model",
            name,
            may_differ=may_differ,
            naming="--weights-may-differ",
            torch_dtype=torch.bfloat16 if device == "cuda" else torch.float32,  # bfloat16 is slow on CPUs
        )
        self.model = model.to(device).eval()
        self.max_new_tokens = max_new_tokens
        self.messages: list[dict[str, str]] = []

    def answer(self, prompt: str) -> str:
        """Print and return the answer to `prompt`; a templated chat remembers both."""
        if self.templated:
            self.messages.append({"role": "user", "content": prompt})
            inputs = self.tokenizer.apply_chat_template(
                self.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        else:
            import torch

            # The tokenizer's opening, but no end: a model does not continue after BERT's [SEP] or T5's EOS.
            ids = [*opening_ids(self.tokenizer), *self.tokenizer(prompt, add_special_tokens=False).input_ids]
            tokens_1T = torch.tensor([ids], dtype=torch.int64)
            inputs = {"input_ids": tokens_1T, "attention_mask": torch.ones_like(tokens_1T)}
        if inputs["input_ids"].shape[1] == 0:
            raise ConfigError("--prompt is empty, and this model has no chat template. Give it some text.")
        text = self._generate(inputs)
        if self.templated:
            self.messages.append({"role": "assistant", "content": text})
        return text

    def converse(self) -> None:
        """Ask on the terminal until an empty line or the end of input."""
        kind = "chat" if self.templated else "plain completion"
        print(f"{kind}; an empty line or Ctrl-D ends it", file=sys.stderr)
        while True:
            try:
                prompt = input("> ")
            except EOFError:
                return
            if not prompt.strip():
                return
            self.answer(prompt)

    def _generate(self, inputs: Any) -> str:
        """Print the answer while it is generated, and return it."""
        from transformers import TextStreamer

        options = {"skip_special_tokens": True}
        try:
            ids_1T = self.model.generate(
                **{name: inputs[name].to(self.model.device) for name in ("input_ids", "attention_mask")},
                streamer=TextStreamer(self.tokenizer, skip_prompt=True, **options),
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                temperature=None,  # unset the sampling options of the model's own generation config
                top_p=None,
                top_k=None,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
            )
        except Exception as error:  # each model fails in its own way
            raise TutelageError(f"the model could not answer: {error}") from error
        return str(self.tokenizer.decode(ids_1T[0, inputs["input_ids"].shape[1] :], **options))


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
