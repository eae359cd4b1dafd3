"""Runs that are suspended, killed, terminated or interrupted: published files stay unchanged."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments import lease
from pipelines.inspect.verify import verify_corpus
from pipelines.store.ledger import ledger_row, write_ledger
from plugins.synthesizers.mined import MinedSynthesizer
from schemas import scratch_folder as scratch
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import ledger_uri
from schemas.errors import CorpusError
from schemas.manifest import read_manifest
from schemas.records import Chain, SynthesizedDocument

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
WAITING = """
    import asyncio, os, sys, types
    from pipelines.increments import lease
    from plugins.commands.main import run
    from plugins.synthesizers import SYNTHESIZERS
    from plugins.synthesizers.mined import MinedSynthesizer
    from schemas.corpus_config import CorpusConfig

    config, reached, go_on, *options = sys.argv[1:]
    lease.EXPIRES_SEC, lease.RENEW_SEC = 2.0, 0.2

    class Waiting(MinedSynthesizer):
        async def synthesize(self, chain):
            open(reached, "w").close()
            while not os.path.exists(go_on):
                await asyncio.sleep(0.05)
            return await super().synthesize(chain)

    module = types.ModuleType("waiting")
    module.Waiting = Waiting
    sys.modules["waiting"] = module
    SYNTHESIZERS._targets["mined"] = "waiting:Waiting"

    def build(argv):
        from pipelines.increments import build as building
        from pipelines.increments.build import build_increment
        run_to_end = building.run_to_end

        def run_with_workers(pipeline, say):  # in which the class above is not known
            open(reached, "w").close()
            return run_to_end(pipeline, say)

        if options:
            building.run_to_end = run_with_workers
        return 0 if build_increment(CorpusConfig.model_validate_json(config), options) else 3

    sys.exit(run(build))
