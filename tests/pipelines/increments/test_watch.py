"""`corpus watch`: a corpus ingests files as they arrive."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.watch import Stop, watch
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError, ServerError
from schemas.manifest import Manifest, newest_number, read_manifest
from schemas.synthesis_config import ServerConfig

Config = Callable[..., CorpusConfig]
ROOT = Path(__file__).resolve().parents[3]
LONG_AGO = 1_700_000_000


@pytest.fixture
def config(tmp_path: Path, corpus_config: Config) -> CorpusConfig:
    """A corpus whose sources have no file yet."""
    (tmp_path / "in").mkdir()
    return corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl")


@pytest.fixture
def arrive(tmp_path: Path, passages: Any, write_jsonl: Any) -> Callable[[str, int, int], Path]:
    """Move a complete file of passages into the source folder, with an old modification time."""

    def put(name: str, first: int, behind: int) -> Path:
        path = Path(write_jsonl(tmp_path / f"on-its-way/{name}", passages(behind)[first:]))
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path.rename(tmp_path / "in" / name)

    return put


class After(Stop):
    """Stop request after a number of polls."""

    def __init__(self, looks: int, then: Callable[[int], None] = lambda look: None):
        super().__init__()
        self.waits: list[float] = []
        self._looks = looks
        self._then = then

    def is_asked(self) -> bool:
        return len(self.waits) >= self._looks

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._then(len(self.waits))


def watched(config: CorpusConfig, stop: Stop, **changes: Any) -> list[Manifest]:
    """Run a watch and return the manifests that it published."""
    published: list[Manifest] = []
    watch(config, stop=stop, published=published.append, **{"quiet": True, "settle_sec": 0, **changes})
    return published


@pytest.mark.slow
def test_each_look_takes_in_what_arrived_since_the_last(config: CorpusConfig, arrive: Any) -> None:
    def then(look: int) -> None:
        if look == 1:
            arrive("a.jsonl", 0, 4)
        elif look == 2:
            arrive("b.jsonl", 4, 5)

    manifests = watched(config, After(4, then))
    assert [(each.number, each.increments[-1].num_documents) for each in manifests] == [(1, 4), (2, 1)]


@pytest.mark.slow
def test_too_few_documents_wait_for_more_and_are_counted_once(
    config: CorpusConfig, arrive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipelines.increments.watch

    counted: list[int] = []
    count_new = pipelines.increments.watch.count_new
    monkeypatch.setattr(
        pipelines.increments.watch,
        "count_new",
        lambda *given: counted.append(count_new(*given)) or counted[-1],
    )
    arrive("a.jsonl", 0, 4)

    def then(look: int) -> None:
        if look == 3:
            arrive("b.jsonl", 4, 6)

    (manifest,) = watched(config, After(5, then), min_documents=5)
    assert counted == [4, 6]
    assert manifest.increments[0].num_documents == 6


@pytest.mark.slow
def test_a_file_that_is_still_being_written_is_left_for_a_later_look(
    config: CorpusConfig, arrive: Any, tmp_path: Path, passages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("pipelines.increments.watch.time.monotonic", lambda: now[0])
    arrive("whole.jsonl", 0, 4)
    growing = tmp_path / "in/growing.jsonl"

    def then(look: int) -> None:
        now[0] += 6
        if look <= 3:
            with open(growing, "a") as file:
                file.write(json.dumps(passages(4 + look)[3 + look]) + "\n")
            os.utime(growing, (LONG_AGO + look, LONG_AGO + look))

    stop = After(8, then)
    first, second = watched(config, stop, settle_sec=10, interval_sec=60)
    assert first.increments[-1].num_documents == 4
    assert second.increments[-1].num_documents == 3
    assert stop.waits[:2] == [10, 10]  # no need to wait for the whole interval
    assert stop.waits[-1] == 60


@pytest.mark.slow
def test_a_file_that_just_arrived_is_taken_in_once(
    tmp_path: Path,
    corpus_config: Config,
    passages: Any,
    write_jsonl: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A build of a file without a state cannot note it as read, so the next look would build again."""
    (tmp_path / "in").mkdir()
    uri, fields = f"{tmp_path}/in/*.jsonl", {"id_field": "id", "deleted_field": "gone"}
    sources = [{"reader": "jsonl", "uri": uri, **fields}]
    config = corpus_config(tmp_path / "corpus", streams={"domain": {"sources": sources}})
    rows = [{"id": f"{number}", "text": row["text"]} for number, row in enumerate(passages(3))]
    first = Path(write_jsonl(tmp_path / "in/a.jsonl", rows))
    os.utime(first, (LONG_AGO, LONG_AGO))
    deletion = tmp_path / "in/b.jsonl"

    def then(look: int) -> None:
        if look == 1:
            deletion.write_text('{"id": "0", "gone": true}\n')
        elif look == 2:  # two seconds later it has a state
            os.utime(deletion, (LONG_AGO, LONG_AGO))

    stop = After(4, then)
    manifests = watched(config, stop, quiet=False, interval_sec=60)
    assert [each.increments[-1].num_withdrawn for each in manifests] == [0, 1]
    assert stop.waits == [60, 2, 60, 60]
    told = capsys.readouterr().err
    assert told.count("Building increment") == 2 and "nothing was published" not in told
    assert "1 file new or changed, none settled." in told


