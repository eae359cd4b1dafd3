"""Stand-in for the Hugging Face hub on loopback: what huggingface_hub asks for a push, a pull and hf://."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

READ, WRITE = "hf_reads", "hf_writes"
"""Tokens of an account `me`."""


class Hub:
    """Repositories in memory.

    Attributes:
        repos: Files of each commit, by `datasets/OWNER/NAME`; the last commit is the newest.
        private: Whether a repository is private.
        requests: Number of requests by what they ask for.
        sent: Paths of committed files, in order.
        fetched: Paths of files whose content was asked for, in order.
        fail_at_commit: Number of the commit that fails with status 500, counted from 1; 0 for none.
    """

    def __init__(self) -> None:
        self.repos: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.large: set[str] = set()
        self.requests: Counter[str] = Counter()
        self.sent: list[str] = []
        self.fetched: list[str] = []
        self.fail_at_commit = 0
        self.url = ""

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Files of a repository."""
        return next(files for sha, files in reversed(self.repos[repo]) if revision in ("main", sha))

    def app(self) -> web.Application:
        """The server."""
        app = web.Application(client_max_size=1 << 28)
        kind, name = r"{kind:datasets|models}", "{owner}/{name}"
        api = f"/api/{kind}/{name}"
        for method, path, handler in (
            ("GET", "/api/whoami-v2", self._whoami),
            ("POST", "/api/repos/create", self._create),
            ("POST", "/api/validate-yaml", self._validate),
            ("GET", r"/api/{kind:datasets|models}/{owner}", self._info),
            ("GET", api, self._info),
            ("GET", api + "/revision/{revision}", self._info),
            ("GET", api + "/tree/{revision}", self._tree),
            ("GET", api + "/tree/{revision}/{path:.*}", self._tree),
            ("POST", api + "/paths-info/{revision}", self._paths),
            ("POST", api + "/preupload/{revision}", self._preupload),
            ("POST", api + "/commit/{revision}", self._commit),
            ("POST", "/{kind:datasets}/{owner}/{name}.git/info/lfs/objects/batch", self._batch),
            ("POST", "/{owner}/{name}.git/info/lfs/objects/batch", self._batch),
            ("PUT", "/objects/{oid}", self._put),
            ("GET", "/{kind:datasets}/{owner}/{name}/resolve/{revision}/{path:.*}", self._resolve),
            ("GET", "/{owner}/{name}/resolve/{revision}/{path:.*}", self._resolve),
        ):
            app.router.add_route(method, path, self._counted(handler))
            if handler == self._resolve:
                app.router.add_route("HEAD", path, self._counted(handler))
        return app

    def _counted(self, handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests[handler.__name__.strip("_")] += 1
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in ("", READ, WRITE):
                return _refused(401, "Invalid credentials in Authorization header")
            if token != WRITE and handler in (self._create, self._commit, self._preupload, self._batch):
                return _refused(403, f"Forbidden: you don't have the rights of {token}")
            repo = _repo(request)
            is_hidden = repo not in self.repos or (self.private[repo] and not token)
            if "owner" in request.match_info and is_hidden:
                return _refused(404 if token else 401, "Repository not found", "RepoNotFound")
            return await handler(request)  # type: ignore[no-any-return]

        return handle

    async def _whoami(self, request: web.Request) -> web.Response:
        if not request.headers.get("Authorization"):
            return _refused(401, "Invalid credentials")
        return web.json_response({"name": "me", "type": "user"})

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        kind = "datasets" if asked.get("type") == "dataset" else "models"
        repo = f"{kind}/{asked['organization'] or 'me'}/{asked['name']}"
        url = f"{self.url}/{repo.removeprefix('models/')}"
        if repo in self.repos:
            return web.json_response({"error": "exists", "url": url}, status=409)
        self.repos[repo] = [(_sha(b"first"), {".gitattributes": b"*.zst filter=lfs"})]
        self.private[repo] = (
            bool(asked.get("private")) or asked.get("visibility") == "private"
        )  # releases differ
        return web.json_response({"url": url})

    async def _validate(self, request: web.Request) -> web.Response:
        return web.json_response({"errors": [], "warnings": []})

    async def _info(self, request: web.Request) -> web.Response:
        repo = _repo(request)
        revision = request.match_info.get("revision", "main")
        sha = next((sha for sha, _ in reversed(self.repos[repo]) if revision in ("main", sha)), None)
        if sha is None:
            return _refused(404, "Invalid rev id", "RevisionNotFound")
        siblings = [{"rfilename": path} for path in self.files(repo, sha)]
        name = repo.split("/", 1)[1]
        return web.json_response(
            {"id": name, "sha": sha, "private": self.private[repo], "siblings": siblings}
        )

    async def _tree(self, request: web.Request) -> web.Response:
        files = self.files(_repo(request), request.match_info["revision"])
        inside = request.match_info.get("path", "").strip("/")
        recursive = request.query.get("recursive", "").lower() in ("true", "1")
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(files):
            if inside and not path.startswith(f"{inside}/"):
                continue
            below = path.removeprefix(inside).strip("/").split("/")
            start = f"{inside}/" if inside else ""
            for end in range(1, len(below)) if recursive else range(1, min(2, len(below))):
                folder = start + "/".join(below[:end])
                found[folder] = {"type": "directory", "path": folder, "oid": _sha(folder.encode()), "size": 0}
            if recursive or len(below) == 1:
                found[path] = self._entry(path, files[path])
        if not found and inside:
            return _refused(404, "no such path", "EntryNotFound")
        return web.json_response(list(found.values()))

    async def _paths(self, request: web.Request) -> web.Response:
        files = self.files(_repo(request), request.match_info["revision"])
        asked = await request.post() if "form" in request.content_type else await request.json()
        paths = asked.getall("paths") if hasattr(asked, "getall") else asked["paths"]
        found = []
        for path in paths:
            if path in files:
                found.append(self._entry(path, files[path]))
            elif any(each.startswith(f"{path}/") for each in files):
                found.append({"type": "directory", "path": path, "oid": _sha(path.encode()), "size": 0})
        return web.json_response(found)

    def _entry(self, path: str, data: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _git(data)}
        if _is_large(path):
            sha = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 130}
        return entry

    async def _preupload(self, request: web.Request) -> web.Response:
        asked = await request.json()
        modes = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if _is_large(each["path"]) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for each in asked["files"]
        ]
        return web.json_response({"files": modes})

    async def _batch(self, request: web.Request) -> web.Response:
        objects = []
        for each in (await request.json())["objects"]:
            entry = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.objects:
                entry["actions"] = {"upload": {"href": f"{self.url}/objects/{each['oid']}"}}
            objects.append(entry)
        return web.json_response({"transfer": "basic", "objects": objects})

    async def _put(self, request: web.Request) -> web.Response:
        data = await request.read()
        assert hashlib.sha256(data).hexdigest() == request.match_info["oid"]
        self.objects[request.match_info["oid"]] = data
        return web.Response()

    async def _commit(self, request: web.Request) -> web.Response:
        if self.requests["commit"] == self.fail_at_commit:
            return _refused(500, f"out of order, {request.headers['Authorization']}")
        repo = _repo(request)
        files = dict(self.files(repo))
        for line in (await request.text()).splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            if entry["key"] != "header":
                self.sent.append(value["path"])
        sha = _sha(f"{repo}{len(self.repos[repo])}".encode())
        self.repos[repo].append((sha, files))
        return web.json_response(
            {
                "success": True,
                "commitOid": sha,
                "commitUrl": f"{self.url}/{repo.removeprefix('models/')}/commit/{sha}",
            }
        )

    async def _resolve(self, request: web.Request) -> web.Response:
        repo, path = _repo(request), request.match_info["path"]
        revision = request.match_info["revision"]
        files = self.files(repo, revision)
        if path not in files:
            return _refused(404, "no such file", "EntryNotFound")
        data = files[path]
        sha = next(sha for sha, each in reversed(self.repos[repo]) if each is files)
        etag = hashlib.sha256(data).hexdigest() if _is_large(path) else _git(data)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(data))})
        self.fetched.append(path)
        if asked := request.http_range.start is not None and request.http_range:
            part = data[asked]
            start = asked.start or 0
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
            return web.Response(body=part, status=206, headers=headers)
        return web.Response(body=data, headers=headers)


def _repo(request: web.Request) -> str:
    found = request.match_info
    return f"{found.get('kind', 'models')}/{found.get('owner')}/{found.get('name')}"


def _is_large(path: str) -> bool:
    return path.endswith((".zst", ".zstd", ".near", ".safetensors"))


def _sha(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def _git(data: bytes) -> str:
    return _sha(b"blob %d\0" % len(data) + data)


def _refused(status: int, message: str, code: str = "") -> web.Response:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return web.json_response({"error": message}, status=status, headers=headers)
