"""`tutelage train --dry-run`: its figures compared with those of real small runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import train


@pytest.mark.slow
def test_a_run_is_described_without_being_started(
    write_config: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(
        save_folder=str(tmp_path / "checkpoints"), max_duration="27ba", precision="amp_bf16"
    )
    options = ["--dry-run", "--gpus", "2", "--gpu", "a100", "--mfu", "0.5"]
    assert train.main([config, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["steps"], found["tokens_per_step"], found["tokens"]) == (27, 4 * 32, 27 * 4 * 32)
    assert [(s["name"], s["rows"], s["epochs"]) for s in found["streams"]] == [
        ("domain", 48, 54 / 48),  # 27 steps of 4 rows are one epoch of 108, half of it domain
        ("general", 60, 54 / 60),
    ]
    assert found["flops"] == found["flops_per_token"] * found["tokens"]
    assert found["hours"] == pytest.approx(found["flops"] / (2 * 312e12 * 0.5) / 3600)
    assert found["gpu_hours"] == pytest.approx(2 * found["hours"])
    assert not (tmp_path / "checkpoints").exists()

    assert train.main([config, *options]) == 0
    out, err = capsys.readouterr()
    assert "optimizer.no_decay: not decayed are 5 tensors (320 parameters): norms 5, biases 0; decay" in err
    assert out.startswith("tiny: LlamaForCausalLM, ")
    assert "27 of 128 tokens: 3,456 tokens" in out
    assert "domain: 1.12 epochs of 48 rows" in out
    assert "of 80.0 GiB on each of 2 × a100, at 2 row(s) a forward pass" not in out  # auto is one row
    assert "of 80.0 GiB on each of 2 × a100, at 1 row(s) a forward pass" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        ([], ["--gpu-memory", "0.001"], "which has 0.0. Use more GPUs with parallelism_config.fsdp"),
        ([], ["--gpu", "h1000"], "--gpu: GPU 'h1000' is unknown. Did you mean 'h100'?"),
        ([], ["--gpus", "3"], "global_train_batch_size is 4, which 3 ranks cannot share evenly"),
        ([], ["--mfu", "40"], "--mfu 40.0; expected at least 1 GPU, and a share over 0 and at most 1."),
        ([], ["--seq-len", "-1"], "--seq-len is -1; expected more than 0."),
        (
            ["precision=amp_bf16"],
            [],
            "Set precision: fp32. For a run on GPUs that this machine does not have,",
        ),
        (["precision=amp_bf16"], ["--gpus", "2"], None),
        (["loggers.wandb={}"], [], "loggers.wandb needs a package that is not installed: wandb."),
        (["loggers.wandb={}"], ["--gpu", "a100"], None),
        (["parallelism_config={fsdp: {}}"], ["--gpus", "2"], "device_train_microbatch_size is 'auto'"),
        (["model.attn_implementation=flash_attention_2", "precision=amp_bf16"], ["--gpu", "h100"], None),
        (["optimizer.learning_rate=1"], ["--gpus", "1"], "key 'optimizer.learning_rate' is unknown."),
        (
            ["optimizer.no_decay=[layernom]"],
            ["--gpus", "1"],
            "optimizer.no_decay: 'layernom' matches no",
        ),
        (["optimizer.no_decay=['(']"], ["--gpus", "1"], "'(' is not a regular expression"),
        (["callbacks.hf_export={}"], ["--gpus", "1"], "key 'callbacks.hf_export.folder' is missing."),
        (["train_loader.dataset.streams.domain.corpus=/nowhere"], ["--seq-len", "32"], None),
        (["callbacks.domain_eval={tasks: MQP, system: Be kind}"], ["--gpus", "1"], "needs a chat template"),
        (
            ["callbacks.domain_eval={tasks: MQP, chat_template: true}"],
            ["--gpus", "1"],
            "has none: give a file of Jinja (--chat-template, chat_template in YAML)",
        ),
        (["callbacks.domain_eval={tasks: MQP}"], ["--gpus", "1"], None),
        (["callbacks.domain_eval={tasks: MQPP}"], [], "Did you mean 'MQP'?"),
        (["callbacks.domain_eval={tasks: MQP, chat_template: true}"], [], "has none: give a file of Jinja"),
        (
            ["train_loader.dataset.streams.domain.corpus=/nowhere", "max_duration=1ep"],
            ["--seq-len", "32"],
            "max_duration is '1ep', which cannot be converted to steps without a corpus",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    write_config: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    options: list[str],
    message: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert train.main([write_config(), "--dry-run", *options, *overrides]) == (2 if message else 0)
    err = capsys.readouterr().err
    assert message is None or message in err


@pytest.mark.parametrize(
    "option", ["--gpu=h100", "--gpus=8", "--seq-len=4096", "--mfu=0.5", "--gpu-memory=80"]
)
def test_what_a_dry_run_reckons_with_starts_no_run(
    write_config: Callable[..., str], capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert train.main([write_config(), option]) == 2
    name = option.partition("=")[0]
    assert f"{name} is an assumption of a dry run" in capsys.readouterr().err


def tiny_batch(rows: int, seq_len: int, num_texts: int) -> dict[str, Any]:
    import torch

    torch.manual_seed(3)
    ids = torch.randint(2, 2000, (rows, seq_len))
    positions = torch.arange(seq_len).remainder(seq_len // num_texts).expand(rows, -1)
    return {"input_ids": ids, "labels": ids, "position_ids": positions}


@pytest.mark.parametrize("optimizer", ["adamw", "decoupled_adamw"])
def test_weights_gradients_and_optimizer_are_those_of_a_real_step_to_the_byte(
    tiny_model: str, optimizer: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from trainer.estimate.activations import Activations
    from trainer.estimate.memory import Sharding, estimate_memory
    from trainer.model.architecture import describe
    from trainer.startup.registries import OPTIMIZERS

    model = AutoModelForCausalLM.from_pretrained(tiny_model, torch_dtype=torch.float32)
    steps = OPTIMIZERS.load(optimizer)(model.parameters(), lr=1e-3)
    model(**tiny_batch(2, 32, 2)).loss.backward()
    steps.step()
    memory = estimate_memory(
        describe(model),
        Activations(outside_blocks=0, blocks=(), block_inputs=()),
        Sharding(num_gpus=1, fsdp=False, reshard=True, compute_bytes=4, reduce_bytes=4, checkpointing=False),
        micro_batch_tokens=0,
    )
    assert memory.weights == sum(p.numel() * p.element_size() for p in model.parameters())
    assert memory.gradients == sum(p.grad.numel() * p.grad.element_size() for p in model.parameters())
    tensors = [value for state in steps.state.values() for value in state.values()]
    assert memory.optimizer == sum(t.numel() * t.element_size() for t in tensors if torch.is_tensor(t))


def test_every_gpu_holds_its_share_of_each_parameter() -> None:
    from trainer.estimate.memory import share

    assert [share((10, 3), num_gpus) for num_gpus in (1, 2, 4, 16)] == [30, 15, 9, 3]


def test_flops_are_those_that_torch_counts(tiny_model: str) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    from trainer.model.architecture import describe

    model = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="eager")
    with FlopCounterMode(display=False) as counter:
        model(**tiny_batch(2, 128, 1), use_cache=False).loss.backward()
    counted = counter.get_total_flops() / (2 * 128)
    assert describe(model).flops_per_token(128) == pytest.approx(counted, rel=0.01)
    assert not torch.is_grad_enabled() or counted > 6 * describe(model).matmul_parameters


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("precision", "low_weights"), [("fp32", False), ("amp_bf16", False), ("amp_bf16", True)]
)
def test_activations_are_what_a_real_forward_pass_saves(
    tiny_model: str, attn_implementation: str, precision: str, low_weights: bool
) -> None:
    """Within 2 %: the real pass also saves the loss's own small tensors."""
    import torch
    from transformers import AutoModelForCausalLM

    from trainer.estimate.activations import SavedBytes, count_activations

    low = precision == "amp_bf16"
    model = AutoModelForCausalLM.from_pretrained(
        tiny_model,
        torch_dtype=torch.bfloat16 if low_weights else torch.float32,
        attn_implementation=attn_implementation,
    ).train()
    model.config.use_cache = False
    rows, seq_len = 3, 96
    saved = SavedBytes(model)
    with saved.counting(), torch.autocast("cpu", torch.bfloat16, enabled=low):
        output = model(**tiny_batch(rows, seq_len, 4))
    estimated = count_activations(
        model.config,
        rows=rows,
        seq_len=seq_len,
        precision=precision,
        low_precision_weights=low_weights,
        attention_boundaries=True,
    )
    log_softmax = 4 * rows * seq_len * model.config.vocab_size
    assert output.loss.requires_grad
    assert estimated.kept + log_softmax == pytest.approx(saved.total, rel=0.02)
    first, second = estimated.blocks  # tensors that blocks share count in the first
    assert first > second > 0.9 * first


