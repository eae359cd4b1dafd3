"""Any fsspec file system as a `remote` of Streaming, which knows those of a few clouds.

    register_fsspec()
    StreamingDataset(remote="memory://corpus/increments/000001/shards/domain", local="/tmp/rows")

Training itself does not need it: `ShardStream` fetches and checks shards on its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import fsspec
from streaming.base.storage.download import DOWNLOADER_MAPPINGS, CloudDownloader

from trainer.data.shard_stream import write_whole


class FsspecDownloader(CloudDownloader):  # type: ignore[misc, unused-ignore]
    """Downloads a file from any file system that fsspec knows; the file appears whole or not at all."""

    @staticmethod
    def _client_identifier() -> str:
        return "fsspec"

    def clean_up(self) -> None:
        """Nothing is held between two files."""

    def _validate_remote_path(self, remote: str) -> None:
        """One class serves all protocols, so there is no scheme to insist on."""

    def _download_file_impl(self, remote: str, local: str, timeout: float) -> None:
        fs, path = fsspec.core.url_to_fs(remote)
        write_whole(os.path.abspath(local), fs.cat_file(path))


def register_fsspec(protocols: Sequence[str] = ()) -> None:
    """Let Streaming read from file systems of fsspec; those that Streaming serves itself stay its own."""
    for protocol in protocols or fsspec.available_protocols():
        DOWNLOADER_MAPPINGS.setdefault(protocol, FsspecDownloader)
