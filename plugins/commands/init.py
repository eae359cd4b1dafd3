"""`tutelage init`: a corpus YAML and a training YAML to begin with, from flags or from answers on a terminal.

The files are commented, name the JSON Schemas that are written beside them, and pass `tutelage corpus plan`
and, once the corpus is built, `tutelage train --dry-run`. No file is ever overwritten.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from plugins.commands.parser import Parser
from plugins.servers.urls import check_endpoint
from schemas.errors import ConfigError
from schemas.json_schema import FOLDER, first_line

_NO_SERVER = "none"

_QUESTIONS = {
    "documents": ("Folder of your documents", None),
    "domain": ("Name of the domain, for folders and runs", "domain"),
    "model": ("Model to train: a directory or a name on the hub", "models/smollm2-135m"),
    "server": ("URL of a server with OpenAI's API that writes pairs, or none", _NO_SERVER),
    "server_model": ("Name of the model that this server serves", None),
    "gpus": ("GPUs to train on; 0 is this machine's CPU", "0"),
}
"""Questions with their defaults, by option."""


def main(argv: Sequence[str]) -> int:
    """Run the command; return the exit status."""
    parser = Parser(
        prog="tutelage init", description="Write a corpus YAML and a training YAML to begin with."
    )
    parser.add_argument("--documents", metavar="DIR", help="folder of your documents, of any kinds of files")
    parser.add_argument("--domain", metavar="NAME", help="name of the domain (default: domain)")
    parser.add_argument(
        "--model", metavar="DIR_OR_NAME", help="model to train (default: models/smollm2-135m)"
    )
    parser.add_argument(
        "--server", metavar="URL", help="server with OpenAI's API that writes the pairs, or none (default)"
    )
    parser.add_argument("--server-model", metavar="NAME", help="name of the model that the server serves")
    parser.add_argument("--gpus", metavar="N", help="GPUs to train on; 0, the default, is a CPU")
    parser.add_argument("--output", metavar="DIR", default=".", help="folder of the files (default: here)")
    arguments = parser.parse_args(argv)
    given = {name: getattr(arguments, name) for name in _QUESTIONS}
    output = Path(arguments.output)
    _refuse_existing(output, ("corpus.yaml", "train.yaml"))  # before anybody answers questions
    asks = sys.stdin.isatty()
    for name in _QUESTIONS:
        if given[name] is None and not (name == "server_model" and given["server"] == _NO_SERVER):
            given[name] = _answer(name, asks=asks)
    for path in write(given, output):
        print(path)
    folder = "" if output == Path(".") else f"{output}/"
    for line in _next_steps(given, folder):
        print(line, file=sys.stderr)
    return 0


def _answer(name: str, *, asks: bool) -> str:
    """Ask for a value on a terminal, until it can be used; elsewhere take its default."""
    question, default = _QUESTIONS[name]
    while asks:
        try:
            answer = input(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
        except KeyboardInterrupt:
            print()
            raise
        except EOFError:
            print()
            raise ConfigError("the answers ended before the last question. Nothing was written.") from None
        if answer is None:
            continue
        answer = os.path.expanduser(answer)  # which a shell does with an option
        try:
            _check(name, answer)
        except ConfigError as error:
            print(error)
        else:
            return answer
    if default is None:
        raise ConfigError(f"{_option(name)} is missing: {question[0].lower()}{question[1:]}.")
    return default


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check(name: str, answer: str) -> None:
    """Raise a ConfigError if an answer cannot be used."""
    option = _option(name)
    if name == "documents" and not Path(answer).is_dir():
        raise ConfigError(f"{option} {answer!r} is no folder. Give the folder of your documents.")
    if name == "documents" and not any(Path(answer).iterdir()):
        raise ConfigError(f"{option} {answer!r} is empty. Put your documents there, or give another folder.")
    if name == "domain" and not re.fullmatch(r"[A-Za-z0-9_-]+", answer):
        raise ConfigError(f"{option} {answer!r} may hold letters, digits, - and _ only.")
    if name == "gpus" and not re.fullmatch(r"[0-9]{1,5}", answer):
        raise ConfigError(f"{option} is {answer!r}; expected a number, 0 for a CPU.")
    if name == "server" and answer != _NO_SERVER:
        check_endpoint(answer, option)
    if not answer.isascii() and any("\ud800" <= each <= "\udfff" for each in answer):
        raise ConfigError(f"{option} {answer!r} is not UTF-8, as a YAML file is. Rename it.")


def write(given: dict[str, str], output: Path) -> list[Path]:
    """Check the answers, write the files, and return their paths.

    Raises:
        ConfigError: An answer cannot be used, or a file exists already; nothing was written.
    """
    for name, answer in given.items():
        if answer is not None:
            _check(name, answer)
    texts = {
        "corpus.yaml": _corpus(given),
        "train.yaml": _training(given),
        **{path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.json"))},
    }
    kept = {name for name in texts if name.endswith(".json") and _holds(output / name, texts[name])}
    _refuse_existing(output, sorted(texts.keys() - kept))
    output.mkdir(parents=True, exist_ok=True)
    for name in texts.keys() - kept:
        with open(output / name, "x", encoding="utf-8") as file:
            file.write(texts[name])
    return [output / name for name in texts]


def _refuse_existing(output: Path, names: Iterable[str]) -> None:
    for name in names:
        if (output / name).exists():
            raise ConfigError(
                f"{output / name} exists already. Give another --output, or move the file away."
            )


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _corpus(given: dict[str, str]) -> str:
    if given["server"] == _NO_SERVER:
        synthesis = """\
