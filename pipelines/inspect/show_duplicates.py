"""Which documents an increment dropped as copies of which, readable."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from pipelines.store.dropped_copies import Cluster, find_clusters
from plugins.console import Console
from schemas.errors import ConfigError, unknown_name
from schemas.manifest import Manifest

_SHOWN_COPIES = 20


def show_duplicates(arguments: argparse.Namespace, manifest: Manifest) -> None:
    """Print clusters of copies of which the newest increment of a manifest kept one document.

    Raises:
        ConfigError: There is no such stream, or no sense in the number of clusters.
    """
    most, streams = arguments.duplicates, manifest.stream_names()
    if most < 1:
        raise ConfigError(f"--duplicates is {most}; expected at least 1.")
    if arguments.stream is not None:
        if arguments.stream not in streams:
            raise ConfigError(unknown_name("stream", arguments.stream, streams))
        streams = [arguments.stream]
    number, name = manifest.increments[-1].number, manifest.increments[-1].name
    clusters = [cluster for stream in streams for cluster in find_clusters(arguments.uri, name, stream, most)]
    clusters.sort(key=lambda cluster: (-len(cluster.copies), cluster.kept_id, cluster.kept_content))
    if arguments.json:
        found = {"increment": number, "clusters": [dataclasses.asdict(each) for each in clusters[:most]]}
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    if not clusters:
        console.print(Text(f"Increment {number} dropped no copies of documents."))
    _print(console, clusters[:most])


def _print(console: Console, clusters: Sequence[Cluster]) -> None:
    for cluster in clusters:
        count = len(cluster.copies)
        copies = f"{count:,} {'copy' if count == 1 else 'copies'}"
        title = f"{cluster.stream}: kept {_name(cluster)}; dropped {copies}"
        table = Table(title=Text(title), title_justify="left")
        for heading in ("copy", "source", "kind", "similarity"):
            table.add_column(heading, justify="right" if heading == "similarity" else "left", overflow="fold")
        for copy in cluster.copies[:_SHOWN_COPIES]:
            alike = "" if copy.similarity is None else f"{copy.similarity:.2f}"
            table.add_row(Text(copy.document_id), Text(copy.source), copy.kind, alike)
        console.print(table)
        if count > _SHOWN_COPIES:
            console.print(Text(f"and {count - _SHOWN_COPIES:,} more; --json has them all"))


def _name(cluster: Cluster) -> str:
    if not cluster.kept_id:
        return f"content {cluster.kept_content} of increment {cluster.kept_in}"
    since = f", of increment {cluster.kept_in}" if cluster.kept_in else ""
    return f"{cluster.kept_id!r} from {cluster.kept_source}{since}"
