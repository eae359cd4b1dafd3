"""Launch plan of SGLang servers: GPUs, command line, port and environment of each server on this machine.

This module starts nothing; it finds mistakes in `synthesis.server` before any server starts.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import yaml

from plugins.sglang.server_folder import Spec
from schemas.errors import ConfigError
from schemas.process import keep_to_loopback
from schemas.synthesis_config import ServerConfig

_Value = str | int | float | bool | None

_DEFAULTS = Path(__file__).with_name("server_defaults.yaml")
_GRACE_SEC = 8.0
"""Seconds until SIGKILL; an idle SGLang server polls every 5 s for a request to stop."""
_NOT_FOR_ARGS = {
    "model-path": "set synthesis.server.model instead",
    "model": "set synthesis.server.model instead",
    "api-key": "workers send no key, and the server listens on this machine only",
}
_PARALLELISM = {
    *("tp-size", "tensor-parallel-size", "dp-size", "data-parallel-size"),
    *("pp-size", "pipeline-parallel-size"),
}
_SEVERAL_MACHINES = {"nnodes", "dist-init-addr", "nccl-init-addr"}
_OF_OUR_PYTHON = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
"""Variables for our interpreter; the server has another one, which starts slowly without bytecode files."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """The plan for one server."""

    spec: Spec  # command and limits for its supervisor
    changes: dict[str, str]  # environment variables of this server

    def environment(self) -> dict[str, str]:
        """The whole environment: that of this process without variables for our interpreter, plus changes."""
        kept = {name: value for name, value in os.environ.items() if name not in _OF_OUR_PYTHON}
        environment = {**kept, **self.changes}
        if not _SEVERAL_MACHINES & {word.lstrip("-") for word in self.spec.command}:
            keep_to_loopback(environment)
        return environment


def plan_launches(config: ServerConfig, *, model: str) -> list[Launch]:
    """Plan one server for each full group of GPUs on this machine.

    Raises:
        ConfigError: The model, the interpreter, an argument or the number of GPUs is wrong.
    """
    if not model:
        raise ConfigError(
            "synthesis.server.model and synthesis.model are both missing; set one to the directory or hub "
            "name of the model to serve."
        )
    python = shutil.which(os.path.expanduser(config.python))
    if python is None:
        raise ConfigError(
            f"synthesis.server.python {config.python!r} is neither an executable file nor a command on PATH; "
            "expected the Python of SGLang's environment, such as /opt/sglang/bin/python."
        )
    arguments = _arguments(config)
    groups = _gpu_groups(config)
    host = str(arguments.pop("host", "127.0.0.1"))
    port = _port(arguments.pop("port", None), len(groups))
    if config.gpus_per_server > 1 and not _PARALLELISM & arguments.keys():
        arguments["tp-size"] = config.gpus_per_server
    command = [os.path.abspath(python), "-m", "sglang.launch_server", "--model-path"]
    command.append(os.path.abspath(model) if os.path.isdir(model) else model)
    for name, value in arguments.items():
        command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    spec = Spec(command, host, port, config.startup_timeout_sec, config.max_restarts, _GRACE_SEC)
    env = _env(config)
    return [Launch(spec, env if gpus is None else {**env, "CUDA_VISIBLE_DEVICES": gpus}) for gpus in groups]


def _env(config: ServerConfig) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in config.env.items()}


def _arguments(config: ServerConfig) -> dict[str, _Value]:
    """Arguments of server_defaults.yaml, overridden by the user's, without null and false ones."""
    arguments: dict[str, _Value] = yaml.safe_load(_DEFAULTS.read_text(encoding="utf-8"))
    given: dict[str, str] = {}
    for key, value in config.args.items():
        name = key.lstrip("-_").replace("_", "-")
        if name in _NOT_FOR_ARGS:
            raise ConfigError(f"synthesis.server.args.{key} cannot be set: {_NOT_FOR_ARGS[name]}.")
        if name in given:
            raise ConfigError(
                f"synthesis.server.args: {given[name]!r} and {key!r} are the same argument; keep one."
            )
        given[name] = key
        arguments[name] = value
    return {name: value for name, value in arguments.items() if value is not None and value is not False}


def _port(value: _Value, num_servers: int) -> int | None:
    if value is None:
        return None
    if not str(value).isdecimal() or not 0 < int(value) < 65536:
        raise ConfigError(f"synthesis.server.args.port is {value!r}; expected a number from 1 to 65535.")
    if num_servers > 1:
        raise ConfigError(
            f"synthesis.server.args.port is {value}, but {num_servers} servers start on this machine, one "
            "for each group of GPUs. Remove the port: each server then takes a free one."
        )
    return int(value)


def _gpu_groups(config: ServerConfig) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each server; None does not change it."""
    size = config.gpus_per_server
    if size == 0:
        return [None]
    visible = _env(config).get("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
    if visible is None:
        gpus, source = _gpus_of_machine(), "nvidia-smi"
    else:
        gpus = [gpu.strip() for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
        source = f"CUDA_VISIBLE_DEVICES={visible!r}"
    if len(gpus) < size:
        smaller = f"{len(gpus)} or less" if gpus else "0 for a server without a GPU"
        raise ConfigError(
            f"synthesis.server.gpus_per_server is {size}; GPUs found: {len(gpus)} ({source}). "
            f"Set it to {smaller}, or use a machine with more GPUs."
        )
    return [",".join(gpus[start : start + size]) for start in range(0, len(gpus) - size + 1, size)]


def _gpus_of_machine() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()
