"""Errors of the machine and unexpected errors: one sentence on the terminal, the traceback in a file."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from plugins.commands.main import main, run
from schemas.crash_messages import machines_fault, understood
from schemas.errors import MachineError, UnexpectedError, WorkerError
from schemas.process import python_command
from tests.tiny import save_bpe

DEEP = "[" * 100_000
WORDS = "the cell protein binds a dose in the trial of a patient gene and acid to blood drug study effect"
IN_A_WORKER = """Traceback (most recent call last):
  File "apache_beam/runners/worker/sdk_worker.py", line 311, in _execute
{error}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "pipelines/steps/write_shards.py", line 230, in process
{error} [while running 'domain/WriteShards']

"""


def sentence(error: BaseException) -> str:
    """Message of an error without the name of the log file; the file contains the traceback."""
    try:
        raise error
    except type(error) as raised:
        said, _, log = str(understood(raised)).rpartition(" Traceback: ")
    assert "Traceback (most recent call last)" in Path(log).read_text()
    assert Path(log).stat().st_mode & 0o777 == 0o600
    return said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/a/b"),
            "/a/b: no space left on device. Free space there, or use another disk; then run again.",
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded", "/a"),
            "/a: disk quota exceeded. Free space in your quota, or use another disk; then run again.",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/a"),
            "/a: read-only file system. Use a folder that you can write to.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/a"),
            "/a: permission denied. Give yourself the permission, or use another folder.",
        ),
        (
            PermissionError(errno.EPERM, "Operation not permitted", "/a"),
            "/a: operation not permitted. Give yourself the permission, or use another folder.",
        ),
        (
            OSError(errno.EMFILE, "Too many open files", "/a"),
            "/a: too many open files. Raise the limit of open files (`ulimit -n`), or use fewer workers.",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "/a"),
            "/a: file name too long. Use a shorter file or folder name.",
        ),
        (
            OSError(errno.EFBIG, "File too large", "/a"),
            "/a: file too large. Raise the limit on file size (`ulimit -f`), or use another file system.",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "/a/b"),
            "/a/b: not a directory. A file is where a folder is needed; move the file, or use another "
"path.",
        ),
        (
            FileNotFoundError("bucket/key"),  # the form that fsspec's stores raise
            "a file or connection: bucket/key. It may have been removed; put it back, or correct the path.",
        ),
        (
            MemoryError(),
            "memory ran out. Use fewer workers, smaller batches, or a machine with more memory.",
        ),
        (  # Beam's copy
            OSError("[Errno 28] No space left on device: '/a/b' [while running 'domain/Write']"),
            "/a/b: no space left on device. Free space there, or use another disk; then run again.",
        ),
        (
            RuntimeError(IN_A_WORKER.format(error="OSError: [Errno 122] Disk quota exceeded: '/a'")),
            "/a: disk quota exceeded. Free space in your quota, or use another disk; then run again.",
        ),
        (
            RuntimeError(IN_A_WORKER.format(error="MemoryError: ")),
            "memory ran out. Use fewer workers, smaller batches, or a machine with more memory.",
        ),
    ],
)  # fmt: skip
def test_what_the_machine_refuses_is_said_with_its_place_and_its_cure(error: Exception, said: str) -> None:
    assert sentence(error) == said
    assert type(machines_fault(error)) is MachineError


def test_a_write_without_a_name_on_a_full_disk_names_the_places_it_may_be() -> None:
    said = sentence(OSError(errno.ENOSPC, "No space left on device"))
    places = rf"{re.escape(tempfile.gettempdir())} \([\d,]+ MB free\), or {re.escape(os.getcwd())} \("
    assert re.match(places, said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("odd"), "KeyError: 'odd' (test_sentences.py, line"),
        (
            RuntimeError(IN_A_WORKER.format(error="KeyError: 'odd'")),
            "KeyError: 'odd' (test_sentences.py, line",
        ),
    ],
)
def test_what_nobody_foresaw_is_one_sentence_too(error: Exception, said: str) -> None:
    assert sentence(error).startswith(said)
    assert sentence(error).endswith("). This is a bug in Tutelage; please report it.")
    assert machines_fault(error) is None
    assert type(understood(error)) is UnexpectedError


def test_an_error_met_while_a_missing_file_was_handled_is_not_told_as_that_file() -> None:
    try:
        try:
            os.stat("/nowhere")
        except FileNotFoundError:
            {}["odd"]
    except KeyError as error:
        assert machines_fault(error) is None


def test_an_error_of_ours_is_said_as_it_is() -> None:
    error = WorkerError("a worker process was killed.")
    assert understood(error) is error


def test_where_no_log_can_be_written_the_traceback_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(arguments: list[str]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    def no_room(**named: str) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/work']")

    monkeypatch.setattr("schemas.crash_messages.tempfile.mkstemp", no_room)
    assert run(command, []) == 1
    said = capsys.readouterr().err
    assert said.startswith("MachineError: /tmp/x: no space left on device. Free space there, ")
    assert "The traceback could not be saved ([Errno 2] No usable temporary directory found in " in said
    assert "Traceback (most recent call last)" in said


def test_a_temporary_folder_that_cannot_be_written_is_named_with_its_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/work']")
    assert sentence(error) == (
        "no folder for temporary files can be written: No usable temporary directory found in ['/tmp', "
        "'/work']. Set TMPDIR to a folder that you can write to and that has space."
    )


@pytest.mark.parametrize(
    ("text", "overrides"),
    [(f"corpus: {DEEP}", []), ("corpus: x", [f"corpus={DEEP[:20_000]}"])],
    ids=["in the file", "on the command line"],
)
def test_a_configuration_that_is_nested_without_end_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, overrides: list[str]
) -> None:
    (tmp_path / "deep.yaml").write_text(text)
    assert main(["corpus", "build", str(tmp_path / "deep.yaml"), *overrides]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ConfigError: ")
    assert "Traceback" not in said


@pytest.fixture
def yaml(tmp_path: Path) -> Path:
    """A corpus of 200 documents."""
    save_bpe(tmp_path / "tokenizer", [WORDS] * 4, vocab_size=300, special_tokens=["</s>"], eos_token="</s>")
    rows = [
        {"id": f"{number}", "text": f"{WORDS}. Because {number} binds, it ends."} for number in range(200)
    ]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"reader": "jsonl", "uri": str(tmp_path / "raw.jsonl"), "id_field": "id"}
    config = {
        "corpus": str(tmp_path / "corpus"),
        "streams": {"domain": {"synthesize": True, "sources": [source]}},
        "tokenizer": {"name": str(tmp_path / "tokenizer")},
        "pack": {"seq_len": 512},
    }
    (tmp_path / "corpus.yaml").write_text(json.dumps(config))
    return tmp_path / "corpus.yaml"


@pytest.mark.slow
def test_a_row_that_is_nested_without_end_is_a_reject(yaml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(yaml.with_name("raw.jsonl"), "a") as file:
        file.write(f'{{"id": "deep", "text": {DEEP}\n{DEEP}\n')
    assert main(["corpus", "build", str(yaml)]) == 0
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "2 read: invalid_json" in said.out


@pytest.mark.slow
def test_a_build_over_the_limit_of_a_file_s_size_says_so_and_publishes_nothing(yaml: Path) -> None:
    done = subprocess.run(
        python_command("plugins.commands.main", "corpus", "build", str(yaml)),
        capture_output=True,
        text=True,
        timeout=500,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)),
    )
    assert done.returncode == 1, done.stderr
    assert "ile too large" in done.stderr
    assert "ulimit -f" in done.stderr
    assert "Traceback (most recent call last)" not in done.stderr
    assert not list(yaml.parent.glob("corpus/manifest/*"))


@pytest.mark.slow
def test_an_output_on_a_full_disk_is_a_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            python_command("plugins.commands.main", "--help"), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("MachineError: ")
    assert "or standard output: no space left on device. Free space there, " in done.stderr
    assert "Traceback (most" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/proc names the workers")
@pytest.mark.slow
def test_a_build_whose_worker_is_killed_ends_with_a_sentence(yaml: Path) -> None:
    command = ["corpus", "build", str(yaml), "--", "--direct_running_mode=multi_processing"]
    build = subprocess.Popen(
        python_command("plugins.commands.main", *command, "--direct_num_workers=2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Thread(target=kill_first_worker, args=(build.pid,))
    killer.start()
    _, said = build.communicate(timeout=500)
    killer.join()
    assert build.returncode == 1
    assert "WorkerError: a worker process was killed by SIGKILL before its work was done." in said
    assert "Traceback" not in said
    assert "Channel closed" not in said
    assert len(said.splitlines()) < 12, said
    assert not list(yaml.parent.glob("corpus/manifest/*"))


def kill_first_worker(pid: int) -> None:
    """Kill a child of the command once it has several threads: then gRPC runs in it."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        for child in children(pid):
            with contextlib.suppress(OSError):  # an import runs short-lived programs
                if len(list(Path(f"/proc/{child}/task").iterdir())) > 1:
                    os.kill(child, signal.SIGKILL)
                    return
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process has ended
            state, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
            if int(parent) == pid and state not in "ZX":
                found.append(int(process.name))
    return found