def test_checkpointed_activations_are_what_a_checkpointed_pass_holds(tiny_model: str) -> None:
    """To the byte: inputs of the blocks and tensors outside them; the output layer's input is added."""
    import torch
    from transformers import AutoModelForCausalLM

    from trainer.estimate.activations import SavedBytes, count_activations

    rows, seq_len = 3, 96
    model = AutoModelForCausalLM.from_pretrained(tiny_model, torch_dtype=torch.float32).train()
    estimated = count_activations(
        model.config,
        rows=rows,
        seq_len=seq_len,
        precision="fp32",
        low_precision_weights=False,
        attention_boundaries=True,
    )
    model.gradient_checkpointing_enable({"use_reentrant": False})
    batch = tiny_batch(rows, seq_len, 4)
    saved = SavedBytes(model)
    with saved.counting():
        hidden = model.base_model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        )
    assert hidden.last_hidden_state.requires_grad
    head_input = rows * seq_len * model.config.hidden_size * 4
    assert estimated.checkpointed - max(estimated.blocks) == saved.total + head_input
    assert estimated.checkpointed < 0.75 * estimated.kept


def test_the_parts_of_a_gpu_under_fsdp_add_up_as_they_are_explained() -> None:
    from trainer.estimate.activations import Activations
    from trainer.estimate.memory import Sharding, estimate_memory
    from trainer.model.architecture import Architecture, Parameters

    block, root = ((8, 4),), ((100, 4), (4,))
    parameters = Parameters((*root, *block, *block), (block, block))
    architecture = Architecture(
        kind="Toy",
        parameters=parameters,
        trained=parameters,
        matmul_parameters=464,
        frozen_matmul_parameters=0,
        num_layers=2,
        num_heads=1,
        head_dim=4,
        vocab_size=100,
    )
    memory = estimate_memory(
        architecture,
        Activations(outside_blocks=10, blocks=(100, 100), block_inputs=(20, 20)),
        Sharding(num_gpus=4, fsdp=True, reshard=True, compute_bytes=2, reduce_bytes=4, checkpointing=True),
        micro_batch_tokens=3,
    )
    held = 25 * 4 + 1 + 2 * (2 * 4)  # a bias of 4 numbers is one number on each GPU
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * held, 4 * held, 8 * held + 4 * 4)
    assert memory.activations == 10 + 40 + 100
    assert memory.logits == 3 * 100 * (2 + 4 + 4)
    assert memory.gathered == 2 * (404 + 2 * 32) + 2 * 404 + (2 + 4) * 32
    assert memory.total == sum(
        getattr(memory, name)
        for name in ("weights", "gradients", "optimizer", "gathered", "activations", "logits", "runtime")
    )


