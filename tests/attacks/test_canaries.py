"""API keys in every place that accepts one: no output of a build contains a key."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

import pytest
import zstandard
from aiohttp import web

from pipelines.runners.remote.wheel import make_wheel
from plugins.commands.main import main
from tests.plugins.sglang.fake_server import Server, good, status
from tests.published import read_stats
from tests.tiny import save_bpe

ROOT = Path(__file__).resolve().parents[2]
CANARY = "sk-canary-5f0e6c2a91"
FORMS = (CANARY.encode(), base64.b64encode(CANARY.encode()), CANARY[:12].encode())


def unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if path.suffix == ".zst" else data


def holders(folder: Path) -> list[str]:
    """Files below a folder that contain the key, compressed or not."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and any(form in unpacked(path) for form in FORMS)
    ]


@pytest.fixture
def echoing() -> Iterator[Server]:
    """A server, in a thread, that repeats the received key in every response."""
    question = f"Which key? <|q_e|> {CANARY}"

    async def echo(server: Server, request: web.Request) -> web.StreamResponse:
        key = request.headers["Authorization"]
        if len(server.ids) % 3 == 0:
            return status(400, {"error": {"message": f"{key} may not"}})()
        return good(json.dumps([{"question": f"{question} {key}", "answer": f"It is {key}, of the cell."}]))

    server, loop = Server(echo), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
    yield server
    asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "where"), [("sglang", "environment"), ("sglang", "file"), ("openai", "environment")]
)
def test_a_key_is_in_nothing_that_a_build_leaves_or_says(
    backend: str,
    where: str,
    echoing: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "key").write_text(f"{CANARY}\n")
    monkeypatch.setenv("CANARY_OF_A_TEST", CANARY)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    words = "the cell protein binds a dose in the trial of a patient gene"
    tokenizer = save_bpe(
        tmp_path / "tokenizer",
        [words] * 4,
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        eos_token="<|endoftext|>",
        chat_template="{% for m in messages %}{{ m.content }}{% endfor %}",
    )
    rows = [{"id": str(number), "text": f"Study {number}: {words}."} for number in range(12)]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    option = (
        {"api_key_env": "CANARY_OF_A_TEST"}
        if where == "environment"
        else {"api_key_file": str(tmp_path / "key")}
    )
    config = tmp_path / "corpus.yaml"
    values = {
        "corpus": str(tmp_path / "corpus"),
        "streams": {
            "domain": {
                "synthesize": True,
                "sources": [{"reader": "jsonl", "uri": str(tmp_path / "in.jsonl"), "id_field": "id"}],
            }
        },
        "synthesis": {
            **{"backend": backend, "protocol": "chat", "endpoints": echoing.url},
            "model": tokenizer if backend == "sglang" else "a-served-name",
            **{"max_failure_share": 1.0, "max_empty_share": 1.0, "max_new_tokens": 100},
            "options": {**option, "max_attempts": 1, "backoff_sec": 0.01},
        },
        "tokenizer": {"name": tokenizer},
        "pack": {"seq_len": 4096},
    }
    config.write_text(json.dumps(values))
    assert main(["corpus", "build", str(config)]) == 0
    assert main(["corpus", "plan", str(config), "--json"]) == 0
    for command in ("show", "verify", "trace"):
        more = ["domain-00000:0"] if command == "trace" else []
        main(["corpus", command, str(tmp_path / "corpus"), *more])
    out, err = capfd.readouterr()
    assert echoing.headers[0]["Authorization"] == f"Bearer {CANARY}"
    assert CANARY[:12] not in out + err
    assert holders(tmp_path / "corpus") == holders(temporary) == []
    texts = b"".join(unpacked(path) for path in (tmp_path / "corpus").rglob("*.jsonl.zst"))
    assert b"[api key]" in texts  # the key came back and was masked
    synthesis = read_stats(str(tmp_path / "corpus"), 1)["synthesis"]
    (tally,) = synthesis["endpoints"].values()
    assert tally["requests"] == synthesis["requests"] == synthesis["cached_tokens"] > 0


def test_a_file_that_lies_about_in_a_checkout_is_in_no_wheel(tmp_path: Path) -> None:
    stray = ROOT / "pipelines/runners/remote/canary.env"
    stray.write_text(CANARY)
    try:
        wheel = make_wheel(Distribution.from_name("tutelage"), tmp_path)
    finally:
        stray.unlink()
    archive = zipfile.ZipFile(wheel)
    assert not any(form in archive.read(name) for name in archive.namelist() for form in FORMS)
    assert "pipelines/yamls/demo.yaml" in archive.namelist()