@pytest.mark.slow
def test_a_failure_is_tried_again_and_the_fifth_in_a_row_ends_the_watch(
    config: CorpusConfig, arrive: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pipelines.increments.watch

    arrive("a.jsonl", 0, 4)
    tries: list[int] = []
    build_increment = pipelines.increments.watch.build_increment

    def build(*given: Any, **named: Any) -> Any:
        tries.append(1)
        if len(tries) in (1, 2):
            raise ServerError("the server is away.")
        return build_increment(*given, **named)

    monkeypatch.setattr(pipelines.increments.watch, "build_increment", build)
    (manifest,) = watched(config, After(4), interval_sec=7)
    assert manifest.number == 1
    assert capsys.readouterr().err.splitlines() == [
        "ServerError: the server is away. Trying again in 7 s (1 of 5).",
        "ServerError: the server is away. Trying again in 7 s (2 of 5).",
    ]

    def away(*given: Any, **named: Any) -> Any:
        raise ServerError("the server is away.")

    arrive("b.jsonl", 4, 6)
    monkeypatch.setattr(pipelines.increments.watch, "build_increment", away)
    stop = After(100)
    with pytest.raises(ServerError, match=r"^the server is away\.$"):
        watched(config, stop)
    assert len(stop.waits) == 4
    assert newest_number(config.corpus) == 1


@pytest.mark.slow
def test_servers_that_workers_start_are_held_from_the_first_look_to_the_last(
    config: CorpusConfig, arrive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    @contextlib.contextmanager
    def lease(server: ServerConfig, *, model: str) -> Iterator[None]:
        said.append(f"leased {server.python} for {model}")
        yield
        said.append("released")

    monkeypatch.setattr("pipelines.increments.watch.lease_servers", lease)
    synthesis = config.synthesis.model_copy(
        update={"server": ServerConfig(python="/opt/sglang/bin/python"), "model": "a/model"}
    )
    arrive("a.jsonl", 0, 2)
    stop = After(3, lambda look: said.append(f"look {look}"))
    watched(config.model_copy(update={"synthesis": synthesis}), stop)
    assert said == [
        "leased /opt/sglang/bin/python for a/model",
        "look 1",
        "look 2",
        "look 3",
        "released",
    ]


def test_a_wrong_configuration_ends_the_watch_at_once(config: CorpusConfig) -> None:
    synthesis = config.synthesis.model_copy(update={"backend": "mind"})
    with pytest.raises(ConfigError, match="Did you mean 'mined'"):
        watched(config.model_copy(update={"synthesis": synthesis}), After(100))
    with pytest.raises(ConfigError, match="runs on this machine only"):
        watch(config, ["--runner=DataflowRunner"], stop=After(100), quiet=True)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--interval", "0"), "--interval is 0; expected at least 0.1."),
        (("--min-documents", "0"), "--min-documents is 0; expected at least 1."),
        (("--settle", "-1"), "--settle is -1; expected at least 0."),
    ],
)
def test_options_out_of_range_are_refused(
    config: CorpusConfig, tutelage: Any, tmp_path: Path, option: tuple[str, str], message: str
) -> None:
    (tmp_path / "any.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    said = tutelage("corpus", "watch", str(tmp_path / "any.yaml"), *option)
    assert (said.status, said.err) == (2, f"ConfigError: {message}\n")


class Watch:
    """A `tutelage corpus watch` process and its output."""

    def __init__(self, config: CorpusConfig, folder: Path, *, before: str = ""):
        (folder / "corpus.yaml").write_text(json.dumps(config.model_dump(mode="json")))
        code = f"{before}\nimport sys; from plugins.commands.main import main; sys.exit(main(sys.argv[1:]))"
        arguments = ("corpus", "watch", str(folder / "corpus.yaml"), "--interval", "0.2", "--settle", "0")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._threads = [
            threading.Thread(target=lines.extend, args=(stream,), daemon=True)
            for lines, stream in ((self.out, self.process.stdout), (self.err, self.process.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for a condition while the process lives."""
        end = time.monotonic() + 240
        while not done():
            assert self.process.poll() is None, self.err
            assert time.monotonic() < end, self.err
            time.sleep(0.05)

    def end(self) -> int:
        """Wait for the end of the process and return its exit status."""
        status = self.process.wait(240)
        for thread in self._threads:
            thread.join()
        return status


@pytest.fixture
def started() -> Iterator[list[Watch]]:
    """List of started watches; the fixture kills them after the test."""
    watches: list[Watch] = []
    yield watches
    for each in watches:
        each.process.kill()
        each.process.wait()


@pytest.mark.slow
def test_a_watch_of_its_own_publishes_what_arrives_and_ends_well_at_sigterm(
    config: CorpusConfig, arrive: Any, tmp_path: Path, started: list[Watch]
) -> None:
    watcher = Watch(config, tmp_path)
    started.append(watcher)
    arrive("a.jsonl", 0, 4)
    watcher.until(lambda: newest_number(config.corpus) == 1)
    arrive("b.jsonl", 4, 6)
    watcher.until(lambda: newest_number(config.corpus) == 2)
    watcher.until(lambda: len(watcher.out) >= 4)
    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.end() == 0
    assert watcher.out[0].startswith(f"{config.corpus}: increment 1 published, 4 documents, ")
    assert read_manifest(config.corpus).increments[1].num_documents == 2
    (lock,) = Path(config.corpus, "lock").iterdir()
    assert json.loads(lock.read_text())["released"]


ENDLESS = """
import sys, time, types
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.mined import MinedSynthesizer

class Slow(MinedSynthesizer):
    async def synthesize(self, chain):
        import asyncio, os
        open({reached!r}, "w").close()
        while not os.path.exists({go_on!r}):
            await asyncio.sleep(0.05)
        return await super().synthesize(chain)

module = types.ModuleType("slow")
module.Slow = Slow
sys.modules["slow"] = module
SYNTHESIZERS._targets["mined"] = "slow:Slow"
"""


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_sigterm_lets_the_increment_in_hand_be_finished_and_a_second_drops_it(
    config: CorpusConfig, arrive: Any, tmp_path: Path, started: list[Watch], signals: int, build: Any
) -> None:
    reached, go_on = tmp_path / "reached", tmp_path / "go-on"
    watcher = Watch(config, tmp_path, before=ENDLESS.format(reached=str(reached), go_on=str(go_on)))
    started.append(watcher)
    arrive("a.jsonl", 0, 4)
    watcher.until(reached.exists)
    watcher.process.send_signal(signal.SIGTERM)
    watcher.until(lambda: any(line.startswith("SIGTERM: ending after") for line in watcher.err))
    if signals == 2:
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.end() == 130
        assert watcher.err[-1] == "Interrupted.\n"
        assert newest_number(config.corpus) == 0
        assert not (Path(config.corpus) / "increments").exists() or not list(
            (Path(config.corpus) / "increments").iterdir()
        )
        assert build(config).increments[0].num_documents == 4
    else:
        arrive("b.jsonl", 4, 6)  # too late for this increment
        go_on.touch()
        assert watcher.end() == 0
        assert read_manifest(config.corpus).increments[-1].num_documents == 4
        assert newest_number(config.corpus) == 1


@pytest.mark.slow
def test_a_watch_says_what_it_waits_for_and_what_each_look_found(
    config: CorpusConfig, arrive: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("pipelines.increments.watch.time.monotonic", lambda: now[0])

    def then(look: int) -> None:
        now[0] += 6
        if look == 2:
            arrive("a.jsonl", 0, 2)
        elif look == 7:
            arrive("b.jsonl", 2, 4)

    published: list[Manifest] = []
    watch(
        *(config,),
        stop=After(12, then),
        interval_sec=60,
        min_documents=3,
        settle_sec=10,
        published=published.append,
    )
    assert [manifest.increments[-1].num_documents for manifest in published] == [4]
    of_the_build = ("Building increment 1 ", "  ", "read", "done")
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(of_the_build)]
    assert [line for line in said if "file" in line or "document" in line] == [
        f"Watching the sources of domain for {config.corpus}, every 60 s; a file is taken once it has not "
        "changed for 10 s, an increment has at least 3 new documents.",
        "0 files in the sources, none new or changed.",
        "1 file new or changed, none settled.",
        "1 file to be taken in.",
        "2 new documents in them, of at least 3: waiting for more.",
        "2 files to be taken in.",
        "2 files in the sources, none new or changed.",
    ]