def test_logits_in_chunks_are_those_of_a_chunk_and_gradients_of_the_output_layer() -> None:
    from trainer.estimate.memory import Sharding, _logits
    from trainer.model.architecture import Architecture, Parameters

    def logits(num_tokens: int, *, chunked: bool = True, head: int = 100 * 4096, fsdp: bool = False) -> int:
        architecture = Architecture(
            kind="Toy",
            parameters=Parameters((), ()),
            trained=Parameters((), ()),
            matmul_parameters=0,
            frozen_matmul_parameters=0,
            num_layers=1,
            num_heads=1,
            head_dim=4,
            vocab_size=100,
            hidden_size=4096,
            trained_head_parameters=head,
        )
        sharding = Sharding(
            num_gpus=1, fsdp=fsdp, reshard=True, compute_bytes=2, reduce_bytes=4, checkpointing=False
        )
        return _logits(architecture, sharding, num_tokens, chunked_loss=chunked)

    assert logits(32_768, chunked=False) == 10 * 100 * 32_768
    assert logits(32_768) == 10 * 100 * 2048 + (4 + 2 + 4) * 100 * 4096
    assert logits(32_768, fsdp=True) == 10 * 100 * 2048 + (4 + 2) * 100 * 4096
    assert logits(32_768, head=0) == 10 * 100 * 2048  # a frozen output layer has no gradients
    assert logits(6144) == 10 * 100 * 6144  # a single chunk


