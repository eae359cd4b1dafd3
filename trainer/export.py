"""Write a checkpoint as a Hugging Face model: `tutelage export FILE.yaml --output DIR [key=value …]`.

For runs that were stopped or had no callback `hf_export`: from the newest sound checkpoint of save_folder, or
any other one, whole or sharded, the command writes the same files as that callback. It needs no GPU and no
ranks; memory holds the weights twice, in the checkpoint's dtype and in that of the export.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import sys
from collections.abc import Mapping
from typing import Any

from plugins.commands.parser import Parser
from schemas import storage
from schemas.config import load_config
from schemas.errors import ConfigError, TrainingError, TutelageError, report
from schemas.scratch_folder import scratch
from schemas.train_config import ModelConfig, TrainConfig
from trainer.checkpoints.checkpoint_files import check_checkpoint, read_checkpoint
from trainer.checkpoints.resume_from import fill_in_places, find_sound
from trainer.checkpoints.run_settings import check_exported, read_pins
from trainer.data.resolve_streams import pin_manifests
from trainer.model.lora import add_adapters, check_adapter_export
from trainer.reporting.announce import announce
from trainer.startup.config_checks import run_tokenizer
from trainer.startup.disk_space import places_of

_WRAPPED = re.compile(r"^(module\.)?model\.|_checkpoint_wrapped_module\.")


def main(argv: list[str]) -> int:
    """Run the command; return the exit status."""
    parser = Parser(
        prog="tutelage export", description="Write a checkpoint of a training run as a Hugging Face model."
    )
    parser.add_argument("config", metavar="FILE.yaml", help="the run's training configuration")
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", default=[], help="those of the training run"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the model; replaced whole")
    parser.add_argument("--checkpoint", metavar="URI", help="default: the newest sound one in save_folder")
    parser.add_argument(
        "--adapter",
        action="store_true",
        help="write the adapter alone, as peft reads it; without it, it is merged into the model",
    )
    parser.add_argument("--dtype", default="bfloat16", help="bfloat16 (default), float16 or float32")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    parser.add_quiet()
    args = parser.parse_args(argv)
    try:
        config = load_config(TrainConfig, args.config, args.overrides)
        done = export(config, args.output, checkpoint=args.checkpoint, dtype=args.dtype, adapter=args.adapter)
    except TutelageError as error:
        return report(error)
    scored = f", {len(done['scores'])} scores in its card" if done["scores"] else ""
    announce(f"{done['folder']}: the model of {done['checkpoint']} after {done['steps']:,} steps{scored}")
    if args.json:
        print(json.dumps(done, sort_keys=True))
    return 0


def export(
    config: TrainConfig, folder: str, *, checkpoint: str | None, dtype: str, adapter: bool = False
) -> dict[str, Any]:
    """Write a checkpoint of a run as a Hugging Face model.

    Args:
        config: Configuration of the run.
        folder: Local directory; an export in it is replaced whole.
        checkpoint: Path or URI of a file or, if sharded, a directory; None takes the newest sound one of
            save_folder.
        dtype: bfloat16, float16 or float32.
        adapter: Whether to write the adapter alone, for peft.

    Returns:
        Folder, checkpoint, steps trained, and the scores in the card.

    Raises:
        ConfigError: The folder holds other files, or the dtype is unknown.
        TrainingError: The checkpoint does not exist, is damaged, or is of another model.
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
    base_name = config.model.pretrained_model_name_or_path
    base = read_base(base_name, tokenizer, pretrained=config.model.pretrained)
    with scratch("export") as copies:
        path, local = _find_checkpoint(config, checkpoint, copies)
        saved = read_checkpoint(local)
    check_exported(config.model, path.rstrip("/").rpartition("/")[0] or ".")
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
    return {"folder": folder, "checkpoint": path, "steps": saved.steps, "scores": scores}


def _find_checkpoint(config: TrainConfig, checkpoint: str | None, copies: str) -> tuple[str, str]:
    """Return the checkpoint and its path on this machine."""
    folder = config.save_folder
    if checkpoint is not None:
        check_checkpoint(checkpoint, None if storage.is_local(checkpoint) else copies, key="--checkpoint")
    elif not folder:
        raise ConfigError("save_folder is null, so no checkpoint is known. Name one with --checkpoint.")
    else:
        checkpoint, damages = find_sound(folder, None if storage.is_local(folder) else copies)
        lines = [f"{damage}. The one before it is used." for damage in damages.values()]
        if checkpoint is None:
            none = f"save_folder {folder!r} holds no sound checkpoint. Name one with --checkpoint."
            raise TrainingError("\n".join([*lines, none]))
        for line in lines:
            announce(line)
    copied = os.path.join(copies, posixpath.basename(checkpoint.rstrip("/")))
    return checkpoint, checkpoint if storage.is_local(checkpoint) else copied


def _load_base(config: ModelConfig, tokenizer: Any) -> Any:
    """Load the model that a run with adapters began with, on the CPU."""
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


def _check_weights(path: str, model: Any, weights: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise a TrainingError if names or shapes of weights differ from the expected ones."""
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
    """Fill in the manifests that the run read, if they are known."""
    try:
        return pin_manifests(config, read_pins(config.save_folder))
    except TutelageError:  # the corpus may be gone: the card then names no number
        return config


def _scores_at(config: TrainConfig, steps: int) -> dict[str, float]:
    """Return the scores of the domain evaluation after so many steps, if the run has them."""
    from trainer.evaluation.report.trend import LINES

    output = places_of(config).get("callbacks.domain_eval.output")
    if not output or not storage.exists(uri := storage.join(output, LINES)):
        return {}
    for line in storage.read_bytes(uri).decode().splitlines():
        evaluation = json.loads(line)
        if evaluation["batch"] == steps:
            return dict(evaluation["scores"])
    return {}


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
