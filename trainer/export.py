"""A checkpoint as a Hugging Face model: `tutelage export FILE.yaml --output DIR [key=value …]`.

What the callback `hf_export` writes while a run trains, of a run that was stopped or had no such callback:
the newest sound checkpoint of its save_folder, or any other, whole or sharded. It takes no GPU and no ranks;
the weights are in memory once in the checkpoint's dtype and once in that of the export.
"""

from __future__ import annotations

import dataclasses
import json
import os
import posixpath
import re
import sys
from typing import Any

from plugins.commands.parser import Parser
from schemas import storage
from schemas.config import load_config
from schemas.errors import ConfigError, TrainingError, TutelageError, report
from schemas.scratch_folder import scratch
from schemas.train_config import ModelConfig, TrainConfig
from trainer.checkpoints.checkpoint_files import (
    check_checkpoint,
    fetch_checkpoint,
    find_damage,
    list_checkpoints,
    read_checkpoint,
)
from trainer.checkpoints.local_folder import fill_in_places
from trainer.checkpoints.resumption import check_exported
from trainer.model.lora import add_adapters, check_adapter_export
from trainer.startup.config_checks import run_tokenizer

_WRAPPED = re.compile(r"^(module\.)?model\.|_checkpoint_wrapped_module\.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        folder: Where it lies.
        checkpoint: What it was made of.
        steps: Batches trained.
        scores: In its card.
    """

    folder: str
    checkpoint: str
    steps: int
    scores: dict[str, float]


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(
        prog="tutelage export", description="Write a checkpoint of a training run as a Hugging Face model."
    )
    parser.add_argument("config", metavar="FILE.yaml", help="the run's training configuration")
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", default=[], help="as it was trained with"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="where the model goes; replaced whole")
    parser.add_argument("--checkpoint", metavar="URI", help="default: the newest sound one in save_folder")
    parser.add_argument(
        "--adapter",
        action="store_true",
        help="write the adapter alone, as peft reads it; without it, it is merged into the model",
    )
    parser.add_argument("--dtype", default="bfloat16", help="bfloat16 (default), float16 or float32")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    args = parser.parse_args(argv)
    try:
        config = load_config(TrainConfig, args.config, args.overrides)
        done = export(config, args.output, checkpoint=args.checkpoint, dtype=args.dtype, adapter=args.adapter)
    except TutelageError as error:
        return report(error)
    scored = f", {len(done.scores)} scores in its card" if done.scores else ""
    print(
        f"{done.folder}: the model of {done.checkpoint} after {done.steps:,} steps{scored}", file=sys.stderr
    )
    if args.json:
        print(json.dumps(dataclasses.asdict(done), sort_keys=True))
    return 0


def export(
    config: TrainConfig, folder: str, *, checkpoint: str | None, dtype: str, adapter: bool = False
) -> Exported:
    """Write a checkpoint of a run as a Hugging Face model.

    Args:
        config: What the run was trained with.
        folder: Local directory, replaced whole if it holds an export.
        checkpoint: Path or URI of a file or, if sharded, a directory; None takes the newest sound one of
            save_folder.
        dtype: bfloat16, float16 or float32.
        adapter: Whether the adapter alone is written, as peft reads it.

    Raises:
        ConfigError: The folder is no place for it, or the dtype is unknown.
        TrainingError: There is no such checkpoint, it is damaged, or of another model.
    """
    from plugins.adapter_folder import merged_weights
    from plugins.hf_folder import check_folder, drop_tied, dtype_of, read_base, write_export
    from plugins.model_card import lineage, model_card
    from trainer.model.architecture import build_on_meta
    from trainer.startup.library_warnings import quiet_libraries

    check_folder("--output", folder)
    as_dtype = dtype_of("--dtype", dtype)
    config = fill_in_places(config)
    if adapter:
        check_adapter_export("--adapter", config)
    quiet_libraries(config.python_log_level)
    tokenizer, _ = run_tokenizer(config)
    base = read_base(
        config.model.pretrained_model_name_or_path,
        tokenizer,
        pretrained=config.model.pretrained,
    )
    with scratch("export") as copies:
        path, local = _find_checkpoint(config, checkpoint, copies)
        saved = read_checkpoint(local)
    check_exported(config.model, path.rstrip("/").rpartition("/")[0] or ".", _say)
    weights = {_WRAPPED.sub("", name): tensor for name, tensor in saved.weights.items()}
    if config.model.peft_config is None:
        model = build_on_meta(config.model, tokenizer)
        weights = drop_tied(model, weights)
        _check_weights(path, model, weights, drop_tied(model, dict(model.state_dict())))
    else:
        model = build_on_meta(config.model) if adapter else _load_base(config.model, tokenizer)
        add_adapters(model, config.model.peft_config, seed=config.seed)
        trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        _check_weights(path, model, weights, trained)
        if not adapter:
            weights = drop_tied(model, merged_weights(model, {**model.state_dict(), **weights}))
    scores = _scores_at(config, saved.steps)
    card = model_card(
        {**lineage(_with_pins(config)), "checkpoint": os.path.basename(path)},
        steps=saved.steps,
        tokens=saved.tokens,
        scores=scores,
        library="peft" if adapter else "transformers",
    )
    write_export(folder, model, weights, dtype=as_dtype, base=base, card=card, adapter=adapter)
    return Exported(folder=folder, checkpoint=path, steps=saved.steps, scores=scores)


def _find_checkpoint(config: TrainConfig, checkpoint: str | None, copies: str) -> tuple[str, str]:
    """The checkpoint, and where it lies on this machine."""
    if checkpoint is not None:
        is_local = storage.is_local(checkpoint)
        check_checkpoint(checkpoint, None if is_local else copies, key="--checkpoint")
        return checkpoint, checkpoint if is_local else _copy_of(checkpoint, copies)
    folder = config.save_folder
    if not folder:
        raise ConfigError("save_folder is null, so there is nowhere to look. Name one with --checkpoint.")
    damages: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        local = path if storage.is_local(path) else fetch_checkpoint(path, copies)
        damage = find_damage(local)
        if damage is None:
            for line in damages:
                _say(line)
            return path, local
        damages.append(f"checkpoint {path} is damaged: {damage}. The one before it is taken.")
    none = f"save_folder {folder!r} holds no sound checkpoint. Name one with --checkpoint."
    raise TrainingError("\n".join([*damages, none]))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _copy_of(uri: str, copies: str) -> str:
    return os.path.join(copies, posixpath.basename(uri.rstrip("/")))


def _load_base(config: ModelConfig, tokenizer: Any) -> Any:
    """The model as a run with adapters began with it, on the CPU."""
    import torch

    from plugins.causal_lm import load_causal_lm
    from trainer.model.architecture import load_hf_config
    from trainer.model.new_embeddings import fit_vocabulary

    model = load_causal_lm(
        "model.pretrained_model_name_or_path",
        config.pretrained_model_name_or_path,
        naming="model.weights_may_differ",
        torch_dtype=torch.float32,
        trust_remote_code=config.trust_remote_code,
        config=load_hf_config(config),
    )
    fit_vocabulary(model, config, tokenizer)
    return model


def _check_weights(path: str, model: Any, weights: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in sorted(expected.keys() ^ weights.keys()):
        where = "lacks" if name in expected else "has"
        raise TrainingError(
            f"checkpoint {path} {where} weights {name!r}, which {type(model).__name__} of "
            f"model.pretrained_model_name_or_path {'has' if name in expected else 'lacks'}. Give the "
            "configuration that the run was trained with."
        )
    for name, tensor in expected.items():
        if tensor.shape != weights[name].shape:
            raise TrainingError(
                f"checkpoint {path}: weights {name!r} have shape {tuple(weights[name].shape)}, expected "
                f"{tuple(tensor.shape)}. Give the configuration that the run was trained with."
            )


def _with_pins(config: TrainConfig) -> TrainConfig:
    """With the manifests that the run read, where they are known."""
    from trainer.data.resolve_streams import pin_manifests
    from trainer.train import read_pins

    try:
        return pin_manifests(config, read_pins(config.save_folder or ""))
    except TutelageError:  # the corpus may be gone: the card names no number then
        return config


def _scores_at(config: TrainConfig, steps: int) -> dict[str, float]:
    """Scores of the domain evaluation after so many steps, if the run wrote them down."""
    from trainer.evaluation.report.trend import LINES

    output = config.callbacks.get("domain_eval", {}).get("output")
    if not output:
        return {}
    uri = storage.join(str(output).replace("{run_name}", config.run_name), LINES)
    if not storage.exists(uri):
        return {}
    for line in storage.read_bytes(uri).decode().splitlines():
        evaluation = json.loads(line)
        if evaluation["batch"] == steps:
            return dict(evaluation["scores"])
    return {}


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