"""
Start = Callable[..., "subprocess.Popen[str]"]
WORKERS = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.fixture
def config(tmp_path: Path, corpus_config: Any, passages: Any, write_jsonl: Any) -> CorpusConfig:
    source = write_jsonl(tmp_path / "in.jsonl", passages(4))
    made: CorpusConfig = corpus_config(tmp_path / "corpus", source)
    return made


@pytest.fixture
def start(config: CorpusConfig, tmp_path: Path) -> Iterator[Start]:
    """Start a build in its own session; its synthesizer waits until the file `go-on` exists.

    With workers the build does not wait: it has just begun to start them.
    """
    started: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> subprocess.Popen[str]:
        reached, go_on = tmp_path / "reached", tmp_path / "go-on"
        arguments = [config.model_dump_json(), str(reached), str(go_on), *options]
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WAITING), *arguments],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        until = time.monotonic() + 120
        while not reached.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.05)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def contents(corpus: str) -> dict[str, str]:
    return {
        str(path.relative_to(corpus)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(corpus).rglob("*"))
        if path.is_file() and path.parent.name != "lock"
    }


class WaitingHere(MinedSynthesizer):
    """Synthesizer that waits in its first chain until the test sets `go_on`."""

    reached = threading.Event()
    go_on = threading.Event()

    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        self.reached.set()
        while not self.go_on.is_set():
            await asyncio.sleep(0.01)
        return await super().synthesize(chain)


def test_of_two_builds_at_once_one_wins_and_the_other_says_why_it_ends(
    config: CorpusConfig, synthesizer: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WaitingHere, "reached", threading.Event())
    monkeypatch.setattr(WaitingHere, "go_on", threading.Event())
    synthesis = config.synthesis.model_copy(update={"backend": synthesizer(WaitingHere)})
    published: list[Any] = []
    first = threading.Thread(
        target=lambda: published.append(build(config.model_copy(update={"synthesis": synthesis})))
    )
    first.start()
    try:
        assert WaitingHere.reached.wait(60)
        before = contents(config.corpus)
        with pytest.raises(CorpusError) as caught:
            build(config)
        assert str(caught.value).startswith(
            f"{config.corpus}/lock/000001.json: another run holds this corpus (process {os.getpid()} on "
        )
        assert contents(config.corpus) == before
    finally:
        WaitingHere.go_on.set()
        first.join()
    (manifest,) = published
    assert (manifest.number, manifest.increments[0].num_documents) == (1, 4)
    assert json.loads((Path(config.corpus) / "lock/000001.json").read_text())["released"]


def test_a_run_whose_lock_was_taken_over_publishes_and_removes_nothing_but_its_own(
    config: CorpusConfig, synthesizer: Any, build: Any, files_of: Any
) -> None:
    theirs = Path(config.corpus) / "increments/000001-0123456789ab/stats.json"

    class Overtaken(MinedSynthesizer):
        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            storage.write_bytes(str(theirs), b"another run's")
            own = Path(config.corpus) / "lock/000001.json"
            own.with_name("000002.json").write_text(own.read_text())
            return await super().synthesize(chain)

    synthesis = config.synthesis.model_copy(update={"backend": synthesizer(Overtaken)})
    with pytest.raises(
        CorpusError, match=r"another run took the lock over \(process .* Nothing was published"
    ):
        build(config.model_copy(update={"synthesis": synthesis}))
    assert not (Path(config.corpus) / "manifest").exists()
    assert [name for name in files_of(config.corpus) if "journal" not in name] == [
        "increments/000001/stats.json"
    ]
    assert theirs.read_text() == "another run's"


@pytest.mark.parametrize("way", ["it is not renewed", "its file was removed", "another PID namespace"])
def test_a_suspended_build_that_another_overtook_publishes_nothing_and_changes_no_byte(
    config: CorpusConfig, start: Start, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(lease, "EXPIRES_SEC", 2.0)
    process = start()
    process.send_signal(signal.SIGSTOP)
    lock = Path(config.corpus) / "lock/000001.json"
    if way == "its file was removed":
        lock.unlink()
    elif way == "another PID namespace":  # the process id has no meaning in this namespace
        lock.write_text(lock.read_text().replace("pid:[", "pid:[9"))
    time.sleep(2.2)
    assert build(config).number == 1
    published = contents(config.corpus)
    process.send_signal(signal.SIGCONT)
    (tmp_path / "go-on").touch()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    *_, last = said.splitlines()
    assert last.startswith(f"CorpusError: {config.corpus}: another run took the lock over (process ")
    assert "Nothing was published; answers so far are in the journal. Run again." in last
    assert "Traceback" not in said
    assert contents(config.corpus) == published
    assert verify_corpus(config.corpus, read_manifest(config.corpus)).damages == ()


@pytest.mark.parametrize("workers", [(), WORKERS])
def test_sigterm_ends_a_build_which_leaves_nothing_but_the_lock_it_gave_back(
    config: CorpusConfig, start: Start, workers: tuple[str, ...]
) -> None:
    process = start(*workers)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said.splitlines()[-1]) == (130, "Interrupted.")
    assert json.loads((Path(config.corpus) / "lock/000001.json").read_text())["released"]
    assert contents(config.corpus) == {}
    assert os.listdir(tempfile.gettempdir()) == []


@pytest.mark.parametrize("workers", [(), WORKERS])
def test_what_a_killed_build_left_in_the_corpus_and_in_tmpdir_goes_with_the_next(
    config: CorpusConfig,
    start: Start,
    build: Any,
    digests_of: Any,
    files_of: Any,
    tmp_path: Path,
    workers: tuple[str, ...],
) -> None:
    process = start(*workers)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert os.listdir(tempfile.gettempdir())
    assert (Path(config.corpus) / "lock/000001.json").exists()
    assert not (Path(config.corpus) / "manifest").exists()
    # Leftovers of a run killed later: half a group, and the ledger of a removed stream.
    group = Path(config.corpus) / "increments/000001-0123456789ab/shards/domain/00007"
    group.mkdir(parents=True)
    (group / "shard.00000.mds.zstd").write_bytes(b"half")
    write_ledger(ledger_uri(config.corpus, "gone", "000001-0123456789ab"), [ledger_row("a", "00" * 16)])
    scratch._remove_abandoned.cache_clear()
    manifest = build(config)
    assert os.listdir(tempfile.gettempdir()) == []
    assert os.listdir(Path(config.corpus) / "increments") == list(manifest.names())
    unbroken = config.model_copy(update={"corpus": str(tmp_path / "unbroken")})
    build(unbroken)
    assert digests_of(config.corpus) == digests_of(unbroken.corpus)
    assert files_of(config.corpus) == files_of(unbroken.corpus)


@pytest.mark.parametrize(("limit", "what"), [(2_000, "/tutelage-scratch-tokenizer-"), (40_000, "/t-")])
def test_a_disk_that_takes_only_a_part_of_a_file_ends_a_build_with_a_sentence_and_nothing_published(
    config: CorpusConfig, passages: Any, write_jsonl: Any, tmp_path: Path, limit: int, what: str
) -> None:
    write_jsonl(tmp_path / "in.jsonl", passages(300))
    (tmp_path / "corpus.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    code = (
        "import resource, sys; from plugins.commands.main import main;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "sys.exit(main(['corpus', 'build', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "corpus.yaml")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("StorageError: ") and what in last
    assert (
        ": cannot be written completely: File too large. Free space on its disk, or raise the limit" in last
    )
    assert contents(config.corpus) == {}
