"""Corpora on the hub: only what a manifest names, and the manifests last.

    push    verify ─► compare with the repository ─► send what is missing ─► manifests and card, in one commit
    pull    one commit of the repository ─► fetch what is missing ─► verify ─► write the manifests

Files of a corpus never change. So a repository or folder that holds one of them with another content holds
another corpus, and nothing is written there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.increments.lease import refuse_if_held
from pipelines.inspect.verify import verify_corpus
from pipelines.store.manifest_files import manifest_files, manifests_within
from pipelines.store.repository_card import repository_card
from plugins.hub_copies.copied import Copied, say_local_paths
from plugins.hub_copies.repository import Repository, Upload, drop_download_notes, missing_in
from schemas import storage
from schemas.corpus_layout import (
    MANIFESTS,
    OF_INCREMENTS,
    TOKENIZERS,
    manifest_numbers,
)
from schemas.errors import ConfigError, CorpusError
from schemas.manifest import Manifest, read_manifest

Say = Callable[[str], None]

_CARD = "README.md"


class CorpusCopy:
    """Push and pull of a corpus at its newest manifest."""

    @staticmethod
    def push(place: str, repository: Repository, *, public: bool, extras: Sequence[str], say: Say) -> Copied:
        """Send a corpus; a stopped push continues, and sends only what is missing.

        Raises:
            CorpusError: The corpus is damaged.
            ConfigError: The repository holds another corpus or a newer state, or the hub refuses.
            MachineError: The hub cannot be reached, or fails.
        """
        corpus = place.rstrip("/")
        manifest = read_manifest(corpus)
        _refuse_damaged(corpus, manifest, "Nothing was sent; restore it first.")
        numbered = manifests_within(corpus, manifest)
        paths = [*manifest_files(corpus, manifest, extras), *numbered]
        files = [Upload(path, storage.join(corpus, path)) for path in paths]
        say_local_paths(files, say)
        repository.open_to_write(public=public)
        held = repository.files()
        missing, other = missing_in(held, files)
        _refuse_other(repository, manifest, [*held], [path for path in other if _never_changes(path)])
        to_send = {*other, *(file.path for file in missing)}
        card = Upload(_CARD, repository_card(corpus, manifest, uri=repository.uri))
        cards, changed = missing_in(held, [card])
        message = f"Tutelage: manifest {manifest.number}"
        data = [file for file in files if file.path in to_send and file.path not in numbered]
        last = [file for file in files if file.path in to_send and file.path in numbered]
        sent = repository.send(data, message=f"{message}, files", say=say)
        sent += repository.send([*([card] if cards or changed else []), *last], message=message, say=say)
        kept = [path for path in held if path.split("/", 1)[0] in OF_INCREMENTS and path not in {*paths}]
        if kept:
            say(
                f"{repository.name}: {len(kept):,} files of other manifests stay in it. Withdrawn documents "
                "may be in them, and in its history: to remove these, push to a new repository and delete "
                "this one."
            )
        return Copied(
            kind="corpus",
            repository=repository.name,
            num_files=len(files) + 1,
            num_copied=sent,
            manifest=manifest.number,
        )

    @staticmethod
    def pull(repository: Repository, folder: str, *, commit: str, extras: Sequence[str], say: Say) -> Copied:
        """Fetch a corpus; a stopped pull continues. The manifests are written when all is there and sound.

        Raises:
            CorpusError: What was fetched is damaged, or another run is at work in the folder.
            ConfigError: The folder holds another corpus, or the hub refuses.
            MachineError: The hub cannot be reached, or fails.
        """
        source = f"{repository.uri}@{commit}"
        with repository.explained("read"):
            manifest = read_manifest(source)
            paths = manifest_files(source, manifest, extras)
            manifests = {
                path: storage.read_bytes(f"{source}/{path}") for path in manifests_within(source, manifest)
            }
        refuse_if_held(folder)
        _refuse_other_folder(folder, manifests)
        missing = [path for path in paths if not storage.exists(storage.join(folder, path))]
        repository.fetch(folder, paths, commit, say=say)
        _refuse_damaged(folder, manifest, "No manifest was written. Remove what is damaged, then pull again.")
        drop_download_notes(folder)
        storage.sync_tree(folder)
        for path, data in manifests.items():
            storage.create_bytes(storage.join(folder, path), data)
        return Copied(
            kind="corpus",
            repository=repository.name,
            num_files=len(paths) + len(manifests),
            num_copied=len(missing),
            manifest=manifest.number,
        )


def _never_changes(path: str) -> bool:
    return path.split("/", 1)[0] in (*OF_INCREMENTS, MANIFESTS, TOKENIZERS)


def _refuse_damaged(corpus: str, manifest: Manifest, cure: str) -> None:
    damages = verify_corpus(corpus, manifest).damages
    if damages:
        more = f", and {len(damages) - 1:,} more" if damages[1:] else ""
        raise CorpusError(f"{damages[0].file}: {damages[0].finding}{more}. {cure}")


def _refuse_other(
    repository: Repository, manifest: Manifest, held: Sequence[str], other: Sequence[str]
) -> None:
    if other:
        raise ConfigError(
            f"{repository.name} holds another corpus: its {other[0]} has another content. Nothing was sent; "
            "name another repository."
        )
    numbers = [int(path[len(MANIFESTS) + 1 : -5]) for path in held if path.startswith(f"{MANIFESTS}/")]
    if numbers and max(numbers) > manifest.number:
        raise ConfigError(
            f"{repository.name} holds manifest {max(numbers)}, this corpus ends at {manifest.number}. "
            "Nothing was sent; pull it first."
        )


def _refuse_other_folder(folder: str, manifests: dict[str, bytes]) -> None:
    """Refuse a folder whose corpus is not an earlier or the same state of what is pulled."""
    numbers = manifest_numbers(folder)
    if not numbers:
        return
    shared = 0
    for path, data in manifests.items():
        if storage.exists(own := storage.join(folder, path)):
            shared += 1
            if storage.read_bytes(own) != data:
                raise ConfigError(
                    f"{own}: is of another corpus. Nothing was fetched; pull into another folder."
                )
    if not shared or max(numbers) > max(int(path[len(MANIFESTS) + 1 : -5]) for path in manifests):
        raise ConfigError(
            f"{folder} holds a corpus at manifest {max(numbers)} that the repository does not continue. "
            "Nothing was fetched; pull into another folder."
        )
