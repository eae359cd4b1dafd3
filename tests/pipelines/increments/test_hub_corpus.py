"""Corpora pushed to the hub, pulled from it, and read there; against a stand-in on loopback."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfFileSystem

from plugins.commands.main import main
from schemas.manifest import manifest_numbers
from tests.stand_in_hub import READ, WRITE, Hub
from tutelage import Corpus

GOLDEN = Path(__file__).resolve().parents[2] / "golden/mined"
REPO = "datasets/me/leaflets"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The golden corpus at its second manifest, with files that no manifest names."""
    corpus = shutil.copytree(GOLDEN, tmp_path / "corpus")
    (corpus / "manifest/000003.json").unlink()
    (corpus / "manifest/000004.json").unlink()
    for path in (
        "journal/a-0001.jsonl",
        "lock/000001.json",
        "sources.jsonl.zst",
        "made-tasks/mine.jsonl",
        "notes.txt",
        "increments/000009-abc/texts/domain-00000.jsonl.zst",
        "increments/000002-000000000002/report.html",
        "increments/000002-000000000002/shards/domain/00000/notes.txt",
        "increments/000002-000000000002/texts/secret.jsonl.zst",
    ):
        (corpus / path).parent.mkdir(parents=True, exist_ok=True)
        (corpus / path).write_text("{}")
    return corpus


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def golden() -> dict[str, bytes]:
    """Files of manifest 2, which names increments 1 and 2."""
    left_out = ("/rejects/", "/duplicates/", "000003", "000004")
    return {path: data for path, data in below(GOLDEN).items() if not any(part in path for part in left_out)}


def test_a_push_sends_what_the_manifest_names_and_the_card_and_is_private(
    hub: Hub, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(corpus), "hub:leaflets"]) == 0
    files = hub.files(REPO)
    card = files.pop("README.md").decode()
    del files[".gitattributes"]
    assert files == golden()
    assert hub.private[REPO]
    assert [path.split("/")[0] for path in hub.sent[-3:]] == ["README.md", *["manifest"] * 2]
    said = capsys.readouterr().out
    assert said == f"{corpus} is on the hub as corpus me/leaflets, manifest 2: 53 files, 53 sent now.\n"
    assert 'CORPUS = "hf://datasets/me/leaflets"' in card
    assert "…" not in card.partition("```python")[2].partition("```")[0]


def test_the_card_at_the_top_names_files_of_all_increments(hub: Hub, corpus: Path) -> None:
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    card = yaml.safe_load(hub.files(REPO)["README.md"].decode().split("---\n")[1])
    files = {each["config_name"]: each["data_files"] for each in card["configs"]}
    digits = "[0-9]" * 5
    assert files["texts-domain"] == [
        f"increments/{number:06d}-{number:012d}/texts/domain-{digits}.jsonl.zst" for number in (1, 2)
    ]
    assert files["texts-general"] == [
        f"increments/{number:06d}-{number:012d}/texts/general-{digits}.jsonl.zst" for number in (1,)
    ]
    assert [each["config_name"] for each in card["dataset_info"]] == ["pairs-domain", "pairs-tuning"]
    assert card["configs"][0] == {
        "config_name": "texts-domain",
        "data_files": files["texts-domain"],
        "default": True,
    }


