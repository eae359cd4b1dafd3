"""Repository of the Hugging Face hub as a copy of a folder: files sent in batches, or fetched.

    send     list the repository ─► leave out what it holds already ─► one commit for each batch, in order
    fetch    one commit of the repository ─► a local folder; huggingface_hub resumes files and folders

A stopped transfer resumes where it ended: what is committed, or on disk, is compared by its hash. Files are
sent from where they are, so that nothing is written into their folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from plugins.hub import why
from schemas import storage
from schemas.errors import ConfigError, MachineError
from schemas.secrets import masked

PREFIX = "hub:"

BATCH_FILES = 100
"""Most files of one commit; the hub limits the commits of an hour and the files of a commit."""

BATCH_BYTES = 1 << 30
"""Bytes after which a commit takes no more files; a stopped push loses at most one such batch."""

NUM_DOWNLOADS = 8
"""Files fetched at a time."""

SAY_EVERY = 100
"""Fetched files between two lines of progress."""

_LOGIN = "Log in with `hf auth login`, or set HF_TOKEN to a token with write access."


@dataclasses.dataclass(frozen=True, slots=True)
class Upload:
    """A file of a repository, and where its bytes are.

    Attributes:
        path: Path in the repository.
        source: URI of the file, or its bytes.
    """

    path: str
    source: str | bytes

    def num_bytes(self) -> int:
        """Size of the file."""
        if isinstance(self.source, bytes):
            return len(self.source)
        fs, path = storage.filesystem(self.source)
        return int(fs.size(path))

    def content(self) -> str | bytes:
        """Path of a local file, bytes of any other."""
        if isinstance(self.source, bytes):
            return self.source
        local = storage.is_local(self.source)
        return str(storage.filesystem(self.source)[1]) if local else storage.read_bytes(self.source)

    def digest(self, kind: str) -> str:
        """SHA-256 of the content (`lfs`), or the id that Git gives it (`git`)."""
        found = hashlib.sha256() if kind == "lfs" else hashlib.sha1(b"blob %d\0" % self.num_bytes())
        content = self.content()
        if isinstance(content, bytes):
            found.update(content)
        else:
            with open(content, "rb") as file:
                while data := file.read(1 << 20):
                    found.update(data)
        return found.hexdigest()


class Repository:
    """A repository of the hub.

    Args:
        name: `hub:OWNER/NAME`, or `hub:NAME` for one of the account that is logged in.
        kind: `dataset` or `model`.

    Raises:
        ConfigError: The name is not of that form, or needs an account and nobody is logged in.
    """

    def __init__(self, name: str, kind: str):
        from huggingface_hub import HfApi

        bare = repository_name(name)
        self.kind = kind
        self.api = HfApi()
        if "/" not in bare:
            self.require_login()
            with self.explained("read the account of the token"):
                bare = f"{self.api.whoami()['name']}/{bare}"
        self.name = bare

    @property
    def uri(self) -> str:
        """URI of its newest state for fsspec."""
        return f"hf://{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def require_login(self) -> None:
        """Raise a ConfigError if no token of the hub is known here."""
        from huggingface_hub import get_token

        if get_token() is None:
            raise ConfigError(f"no token of {self._endpoint()} is known here. {_LOGIN}")

    def open_to_write(self, *, public: bool) -> None:
        """Create the repository unless it exists.

        Raises:
            ConfigError: Nobody is logged in, the token may not write, or an existing repository is not as
                public or private as asked for.
        """
        self.require_login()
        with self.explained("create"):
            self.api.create_repo(self.name, repo_type=self.kind, private=not public, exist_ok=True)
            private = bool(self.api.repo_info(self.name, repo_type=self.kind).private)
        if private == public:
            raise ConfigError(
                f"{self.name} exists and is {'private' if private else 'public'}; nothing was sent. "
                + (
                    "Leave out --public, or change its visibility in its settings."
                    if private
                    else "Add --public if everybody may read this, or name another repository."
                )
            )

    def commit(self) -> str | None:
        """Id of its newest commit; None if there is no such repository, or the token may not read it."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        with self.explained("read"):
            try:
                return str(self.api.repo_info(self.name, repo_type=self.kind).sha)
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None

    def files(self, commit: str | None = None) -> dict[str, Any]:
        """Its files by path: size, `blob_id`, and `lfs` of a large one."""
        from huggingface_hub.hf_api import RepoFile

        with self.explained("list"):
            tree = self.api.list_repo_tree(self.name, repo_type=self.kind, revision=commit, recursive=True)
            return {each.path: each for each in tree if isinstance(each, RepoFile)}

    def send(
        self, files: Sequence[Upload], *, message: str, say: Callable[[str], None] = lambda line: None
    ) -> int:
        """Commit files in batches, in their order; returns their number."""
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        disable_progress_bars()  # one for each batch, and none with a sum
        sent = sent_bytes = 0
        for batch in _batches(files):
            operations = [CommitOperationAdd(file.path, file.content()) for file in batch]
            with self.explained("write to"):
                self.api.create_commit(self.name, operations, commit_message=message, repo_type=self.kind)
            sent += len(batch)
            sent_bytes += sum(operation.upload_info.size for operation in operations)
            say(f"{self.name}: {sent:,} of {len(files):,} files sent, {sent_bytes / 1e6:,.1f} MB")
        return sent

    def fetch(self, folder: str, paths: Sequence[str], commit: str, *, say: Callable[[str], None]) -> None:
        """Download files of one commit into a local folder; files that are there from an earlier try stay."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        disable_progress_bars()  # one for each file, and none with a sum

        def download(path: str) -> None:
            hf_hub_download(self.name, path, repo_type=self.kind, revision=commit, local_dir=folder)

        # Not snapshot_download: without a network it returns a folder that is there, whatever it lacks.
        with self.explained("read"), ThreadPoolExecutor(NUM_DOWNLOADS) as pool:
            try:
                for number, _ in enumerate(pool.map(download, paths), 1):
                    if number % SAY_EVERY == 0 or number == len(paths):
                        say(f"{self.name}: {number:,} of {len(paths):,} files are here")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    @contextlib.contextmanager
    def explained(self, action: str) -> Iterator[None]:
        """Convert errors of huggingface_hub inside the block to one sentence without any token."""
        from huggingface_hub import get_token
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

        try:
            yield
        except Exception as error:
            status = next(
                (
                    each.response.status_code
                    for each in _causes(error)
                    if isinstance(each, HfHubHTTPError) and each.response is not None
                ),
                None,
            )
            is_away = any(type(each).__name__.endswith(_AWAY) for each in _causes(error))
            if status is None and not is_away and not isinstance(error, RuntimeError | ValueError):
                raise
            gated = any(isinstance(each, GatedRepoError) for each in _causes(error))
            missing = any(isinstance(each, RepositoryNotFoundError) for each in _causes(error))
            where = f"{self._endpoint()} refuses to {action} {self.kind} {self.name}"
            if gated or (missing and status != 401):
                raise ConfigError(why(error, self.uri.removeprefix("hf://"))) from None
            if status == 401:
                raise ConfigError(f"{where}: the token is missing, wrong or expired. {_LOGIN}") from None
            if status == 403:
                raise ConfigError(
                    f"{where}: the token has no write access to it. Use a token with write access, or ask "
                    "the owner of the repository for it."
                ) from None
            if status is None and is_away:
                raise MachineError(
                    f"{self._endpoint()} cannot be reached ({type(error).__name__}). Run the command again: "
                    "it goes on where it ended."
                ) from None
            told = masked(why(error, self.name))
            told = told.replace(token, "***") if (token := get_token()) else told
            raise MachineError(
                f"{self._endpoint()} failed to {action} {self.name}: {told} Run the command again: it goes "
                "on where it ended."
            ) from None

    def _endpoint(self) -> str:
        return masked(str(self.api.endpoint))


_AWAY = ("ConnectionError", "Timeout", "ConnectError", "ProtocolError", "ChunkedEncodingError")
"""Ends of the names of errors of requests, urllib3 and httpx without an answer."""


def repository_name(name: str) -> str:
    """Name in `hub:NAME`.

    Raises:
        ConfigError: It is not of that form.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    bare = name.removeprefix(PREFIX)
    try:
        if bare == name:
            raise HFValidationError
        validate_repo_id(bare)
    except HFValidationError:
        raise ConfigError(
            f"{name!r} is no repository. Write hub:OWNER/NAME, such as hub:me/my-corpus."
        ) from None
    return bare


def missing_in(found: dict[str, Any], files: Sequence[Upload]) -> tuple[list[Upload], list[str]]:
    """Files that a repository lacks, and paths of those that it holds with another content."""
    missing, other = [], []
    for file in files:
        held = found.get(file.path)
        if held is None:
            missing.append(file)
            continue
        same = held.size == file.num_bytes() and (
            file.digest("lfs") == held.lfs.sha256 if held.lfs else file.digest("git") == held.blob_id
        )
        if not same:
            other.append(file.path)
    return missing, other


def drop_download_notes(folder: str) -> None:
    """Remove what huggingface_hub keeps in a folder in order to resume."""
    fs, path = storage.filesystem(os.path.join(folder, ".cache"))
    with contextlib.suppress(FileNotFoundError):
        fs.rm(f"{path}/huggingface", recursive=True)
        os.rmdir(path)


def _batches(files: Sequence[Upload]) -> Iterator[list[Upload]]:
    batch: list[Upload] = []
    num_bytes = 0
    for file in files:
        batch.append(file)
        num_bytes += file.num_bytes()
        if len(batch) >= BATCH_FILES or num_bytes >= BATCH_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
