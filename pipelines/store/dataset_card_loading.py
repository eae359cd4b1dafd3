"""Loading section of the dataset card: configurations for `datasets`, and example code for a DataLoader.

texts/<stream>-00000.jsonl.zst ─► load_dataset(increment, "texts-<stream>")
pairs/<stream>-00000.jsonl.zst ─► load_dataset(increment, "pairs-<stream>")
shards/<stream>/               ─► StreamingDataset ─► collate ─► batches
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from schemas.corpus_layout import PAIRS, TEXTS, group_path
from schemas.manifest import Manifest, ShardSet
from schemas.records import PairVerdict, StoredPair

_GROUP = "[0-9]" * 5
_FEATURES: dict[Any, dict[str, Any]] = {
    str: {"dtype": "string"},
    tuple[str, ...]: {"list": "string"},
    tuple[int, ...]: {"list": "int64"},
    tuple[PairVerdict, ...]: {
        "list": [
            {"name": "rule", "dtype": "string"},
            {"name": "score", "dtype": "float64"},
            {"name": "reason", "dtype": "string"},
            {"name": "span", "list": "int64"},
        ]
    },
}


def dataset_configs(streams: Mapping[str, ShardSet], *, has_verdicts: bool = False) -> dict[str, Any]:
    """Front matter of a card from which `datasets` knows the configurations of its increment.

    It declares the columns of pairs, because a file without any options does not show their type.
    """
    kinds = [
        (f"{kind}-{name}", group_path(kind, name, _GROUP))
        for name, shards in streams.items()
        for kind in (TEXTS, PAIRS)
        if kind == TEXTS or shards.num_stored_pairs
    ]
    configs = [{"config_name": name, "data_files": files} for name, files in kinds]
    hints = [each for each in get_type_hints(StoredPair).items() if has_verdicts or each[0] != "verdicts"]
    features = [
        {"config_name": config, "features": [{"name": name, **_FEATURES[hint]} for name, hint in hints]}
        for config, _ in kinds
        if config.startswith("pairs-")
    ]
    return {
        **({"configs": [{**configs[0], "default": True}, *configs[1:]]} if configs else {}),
        **({"dataset_info": features} if features else {}),
    }


def how_to_read(manifest: Manifest) -> str:
    """Section of the card with example code; a reader only fills in the URI of the corpus."""
    if not manifest.stream_names():
        return ""
    streams = "\n".join(
        f'    Stream(remote=f"{{CORPUS}}/{shards.path}", local="/tmp/corpus/{shards.path}"),'
        for name in manifest.stream_names()
        for shards in manifest.shard_sets(name)
    )
    newest = manifest.increments[-1]
    configs = dataset_configs(newest.streams).get("configs", ())
    names = [each["config_name"] for each in configs]
    listed = ", ".join(f"`{name}`" for name in names)
    shown = [name for name in names if name.startswith("pairs-")] or names
    loaded = (
        f"""

Texts and pairs of increment {newest.number} alone, each as a configuration of `datasets` ({listed}):

```python
from datasets import load_dataset

load_dataset("…/increments/{newest.name}", "{shown[0]}", split="train")
```"""
        if configs
        else ""
    )
    return f"""## How to read it

```python
import torch
from streaming import Stream, StreamingDataset
from torch.utils.data import DataLoader

CORPUS = "…"  # where the corpus lies
streams = [  # oldest increment first; leave out what is not wanted
{streams}
]


def collate(rows):
    \"\"\"B rows of T tokens. `texts`: which text of its row a token is of, -1 for padding.\"\"\"
    tokens = torch.stack([torch.tensor(row["tokens"], dtype=torch.long) for row in rows])
    texts, labels = torch.full_like(tokens, -1), torch.full_like(tokens, -100)
    for at, row in enumerate(rows):
        lengths = torch.tensor(row["segment_lengths"], dtype=torch.long)
        end = int(lengths.sum())
        texts[at, :end] = torch.arange(len(lengths)).repeat_interleave(lengths)
        spans = row.get("loss_spans", (0, end))  # which tokens carry loss, where not all do
        for first, last in zip(spans[0::2], spans[1::2]):
            labels[at, first:last] = tokens[at, first:last]
    return {{"input_ids": tokens, "labels": labels, "texts": texts}}


rows = StreamingDataset(streams=streams, batch_size=8, shuffle=True)
for batch in DataLoader(rows, batch_size=8, collate_fn=collate):
    batch["input_ids"], batch["labels"], batch["texts"]  # int64 of shape (B, {manifest.seq_len})
```

The tokenizer lies in `tokenizer/{manifest.tokenizer}`. `tutelage train` reads the corpus by its manifest and
mixes the streams; llm-foundry's text dataset reads `tokens`. `tutelage corpus show` and `tutelage corpus
trace` tell where a row or a document comes from, and `tutelage corpus export-pairs` writes all pairs that are
current.{loaded}"""
