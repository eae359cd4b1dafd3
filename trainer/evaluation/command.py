"""`tutelage eval`: domain tasks on any causal LM, several models side by side.

With several models, each later one is compared with the first, row by row. With --output, answers are
written after each task, and the same command continues after a stop: it does not compute finished tasks
again, and does not load a model whose tasks are all finished. A task that fails is shown as failed, the
others are scored, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plugins.adapter_folder import tokenizer_of
from plugins.causal_lm import load_causal_lm
from plugins.commands.parser import Parser
from plugins.tasks.lookup import load_tasks
from plugins.tasks.task import Task
from schemas.errors import ConfigError, TutelageError, report
from trainer.evaluation import processes
from trainer.evaluation.report.saved_results import SCORING, SavedRun
from trainer.evaluation.scoring.chat_turns import file_digest
from trainer.startup.config_checks import check_model_name

if TYPE_CHECKING:
    from trainer.evaluation.evaluator import TaskResult
    from trainer.evaluation.report.compare import Comparison
    from trainer.evaluation.scoring.sglang_model import ServedModel
    from trainer.evaluation.training_overlap import FoundRows

_BATCH_TOKENS = 8192


def build_parser() -> Parser:
    """Return the parser of `tutelage eval …`."""
    parser = Parser(prog="tutelage eval", description=__doc__)
    parser.add_argument(
        "--model", action="extend", nargs="+", default=[], metavar="DIR_OR_NAME", dest="models",
        help="Hugging Face directories or hub names; several are shown side by side",
    )  # fmt: skip
    parser.add_argument(
        "--server", metavar="URL",
        help="score the model that an SGLang server serves; --model then names its tokenizer, if the "
        "server's own path to it is not valid here",
    )  # fmt: skip
    parser.add_argument(
        "--tasks", required=True, metavar="NAME,…|DIR",
        help="tasks or domains by name, task files, or directories of .jsonl, .json, .parquet or .yaml; "
        "comma between several",
    )  # fmt: skip
    parser.add_argument(
        "--tasks-root", metavar="DIR",
        help="rows of named tasks, as DIR/TASK.jsonl or DIR/TASK/test.json (default: from the Hub)",
    )  # fmt: skip
    parser.add_argument(
        "--add-bos-token", choices=["true", "false"],
        help="true opens each prompt as the tokenizer opens a text, or else with BOS; false opens it with "
        "nothing (default: as the tokenizer does)",
    )  # fmt: skip
    parser.add_argument(
        "--chat-template", nargs="?", const=True, metavar="NAME|FILE",
        help="for instruct models: the prompt is a user turn of the model's chat template, the option is the "
        "answer; NAME chooses one of several templates, FILE is a Jinja template",
    )  # fmt: skip
    parser.add_argument("--system", metavar="TEXT", help="the system turn of the chat template")
    parser.add_argument(
        "--max-rows", type=int, metavar="N", help="rows per task, chosen by --seed (default: all)"
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=100, metavar="N", help="longest answer, in tokens"
    )
    parser.add_argument(
        "--batch-tokens", type=int, metavar="N",
        help=f"padded tokens of a forward pass (default: {_BATCH_TOKENS})",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=17, help="seed of the choice of rows and of the intervals"
    )
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16"],
        help="dtype of the weights; auto, the default, is bfloat16 on a GPU, else float32",
    )  # fmt: skip
    parser.add_argument(
        "--device", metavar="DEVICE", help="a device such as cpu or cuda:0 (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N",
        help="divide rows among N processes, each with the whole model on its own GPU",
    )  # fmt: skip
    parser.add_argument(
        "--device-map", choices=["auto", "balanced", "sequential"],
        help="spread one model's layers over all GPUs by accelerate",
    )  # fmt: skip
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with a model")
    parser.add_argument(
        "--weights-may-differ", action="append", default=[], metavar="REGEX",
        help="weights that may be missing from a model's files or differ from them in the loaded model; any "
        "other such weight is an error; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="FILE.json",
        help="write scores and every answer to this file, task by task; continue from an existing file",
    )  # fmt: skip
    parser.add_argument(
        "--manifest", nargs="+", default=[], metavar="URI", dest="manifests",
        help="corpora of the training, or manifests of them (CORPUS/manifest/000003.json): a second score "
        "counts only the rows that their text does not hold",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object")
    parser.add_quiet()
    return parser


def main(argv: list[str]) -> int:
    """Run `tutelage eval ARGV` and return its exit status."""
    options = build_parser().parse_args(argv)
    try:
        return _evaluate(options, argv)
    except TutelageError as error:
        return report(error)


def _evaluate(options: argparse.Namespace, argv: Sequence[str]) -> int:
    # Check everything that may be wrong before the import of torch, which takes seconds.
    _check(options)
    tasks = load_tasks(
        [name.strip() for name in options.tasks.split(",") if name.strip()], options.tasks_root
    )
    if options.processes > 1 and not processes.is_one_of_several():
        return processes.run_each(argv, options.processes)
    served = None
    if options.server is not None:
        from trainer.evaluation.scoring.sglang_model import ServedModel

        served = ServedModel.connect(options.server)
        options.models = options.models or [served.tokenizer_name]
    rank = processes.join()
    saved = SavedRun(
        options.output,
        {
            "add_bos_token": options.add_bos_token,
            "chat_template": options.chat_template,
            "chat_template_digest": file_digest(options.chat_template),
            "system": options.system,
            "max_rows": options.max_rows,
            "max_new_tokens": options.max_new_tokens,
            "seed": options.seed,
            "dtype": options.dtype or "auto",
            "server": served and served.name,
            "scoring": SCORING,
        },
        writes=rank == 0,
    )
    found = _find_rows(tasks, options.manifests, saved)

    results = {name: _evaluate_model(name, tasks, options, saved, found, served) for name in options.models}
    comparisons = _compare(results, options.seed)

    if rank == 0 and options.json:
        summaries = {name: [result.summary() for result in of_model] for name, of_model in results.items()}
        print(json.dumps({"models": summaries, "comparisons": _plain(comparisons)}))
    elif rank == 0:
        from trainer.evaluation.report.tables import print_comparisons, print_table

        print_table(results)
        print_comparisons(comparisons)
    saved.write(_plain(comparisons))
    if saved.problem is not None:
        raise saved.problem
    return int(any(result.error for of_model in results.values() for result in of_model))


def _check(options: argparse.Namespace) -> None:
    """Refuse options that are wrong or cannot be combined."""
    if not options.models and options.server is None:
        raise ConfigError("--model is missing: give Hugging Face directories or hub names, or --server URL.")
    if len(set(options.models)) < len(options.models):
        raise ConfigError("--model names a model twice; name it once.")
    for name in options.models:
        check_model_name("--model", name, may_be_adapter=True)
    for flag in ("max_rows", "max_new_tokens", "batch_tokens", "processes"):
        value = getattr(options, flag)
        if value is not None and value < 1:
            raise ConfigError(f"--{flag.replace('_', '-')} is {value}, expected at least 1.")
    if options.system is not None and not options.chat_template:
        raise ConfigError("--system needs --chat-template: the text is its system turn.")
    if options.server is not None:
        if len(options.models) > 1:
            raise ConfigError(
                f"--server serves one model, but --model names {len(options.models)}; name only its own."
            )
        if not options.server.startswith(("http://", "https://")):
            raise ConfigError(f"--server is {options.server!r}, expected a URL with http:// or https://.")
        _refuse(options, ("batch_tokens", "dtype", "device", "device_map"), beside="--server")
        if options.processes > 1:
            raise ConfigError(
                "--processes does not apply with --server, which answers many rows at once; leave it out."
            )
    if options.processes > 1:
        _refuse(options, ("device_map",), beside="--processes")
        if options.device is not None and ":" in options.device:
            raise ConfigError(
                f"--device is {options.device!r}, but --processes {options.processes} use one GPU each; "
                "leave it out, or choose GPUs with CUDA_VISIBLE_DEVICES."
            )
    if options.device_map is not None:
        _refuse(options, ("device",), beside="--device-map")


def _refuse(options: argparse.Namespace, names: Sequence[str], *, beside: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} does not apply with {beside}; leave it out.")


def _find_rows(tasks: Sequence[Task], manifests: Sequence[str], saved: SavedRun) -> FoundRows | None:
    """Rows that occur in the training text, if possible from the saved run; None without manifests."""
    if not manifests:
        return None
    from trainer.evaluation.ranks import Ranks
    from trainer.evaluation.training_overlap import TrainingText, find_rows, search_key

    texts = [TrainingText.of(uri) for uri in manifests]
    key = search_key(tasks, texts)
    found = saved.found(key)
    if found is None:
        found = find_rows(tasks, texts, Ranks.current())
        saved.keep_found(key, found)
    return found


def _compare(results: dict[str, list[TaskResult]], seed: int) -> dict[tuple[str, str], list[Comparison]]:
    """Compare each later model with the first one, on each task with common rows."""
    if len(results) < 2:
        return {}
    from trainer.evaluation.report.compare import compare

    (first, of_first), *others = results.items()
    return {
        (first, other): [
            comparison
            for pair in zip(of_first, of_other, strict=True)
            if (comparison := compare(*pair, seed=seed)) is not None
        ]
        for other, of_other in others
    }


def _plain(comparisons: dict[tuple[str, str], list[Comparison]]) -> list[dict[str, Any]]:
    return [
        {"models": list(models), **comparison.summary()}
        for models, of_models in comparisons.items()
        for comparison in of_models
    ]


def _evaluate_model(
    name: str,
    tasks: Sequence[Task],
    options: argparse.Namespace,
    saved: SavedRun,
    found: FoundRows | None,
    served: ServedModel | None,
) -> list[TaskResult]:
    from plugins.tokenizers import load_tokenizer
    from trainer.evaluation.evaluator import Evaluator
    from trainer.evaluation.ranks import Ranks

    evaluator = Evaluator(
        tasks,
        load_tokenizer(tokenizer_of("--model", name), trust_remote_code=options.trust_remote_code),
        add_bos=None if options.add_bos_token is None else options.add_bos_token == "true",
        chat_template=options.chat_template or False,
        system=options.system,
        batch_tokens=options.batch_tokens or _BATCH_TOKENS,
        max_new_tokens=options.max_new_tokens,
        max_rows=options.max_rows,
        seed=options.seed,
        intervals=True,
        found=found,
    )
    done: dict[str, TaskResult] = {}
    for task in tasks:
        known = saved.task(name, task.name)
        result = evaluator.restored(task, known) if known is not None else None
        if result is not None:
            done[task.name] = result
    left = [task for task in tasks if task.name not in done]
    if done and saved.writes:
        known_tasks = f"{len(done)} of {len(tasks)} results of {name} come from {saved.uri}."
        print(known_tasks, file=sys.stderr, flush=True)
    if not left:
        return [done[task.name] for task in tasks]

    def keep(result: TaskResult) -> None:
        done[result.task.name] = result
        saved.add(name, result.summary() | {"answers": result.predictions()})

    # Together: if one process cannot load the model, the others must not wait for it.
    model = served or Ranks.current().together(
        lambda: load_for_evaluation(
            name,
            dtype=options.dtype,
            device=options.device,
            device_map=options.device_map,
            trust_remote_code=options.trust_remote_code,
            weights_may_differ=options.weights_may_differ,
        )
    )
    # A failing task must not hide the scores of the others.
    evaluator.run(model, tasks=left, on_result=keep, is_whole=True, keep_going=True)
    del model
    gc.collect()  # the next model needs the memory
    return [done[task.name] for task in tasks]


def load_for_evaluation(
    name: str,
    *,
    dtype: str | None = None,
    device: str | None = None,
    device_map: str | None = None,
    trust_remote_code: bool = False,
    weights_may_differ: Sequence[str] = (),
) -> Any:
    """Load a causal LM as the options of the same names say.

    Raises:
        ConfigError: There is no such model or device, or the model does not fit on the device.
    """
    import torch

    place = _device(device)
    is_bfloat16 = dtype == "bfloat16" or (dtype in (None, "auto") and place.type == "cuda")
    spread = {} if device_map is None else {"device_map": device_map}
    model = load_causal_lm(
        "--model",
        name,
        may_differ=weights_may_differ,
        naming="--weights-may-differ",
        torch_dtype=torch.bfloat16 if is_bfloat16 else torch.float32,
        trust_remote_code=trust_remote_code,
        **spread,
    )
    try:
        return model if spread else model.to(place)
    except RuntimeError as error:  # too little memory
        raise ConfigError(
            f"--model {name!r} cannot be put on {place}: {str(error).splitlines()[0]}"
        ) from error


def _device(name: str | None) -> Any:
    import torch

    from trainer.evaluation.ranks import Ranks

    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    ranks = Ranks.current()
    if name == "cuda" and ranks.world_size > 1:
        if ranks.world_size > torch.cuda.device_count():
            raise ConfigError(
                f"--processes is {ranks.world_size}, but there are {torch.cuda.device_count()} GPUs; give at "
                "most as many, or --device cpu."
            )
        name = f"cuda:{ranks.rank}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