def test_an_interrupted_push_sends_only_what_is_missing(
    hub: Hub, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("plugins.hub_copies.repository.BATCH_FILES", 20)
    hub.fail_at_commit = 3
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("MachineError: ") and error.endswith("it goes on where it ended.")
    assert WRITE not in error
    assert len(hub.sent) == 40
    assert not any(path.startswith("manifest") for path in hub.files(REPO))
    num_uploads, before = hub.requests["put"], [*hub.sent]
    hub.requests.clear()
    hub.fail_at_commit = 0
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    assert len(hub.sent) == len({*hub.sent}) == 53
    assert hub.sent[:40] == before
    assert hub.requests["commit"] == 2  # 10 files, then card and manifests
    assert num_uploads + hub.requests["put"] == len(hub.objects)
    hub.requests.clear()
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    assert hub.requests == {"create": 1, "info": 1, "tree": 1}
    assert "53 files, 0 sent now" in capsys.readouterr().out


def test_more_of_a_corpus_is_sent_only_if_asked_for(hub: Hub, corpus: Path) -> None:
    words = [word for extra in ("rejects", "journal", "sources", "made-tasks") for word in ("--with", extra)]
    assert main(["push", str(corpus), "hub:me/leaflets", *words]) == 0
    beside = {path for path in hub.files(REPO) if path not in golden()} - {"README.md", ".gitattributes"}
    assert {path.split("/")[2] for path in beside if path.startswith("increments")} == {
        "rejects",
        "duplicates",
    }
    assert {path for path in beside if not path.startswith("increments")} == {
        "journal/a-0001.jsonl",
        "sources.jsonl.zst",
        "made-tasks/mine.jsonl",
    }


def test_a_push_says_that_paths_of_this_machine_are_sent(
    hub: Hub, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stats = corpus / "increments/000002-000000000002/stats.json"
    stats.write_text(stats.read_text().replace('"sources/general.jsonl.gz"', '"/home/anna/general.jsonl.gz"'))
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    assert "1 paths of this machine are in what is sent, such as /home/anna/general.jsonl.gz." in (
        capsys.readouterr().err
    )


def test_a_grown_corpus_sends_its_new_files_and_an_older_one_is_refused(
    hub: Hub, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = shutil.copytree(corpus, tmp_path / "older")
    (older / "manifest/000002.json").unlink()
    assert main(["push", str(older), "hub:me/leaflets"]) == 0
    hub.sent.clear()
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    assert {path.split("/")[1][:6] for path in hub.sent if path != "README.md"} == {"000002"}
    assert main(["push", str(older), "hub:me/leaflets"]) == 2
    assert "me/leaflets holds manifest 2, this corpus ends at 1. Nothing was sent; pull it first." in (
        capsys.readouterr().err
    )


def test_another_corpus_of_the_same_name_is_refused(
    hub: Hub, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    hub.sent.clear()
    manifest = corpus / "manifest/000001.json"
    manifest.write_text(manifest.read_text().replace('"created": "2', '"created": "1'))
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 2
    assert "me/leaflets holds another corpus: its manifest/000001.json has another content." in (
        capsys.readouterr().err
    )
    assert hub.sent == []


def test_a_damaged_corpus_is_not_sent(hub: Hub, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus / "ledger/000002-000000000002.domain.ledger").unlink()
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 1
    assert "000002-000000000002.domain.ledger: is missing. Nothing was sent; restore it first." in (
        capsys.readouterr().err
    )
    assert hub.requests == {}


def test_a_pulled_corpus_is_the_pushed_one(hub: Hub, corpus: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    capsys.readouterr()
    assert main(["pull", "hub:me/leaflets", str(tmp_path / "pulled")]) == 0
    assert below(tmp_path / "pulled") == golden()
    assert capsys.readouterr().out == (
        f"{tmp_path}/pulled holds corpus me/leaflets, manifest 2: 52 files, 50 fetched now.\n"
    )
    assert main(["corpus", "verify", str(tmp_path / "pulled")]) == 0


def test_a_damaged_pull_publishes_nothing_and_the_next_one_goes_on(
    hub: Hub, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    pulled = tmp_path / "pulled"
    path = "increments/000002-000000000002/shards/domain/00000/shard.00000.mds.zstd"
    files = hub.files(REPO)
    sound = files[path]
    files[path] = sound[:-1] + bytes([sound[-1] ^ 1])
    assert main(["pull", "hub:me/leaflets", str(pulled)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert path in said and said.endswith("No manifest was written. Remove what is damaged, then pull again.")
    assert manifest_numbers(str(pulled)) == []
    files[path] = sound
    (pulled / path).unlink()
    HfFileSystem.clear_instance_cache()
    hub.requests.clear()
    assert main(["pull", "hub:me/leaflets", str(pulled)]) == 0
    assert below(pulled) == golden()
    assert hub.requests["resolve"] < 20  # the manifests, and the one file


def test_a_pull_into_another_corpus_changes_nothing(
    hub: Hub, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    pulled = shutil.copytree(corpus, tmp_path / "pulled")
    (pulled / "lock/000001.json").unlink()
    manifest = pulled / "manifest/000002.json"
    manifest.write_text(manifest.read_text().replace('"created": "2', '"created": "1'))
    before = below(pulled)
    assert main(["pull", "hub:me/leaflets", str(pulled)]) == 2
    assert "000002.json: is of another corpus. Nothing was fetched" in capsys.readouterr().err
    assert below(pulled) == before


def test_a_corpus_is_read_at_its_hf_uri(hub: Hub, corpus: Path) -> None:
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 0
    there, here = Corpus("hf://datasets/me/leaflets"), Corpus(str(GOLDEN), manifest=2)
    assert there.manifest == here.manifest
    assert list(there.pairs()) == list(here.pairs())
    assert len(list(there.rows("domain"))) == len(list(here.rows("domain")))
    assert main(["corpus", "verify", "hf://datasets/me/leaflets"]) == 0


def test_errors_are_one_sentence_with_the_cure(
    hub: Hub,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(*words: str) -> str:
        assert main([*words]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "Error" in line]
        assert len(lines) == 1 and "hf_" not in lines[0]
        return lines[0]

    push = ("push", str(corpus), "hub:me/leaflets")
    assert said("push", str(corpus), "me/leaflets") == (
        "ConfigError: 'me/leaflets' is no repository. Write hub:OWNER/NAME, such as hub:me/my-corpus."
    )
    monkeypatch.setenv("HF_TOKEN", READ)
    assert said(*push) == (
        f"ConfigError: {hub.url} refuses to create dataset me/leaflets: the token has no write access to it. "
        "Use a token with write access, or ask the owner of the repository for it."
    )
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    assert said(*push) == (
        f"ConfigError: {hub.url} refuses to create dataset me/leaflets: the token is missing, wrong or "
        "expired. Log in with `hf auth login`, or set HF_TOKEN to a token with write access."
    )
    monkeypatch.delenv("HF_TOKEN")
    assert said(*push) == (
        f"ConfigError: no token of {hub.url} is known here. Log in with `hf auth login`, or set HF_TOKEN to "
        "a token with write access."
    )
    assert said("pull", "hub:me/nothing", str(tmp_path / "pulled")) == (
        f"ConfigError: {hub.url} has no dataset or model repository 'me/nothing' for this token. If it is "
        "private, log in with `hf auth login`, or set HF_TOKEN."
    )


def test_a_public_repository_needs_public(hub: Hub, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(corpus), "hub:me/leaflets", "--public"]) == 0
    assert not hub.private[REPO]
    hub.sent.clear()
    (corpus / "manifest/000002.json").unlink()
    assert main(["push", str(corpus), "hub:me/leaflets"]) == 2
    assert "me/leaflets exists and is public; nothing was sent. Add --public" in capsys.readouterr().err
    assert hub.sent == []
