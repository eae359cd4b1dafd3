"""Copies on the Hugging Face hub: `tutelage push PLACE hub:NAME` and `tutelage pull hub:NAME DIR`.

corpus ──────────► pipelines/increments/hub_corpus.py ─┐
                                                       ├─► repository.py ─► huggingface_hub
model, tasks ────► folders.py ─────────────────────────┘
"""

from plugins.registry import Registry

COPIES = Registry(
    "kind of copy",
    "tutelage.hub_copies",
    {
        "corpus": "pipelines.increments.hub_corpus:CorpusCopy",
        "model": "plugins.hub_copies.folders:ModelCopy",
        "tasks": "plugins.hub_copies.folders:TasksCopy",
    },
)
"""What can be on the hub; a target has `push(place, repository, …)` and `pull(repository, folder, …)`."""
