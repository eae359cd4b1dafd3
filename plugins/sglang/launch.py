"""What each server of a machine is started with: its GPUs, its command, its environment.

Nothing is started here: what can be wrong with `synthesis.server` is found before anything is.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import yaml

from plugins.sglang.server_folder import Spec
from schemas.corpus_config import ServerConfig
from schemas.errors import ConfigError
from schemas.process import keep_to_loopback

_Value = str | int | float | bool | None

_DEFAULTS = Path(__file__).with_name("server.yaml")
_GRACE_SEC = 8.0
"""SGLang looks every 5 s whether it was asked to end; so long an idle server takes."""
_NOT_FOR_ARGS = {
    "model-path": "set synthesis.server.model instead",
    "model": "set synthesis.server.model instead",
    "api-key": "workers send no key, and the server listens to this machine alone",
}
_PARALLELISM = {
    "tp-size",
    "tensor-parallel-size",
    "dp-size",
    "data-parallel-size",
    "pp-size",
    "pipeline-parallel-size",
}
_SEVERAL_MACHINES = {"nnodes", "dist-init-addr", "nccl-init-addr"}
_OF_OUR_PYTHON = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
"""The server's interpreter is another one, and starts slowly if it writes no bytecode."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """One server to be.

    Attributes:
        spec: What its supervisor is told.
        changes: Environment variables that are its own.
    """

    spec: Spec
    changes: dict[str, str]

    def environment(self) -> dict[str, str]:
        """All its environment variables: those of this process, without those about our interpreter."""
        kept = {name: value for name, value in os.environ.items() if name not in _OF_OUR_PYTHON}
        environment = {**kept, **self.changes}
        if not _SEVERAL_MACHINES & {word.lstrip("-") for word in self.spec.command}:
            keep_to_loopback(environment)
        return environment


def plan_launches(config: ServerConfig, *, model: str) -> list[Launch]:
    """One launch for each group of GPUs of this machine; GPUs that fill no group are left over.

    Raises:
        ConfigError: The model, the interpreter, an argument or the number of GPUs will not do.
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
            "expected the Python that SGLang is installed for, such as /opt/sglang/bin/python."
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
    spec = Spec(
        command=command,
        host=host,
        port=port,
        startup_timeout_sec=config.startup_timeout_sec,
        max_restarts=config.max_restarts,
        grace_sec=_GRACE_SEC,
    )
    env = _env(config)
    return [Launch(spec, env if gpus is None else {**env, "CUDA_VISIBLE_DEVICES": gpus}) for gpus in groups]


def _env(config: ServerConfig) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in config.env.items()}


def _arguments(config: ServerConfig) -> dict[str, _Value]:
    """Those of server.yaml under those of the user, without those that are switched off."""
    arguments: dict[str, _Value] = yaml.safe_load(_DEFAULTS.read_text(encoding="utf-8"))
    given: dict[str, str] = {}
    for key, value in config.args.items():
        name = key.lstrip("-_").replace("_", "-")
        if name in _NOT_FOR_ARGS:
            raise ConfigError(f"synthesis.server.args.{key} cannot be set: {_NOT_FOR_ARGS[name]}.")
        if name in given:
            raise ConfigError(f"synthesis.server.args: {given[name]!r} and {key!r} are the same; keep one.")
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
            f"synthesis.server.args.port is {value}, but {num_servers} servers are to start on this machine, "
            "one for each group of GPUs. Leave it out: each then takes a free port."
        )
    return int(value)


def _gpu_groups(config: ServerConfig) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each server; None leaves it as it is."""
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
            f"Set it to {smaller}, or run where there are more GPUs."
        )
    return [",".join(gpus[start : start + size]) for start in range(0, len(gpus) - size + 1, size)]


def _gpus_of_machine() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()