synthesis:
  # Rules write the pairs: without a model and in seconds, but plainer ones, from English texts only.
  # For better pairs, name a server: backend: openai, model: NAME, endpoints: [URL] (docs/openai.md).
  backend: mined
"""
    else:
        synthesis = f"""\
synthesis:
  # A server with OpenAI's API writes the pairs (docs/openai.md); no answer is asked for twice.
  backend: openai
  model: {_text(given["server_model"])} # the name by which the server knows it
  endpoints: [{_text(given["server"])}]
  max_new_tokens: 400 # for the pairs about one document
  # options: {{api_key_env: MY_KEY}} # the variable that holds a key, if the server wants one
"""
    return f"""\
{first_line("corpus.schema.json")}\
# Corpus of {given["domain"]}. Paths are relative to the working directory.
#   tutelage check FILE          what is wrong with it
#   tutelage corpus plan FILE    documents, requests, tokens; sends nothing
#   tutelage corpus build FILE   the same again adds only what is new
corpus: runs/{given["domain"]}/corpus

streams:
  domain:
    synthesize: true # write instruction-response pairs about each document; false trains on the texts alone
    sources:
      - uri: {_text(given["documents"])} # each file is read by its kind: PDF, HTML, Word, text, JSON lines, …
        metadata_fields: [title]

# holdout: 1% # keeps documents out of training, for `tutelage tasks make` (docs/evaluation.md)

{synthesis}
tokenizer:
  name: {_text(given["model"])} # of the model to be trained

pack:
  seq_len: {_row_tokens(given)} # tokens in a row
"""


def _training(given: dict[str, str]) -> str:
    num_gpus = int(given["gpus"])
    if num_gpus:
        device = f"""\
global_train_batch_size: {8 * num_gpus} # rows in a step, over {num_gpus} GPUs; their length is the corpus's
device_train_microbatch_size: 1 # rows in a forward pass; more are faster while they fit
precision: amp_bf16
"""
        device += """\
parallelism_config:
  fsdp: {activation_checkpointing: true} # weights and optimizer are shared among the GPUs
"""
    else:
        device = """\
global_train_batch_size: 8 # rows in a step; their length is the corpus's pack.seq_len
precision: fp32 # all that a CPU does
"""
    return f"""\
{first_line("train.schema.json")}\
# Training on the corpus of {given["domain"]}.
#   tutelage check FILE              what is wrong with it
#   tutelage train FILE --dry-run    steps, memory, hours; trains nothing
#   {_launch(given, "FILE")}
run_name: {_text(given["domain"])}

model:
  pretrained_model_name_or_path: {_text(given["model"])}

train_loader:
  dataset:
    streams:
      domain: {{corpus: runs/{given["domain"]}/corpus}}

max_duration: 2ep # passes over the corpus
{device}
optimizer: {{name: adamw, lr: 1.0e-5}}
scheduler: {{name: cosine_with_warmup, t_warmup: 0.1dur}}

save_folder: runs/{given["domain"]}/checkpoints
save_num_checkpoints_to_keep: 2
autoresume: true # the same command goes on after an interruption

callbacks:
  hf_export: {{folder: runs/{given["domain"]}/model}} # the trained model, for transformers
  # domain_eval: {{tasks: [tasks], interval: 50ba}} # questions of your domain (docs/evaluation.md)
"""


def _row_tokens(given: dict[str, str]) -> int:
    return 4096 if int(given["gpus"]) else 1024


def _launch(given: dict[str, str], file: str) -> str:
    num_gpus = int(given["gpus"])
    return f"composer -n {num_gpus} -m trainer.train {file}" if num_gpus > 1 else f"tutelage train {file}"


def _text(value: str) -> str:
    """Write text as YAML: plain where that is safe, else in double quotes; `${` stays text."""
    if re.fullmatch(r"(?!(?:true|false|null|yes|no|on|off)$)[A-Za-z_./][\w./-]*", value, re.IGNORECASE):
        return value
    return json.dumps(value.replace("${", "\\${"), ensure_ascii=False)


def _next_steps(given: dict[str, str], folder: str) -> list[str]:
    pairs = (
        "Without a server, rules write the pairs: plain ones, from English texts only."
        if given["server"] == _NO_SERVER
        else f"{given['server']} will write the pairs."
    )
    dry = f" --gpus {given['gpus']}" if int(given["gpus"]) else ""
    return [
        pairs,
        "Next:",
        f"  tutelage check {folder}corpus.yaml",
        f"  tutelage corpus plan {folder}corpus.yaml",
        f"  tutelage corpus build {folder}corpus.yaml",
        f"  tutelage train {folder}train.yaml --dry-run{dry}",
        f"  {_launch(given, f'{folder}train.yaml')}",
    ]
