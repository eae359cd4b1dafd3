"""Card at the top of a repository: that of the newest increment, with paths of the repository."""

from __future__ import annotations

from typing import Any

import yaml

from pipelines.store.dataset_card_loading import dataset_configs
from pipelines.store.statistics import stats_of
from schemas import storage
from schemas.corpus_layout import card_uri, increment_uri
from schemas.errors import CorpusError
from schemas.manifest import Manifest, ShardSet


def repository_card(corpus: str, manifest: Manifest, *, uri: str) -> bytes:
    """Return the card; its configurations for `datasets` hold the texts and pairs of all increments.

    Args:
        uri: `hf://datasets/OWNER/NAME`, which the code of the card reads.

    Raises:
        CorpusError: The newest increment has no card, or one without front matter.
    """
    newest = manifest.increments[-1]
    where = card_uri(increment_uri(corpus, newest.name))
    try:
        text = storage.read_bytes(where).decode("utf-8", "replace")
    except FileNotFoundError:
        raise CorpusError(
            f"{where}: is missing; the card of the repository is made from it. Restore it."
        ) from None
    opened, front, body = text.split("---\n", 2) if text.startswith("---\n") else ("", "", "")
    values: Any = yaml.safe_load(front)
    if opened or not isinstance(values, dict):
        raise CorpusError(f"{where}: begins with no front matter between two lines `---`. Restore it.")
    values = {name: value for name, value in values.items() if name not in ("configs", "dataset_info")}
    values |= _configs(corpus, manifest)
    for own, shared in (
        ('CORPUS = "…"  # where the corpus lies', f'CORPUS = "{uri}"'),
        (
            f'load_dataset("…/increments/{newest.name}"',
            f'load_dataset("{uri.removeprefix("hf://datasets/")}"',
        ),
        (
            f"Texts and pairs of increment {newest.number} alone, each as a configuration",
            "Texts and pairs of all increments, superseded ones too, each as a configuration",
        ),
    ):
        body = body.replace(own, shared)
    front = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n{body}".encode("utf-8", "replace")


def _configs(corpus: str, manifest: Manifest) -> dict[str, Any]:
    """Front matter of the configurations, with the files of all increments."""
    files: dict[str, list[str]] = {}
    features: dict[str, Any] = {}
    for increment in manifest.increments:
        has_verdicts = "verification" in stats_of(corpus, increment.name)
        of_increment = _stored(increment.streams)
        found = dataset_configs(of_increment, has_verdicts=has_verdicts)
        for each in found.get("configs", ()):
            path = f"increments/{increment.name}/{each['data_files']}"
            files.setdefault(each["config_name"], []).append(path)
        for each in found.get("dataset_info", ()):
            before = features.get(each["config_name"])
            if before is None or len(each["features"]) > len(before["features"]):
                features[each["config_name"]] = each
    configs: list[dict[str, Any]] = [
        {"config_name": name, "data_files": each} for name, each in files.items()
    ]
    if configs:
        configs[0]["default"] = True
    return {
        **({"configs": configs} if configs else {}),
        **({"dataset_info": list(features.values())} if features else {}),
    }


def _stored(streams: dict[str, ShardSet]) -> dict[str, ShardSet]:
    return {name: shards for name, shards in streams.items() if shards.num_texts}