def test_an_estimate_counts_the_logits_that_the_loss_needs_and_says_why(
    write_config: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """96 rows of 32 tokens, with a vocabulary of 2,048 and hidden states of 64."""
    config = write_config(global_train_batch_size=96, device_train_microbatch_size=96)
    found = {}
    for chunked in (True, False):
        arguments = [config, "--dry-run", "--gpus", "1", f"model.chunked_loss={chunked}"]
        assert train.main([*arguments, "--json"]) == 0
        found[chunked] = json.loads(capsys.readouterr().out)
        assert train.main(arguments) == 0
        line = "logits are those of a whole forward pass: model.chunked_loss is false\n"
        assert (line in capsys.readouterr().out) is not chunked
    assert found[True]["whole_loss_because"] is None
    assert found[True]["memory"]["logits"] == (4 + 8) * 2048 * 2048 + (4 + 4) * 2048 * 64
    assert found[False]["memory"]["logits"] == (4 + 8) * 96 * 32 * 2048


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 3050", None),
    ],
)
def test_a_gpu_is_known_by_the_name_that_cuda_gives_it(name: str, peak: float | None) -> None:
    from trainer.estimate.gpus import peak_flops_of

    assert peak_flops_of(name) == peak


@pytest.mark.slow
def test_a_checkpoint_has_the_size_that_is_foretold(
    write_config: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within 5 % for this small model, without the tokenizer and the random state."""
    folder = tmp_path / "checkpoints"
    config = write_config(save_folder=str(folder), max_duration="1ba", save_interval="1ba")
    assert train.main([config, "--dry-run", "--json"]) == 0
    foretold = json.loads(capsys.readouterr().out)["checkpoint_bytes"]
    assert train.main([config]) == 0
    (checkpoint,) = folder.glob("ep*-rank0.pt")
    assert checkpoint.stat().st_size == pytest.approx(foretold, rel=0.05)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics if "loss/train/total" in line] == [0]
    assert any(line.get("train/tokens_per_sec", 0) > 0 for line in metrics)


@pytest.mark.slow
def test_a_dry_run_counts_gradients_and_moments_of_what_is_trained_alone(
    write_config: Callable[..., str], tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:

    lora = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "up_proj"]}
    config = write_config(model={"pretrained_model_name_or_path": tiny_model, "peft_config": lora})
    capsys.readouterr()
    assert train.main([config, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["parameters"], found["trained_parameters"]) == (207_680, 2_560)
    memory = found["memory"]
    assert (memory["weights"], memory["gradients"]) == (4 * 207_680, 4 * 2_560)
    assert memory["optimizer"] == 2 * 4 * 2_560 + 4 * 8
    assert found["checkpoint_bytes"] == 3 * 4 * 2_560 + 4 * 8
    assert found["adapters"].endswith("model.layers.*.self_attn.q_proj (2), model.layers.*.mlp.up_proj (2).")
