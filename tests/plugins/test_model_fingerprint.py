"""Fingerprints of a model's files: equal for the same model, different for another."""

from __future__ import annotations

import json
from pathlib import Path

from plugins.model_fingerprint import config_fingerprint, weights_fingerprint


def test_other_values_of_the_configuration_count_and_what_a_library_writes_does_not(tmp_path: Path) -> None:
    assert config_fingerprint(str(tmp_path)) is None
    found = []
    for changes in ({}, {"transformers_version": "5.0", "torch_dtype": "float16"}, {"rope_theta": 2e4}):
        (tmp_path / "config.json").write_text(json.dumps({"rope_theta": 1e4, **changes}))
        found.append(config_fingerprint(str(tmp_path)))
    assert found[0] == found[1] != found[2]
    (tmp_path / "config.json").write_text("[")
    assert config_fingerprint(str(tmp_path)) is None


def test_weights_of_another_training_are_others_and_other_files_do_not_count(tmp_path: Path) -> None:
    assert weights_fingerprint(str(tmp_path)) is None
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(6 << 20))
    first = weights_fingerprint(str(tmp_path))
    (tmp_path / "training_args.bin").write_bytes(b"x")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert weights_fingerprint(str(tmp_path)) == first == "5552c3348a2a68a6"
    weights.write_bytes(bytes(5 << 20) + b"\1" * (1 << 20))
    assert weights_fingerprint(str(tmp_path)) != first
    weights.write_bytes(bytes((6 << 20) + 1))
    assert weights_fingerprint(str(tmp_path)) != first
