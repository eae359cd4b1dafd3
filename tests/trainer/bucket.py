"""A stand-in for Google Cloud Storage, for processes that reach it through gcsfs."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any


def environment(address: str) -> dict[str, str]:
    """Environment variables that point `gs://` at the store at this address."""
    return {"STORAGE_EMULATOR_HOST": address, "FSSPEC_GS_TOKEN": "anon"}


@contextlib.contextmanager
def serve_bucket() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Serve a store; yield its address and the objects of `gs://bucket`."""
    objects: dict[str, bytes] = {}
    handler = type("OwnBucket", (Bucket,), {"objects": objects})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", objects
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Bucket(http.server.BaseHTTPRequestHandler):
    """The part of Google Cloud Storage's JSON interface that gcsfs uses."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        name = self._name(url.path)
        if name is None:
            prefix = query.get("prefix", "")
            rest = [each[len(prefix) :] for each in list(self.objects) if each.startswith(prefix)]
            if "delimiter" not in query:
                self._answer({"items": [self._item(prefix + each) for each in rest]})
                return
            folders = sorted({each.split("/")[0] + "/" for each in rest if "/" in each})
            self._answer(
                {
                    "prefixes": [prefix + each for each in folders],
                    "items": [self._item(prefix + each) for each in rest if "/" not in each],
                }
            )
        elif name not in self.objects:
            self._answer({"error": {"message": f"No such object: {name}"}}, status=404)
        elif url.path.startswith("/download/"):
            self._answer(self.objects[name])
        else:
            self._answer(self._item(name))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = urllib.parse.urlsplit(self.path).path
        if path.startswith("/upload/"):
            _, settings, content = body.split(b"\n\n", 2)
            name = json.loads(settings.split(b"\n--==0==")[0])["name"]
            self.objects[name] = content.removesuffix(b"\n--==0==--")
            self._answer(self._item(name))
        else:
            source, target = map(self._name, path.replace("/rewriteTo/", "\n/storage/v1/").split("\n"))
            found = self.objects.get(source or "")  # gcsfs tries to copy folders, which are not objects
            if found is not None and target is not None:
                self.objects[target] = found
            self._answer({"done": True}, status=404 if found is None else 200)

    def do_DELETE(self) -> None:
        found = self.objects.pop(self._name(urllib.parse.urlsplit(self.path).path) or "", None)
        self._answer(b"", status=204 if found is not None else 404)

    def log_message(self, *args: Any) -> None:
        pass

    @staticmethod
    def _name(path: str) -> str | None:
        """Name of the object in a path; None for the list of all objects."""
        match = re.search(r"/storage/v1/b/[^/]+/o/(.+)$", path)
        return urllib.parse.unquote(match[1]) if match else None

    def _item(self, name: str) -> dict[str, Any]:
        return {"name": name, "bucket": "bucket", "size": str(len(self.objects[name]))}

    def _answer(self, value: Any, *, status: int = 200) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
