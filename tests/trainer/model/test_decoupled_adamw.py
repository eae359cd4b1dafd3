"""Optimizers on a CPU: a fused step is the step of Composer's and torch's own loops."""

from __future__ import annotations

from typing import Any

import composer.optim
import pytest
import torch

from schemas.train_config import TrainConfig
from trainer.startup.composer_trainer import optimizer_arguments
from trainer.startup.registries import OPTIMIZERS


def weights() -> list[torch.nn.Parameter]:
    torch.manual_seed(4)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in ((7, 5), (5,), (1,))]


def trained(kind: Any, **arguments: Any) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """Weights and state after four steps, of which the third has another learning rate."""
    params = weights()
    groups = [{"params": params[:2]}, {"params": params[2:], "weight_decay": 0.0}]
    optimizer = kind(groups, lr=1e-2, **arguments)
    for step in range(4):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 if step < 2 else 2e-3
        for number, each in enumerate(params):
            each.grad = None if number == 1 and step == 1 else torch.sin(each.detach() * (step + 1))
        optimizer.step()
    return [each.detach() for each in params], optimizer.state_dict()["state"]


@pytest.mark.parametrize("arguments", [{}, {"weight_decay": 1e-4, "betas": (0.8, 0.9)}, {"amsgrad": True}])
def test_a_fused_step_is_composers(arguments: dict[str, Any]) -> None:
    kind = OPTIMIZERS.load("decoupled_adamw")
    assert kind is not composer.optim.DecoupledAdamW
    assert kind.__qualname__ == "DecoupledAdamW"  # under which Composer's checkpoints hold the state
    found, state = trained(kind, **arguments)
    expected, expected_state = trained(composer.optim.DecoupledAdamW, **arguments)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(state, expected_state, rtol=1e-5, atol=1e-7)
    assert [float(state[number]["step"]) for number in range(3)] == [4.0, 3.0, 4.0]


def test_a_learning_rate_of_0_decays_as_composers_does() -> None:
    for kind in (OPTIMIZERS.load("decoupled_adamw"), composer.optim.DecoupledAdamW):
        weight = torch.nn.Parameter(torch.ones(3))
        weight.grad = torch.ones(3)
        kind([weight], lr=0.0, weight_decay=0.5).step()
        assert weight.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("changes", "on_cpu", "fused"),
    [
        ({}, True, True),
        ({}, False, None),
        ({"optimizer": {"name": "adamw", "foreach": True}}, True, None),
        ({"optimizer": {"name": "adamw", "fused": False}}, True, False),
        ({"parallelism_config": {"fsdp": {}}}, True, None),
    ],
)
def test_adamw_is_fused_on_a_cpu_unless_the_yaml_chooses(
    changes: dict[str, Any], on_cpu: bool, fused: bool | None
) -> None:
    values = {
        "run_name": "tiny",
        "model": {"pretrained_model_name_or_path": "-"},
        "train_loader": {"dataset": {"streams": {"domain": {"corpus": "-"}}}},
        "max_duration": "1ba",
        "global_train_batch_size": 1,
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "scheduler": {"name": "constant_with_warmup"},
    }
    config = TrainConfig.model_validate({**values, **changes})
    found = optimizer_arguments(config, torch.optim.AdamW, on_cpu=on_cpu)
    assert found == config.optimizer.arguments | ({} if fused is None else {"fused": fused})
