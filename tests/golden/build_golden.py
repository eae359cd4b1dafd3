"""Golden corpora: small corpora, built once, that every later version must rebuild byte by byte.

`mined` covers everything that needs no server: two increments, a changed document, a withdrawal, a
compaction. `asked` covers the prompts of a synthesizer and their answers. All URIs are relative, and the
names of increments are counted, so the same sources give the same bytes in any folder.
`python -m tests.golden.build_golden` rebuilds them.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import zstandard
from aiohttp import web

from tests.conftest import served

HERE = Path(__file__).parent
LEFT_OUT = re.compile(
    r"(^|/)(stats\.json|README\.md|report\.html|decontamination\.json)$|^(lock|journal|sources\.jsonl\.zst)"
)
"""Files that contain times, versions or the order of answers."""

SOURCES = {
    "domain": {
        "synthesize": True,
        "sources": [
            {
                "reader": "jsonl",
                "uri": "sources/articles*.jsonl",
                "id_field": "id",
                "metadata_fields": ["year"],
            },
            {"reader": "text", "uri": "sources/notes/*.txt"},
        ],
    },
    "general": {"sources": [{"reader": "jsonl", "uri": "sources/general.jsonl.gz"}]},
}
COMMON: dict[str, Any] = {
    "corpus": "corpus",
    "seed": 17,
    "chains": {"max_documents": 2},
    "clean": {"mask_personal_data": {"email": True}},
    "decontaminate": {"tasks": ["sources/tasks"]},
    "tokenizer": {"name": "tokenizer"},
    "pack": {"seq_len": 256},
}
TUNING = {"tuning": {}, "sources": [{"preset": "squad", "uri": "sources/questions.json"}]}
CONFIGS: dict[str, dict[str, Any]] = {
    "mined": {**COMMON, "streams": {**SOURCES, "tuning": TUNING}},
    "asked": {
        **COMMON,
        "streams": {"domain": SOURCES["domain"]},
        "pack": {"seq_len": 512},
        "verify": {},
        "synthesis": {
            "backend": "sglang",
            "protocol": "instruction_synthesizer",
            "model": "tokenizer",
            "context_tokens": 2048,
            "max_new_tokens": 200,
            "max_empty_share": 1.0,
        },
    },
}


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """One to three pairs in the published synthesizer's format, and no pair for one prompt in eight."""
    state = hashlib.sha256(json.dumps(body["input_ids"]).encode()).digest()
    pairs = [
        f"<QUE> What does study {state[at]} say of dose {at}? <ANS> That it is {state[at + 1]} mg. </END>"
        for at in range(1, 2 + state[0] % 3)
    ]
    text = "" if state[8] % 8 == 0 else " " + "\n\n".join(pairs)
    counts = {
        "prompt_tokens": len(body["input_ids"]),
        "completion_tokens": len(text) // 4,
        "cached_tokens": 0,
    }
    return {"text": text, "meta_info": {"id": body["rid"], "finish_reason": {"type": "stop"}, **counts}}


@contextlib.contextmanager
def synthesizer() -> Iterator[str]:
    """Start a server that gives each prompt a fixed answer, and yield its URL."""

    async def generate(request: web.Request) -> web.Response:
        return web.json_response(answer(await request.json()))

    async def health(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/generate", generate)
    app.router.add_get("/health", health)
    with served(app) as url:
        yield url


def build_golden(name: str, folder: Path, token_maker: str) -> Path:
    """Build a golden corpus in a folder and return the corpus; the folder becomes the working directory.

    Args:
        name: A key of CONFIGS.
        folder: Folder of sources, tokenizer and corpus.
        token_maker: Import path of the function that makes the random part of increment names.
    """
    from plugins.commands.main import main

    def run(*argv: str) -> None:
        status = main(list(argv))
        assert status == 0, f"tutelage {' '.join(argv)} ended with {status}"

    for part in ("sources", "tokenizer"):
        shutil.copytree(HERE / part, folder / part)
    before = os.getcwd()
    os.chdir(folder)
    try:
        with (
            synthesizer() as url,
            mock.patch(token_maker, side_effect=(f"{n:012x}" for n in itertools.count(1))),
        ):
            config = dict(CONFIGS[name])
            if name == "asked":
                config["synthesis"] = {**config["synthesis"], "endpoints": [url]}
            Path("corpus.yaml").write_text(json.dumps(config))
            run("corpus", "build", "corpus.yaml")
            _change_sources(Path("sources"))
            run("corpus", "build", "corpus.yaml")
            if name == "mined":
                run("corpus", "withdraw", "corpus.yaml", "--id", "article-3")
                run("corpus", "compact", "corpus.yaml")
    finally:
        os.chdir(before)
    return folder / "corpus"


def _change_sources(sources: Path) -> None:
    """Change one article, and add seven with the words of others in reverse order."""
    path = sources / "articles.jsonl"
    *lines, broken = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [json.loads(line) for line in lines]
    rows[5]["text"] = "Study 5 was withdrawn. Because its doses were wrong, the trial is told anew."
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + broken, encoding="utf-8")
    added = [{"id": f"new-{row['id']}", "text": " ".join(row["text"].split()[::-1])} for row in rows[:7]]
    (sources / "articles-2.jsonl").write_text("".join(json.dumps(row) + "\n" for row in added))


def files_of(name: str, corpus: Path) -> dict[str, bytes]:
    """Contents of the files of a corpus that must be identical, by path.

    Files `.jsonl.zst` are decompressed, because another zstandard may compress the same content differently.
    Shards stay compressed. The hash of a configuration counts, unless it covers the server's port.
    """
    blank = rb"created|config_hash" if name == "asked" else rb"created"
    found = {path.relative_to(corpus).as_posix(): path for path in corpus.rglob("*") if path.is_file()}
    return {file: _content(path, blank) for file, path in sorted(found.items()) if not LEFT_OUT.search(file)}


def _content(path: Path, blank: bytes) -> bytes:
    data = path.read_bytes()
    if path.name.endswith(".jsonl.zst"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if path.parent.name == "manifest":
        return re.sub(rb'"(' + blank + rb')": "[^"]*"', rb'"\1": ""', data)
    return data


if __name__ == "__main__":
    for each in CONFIGS:
        with tempfile.TemporaryDirectory() as scratch:
            built = build_golden(each, Path(scratch), "pipelines.increments.prepared_run.new_token")
            shutil.rmtree(HERE / each, ignore_errors=True)
            shutil.copytree(built, HERE / each, ignore=lambda *_: {"lock"})
