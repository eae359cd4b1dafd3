"""Each piece of `trainer.startup.newer_libraries`: needed in the second lane, absent in the first."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from trainer.startup import newer_libraries as compat

in_current_lane = pytest.mark.skipif(
    int(metadata.version("transformers").split(".")[0]) < 5, reason="the current lane only"
)
in_strict_lane = pytest.mark.skipif(
    int(metadata.version("transformers").split(".")[0]) >= 5, reason="the strict lane only"
)
beside_a_torch_for_cpus = pytest.mark.skipif(
    not compat.lacks_vision_operators(), reason="this torchvision was built for this torch"
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)


@in_current_lane
@beside_a_torch_for_cpus
def test_without_its_operators_declared_torchvision_cannot_be_imported() -> None:
    assert "operator torchvision::nms does not exist" in run("import torchvision").stderr


@in_current_lane
def test_importing_the_trainer_is_enough_for_streaming_and_composer() -> None:
    done = run("import sys, trainer; assert 'torch' not in sys.modules; import streaming, composer")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@in_strict_lane
def test_the_strict_lane_needs_nothing() -> None:
    done = run("import sys; before = list(sys.meta_path); import trainer; assert sys.meta_path == before")
    assert done.returncode == 0, done.stderr
