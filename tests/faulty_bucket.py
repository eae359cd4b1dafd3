"""A stand-in for Google Cloud Storage that behaves as the store does under load.

It takes one write a second of an object (429), answers a share of requests with 503, cuts some uploads after
half of their bytes, lists in pages, keeps preconditions (412), and refuses to copy objects, so that nothing
relies on a rename.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import random
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator

from tests.trainer.bucket import Bucket

PAGE = 2
WRITE_SEC = 1.0
SHARE_503 = 0.03
SHARE_CUT = 0.02


class FaultyBucket(Bucket):
    """One store; the attributes are set for each."""

    lock: threading.Lock
    random: random.Random
    written: dict[str, float]  # time of the last write, by name
    counts: Counter[str]

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if self._is_busy():
            return
        if self._name(url.path) is not None:
            super().do_GET()
            return
        query = dict(urllib.parse.parse_qsl(url.query))
        prefix, start = query.get("prefix", ""), query.get("pageToken", "")
        names: list[tuple[str, str]] = []  # what is listed, and the kind
        for name in sorted(self.objects):
            if name.startswith(prefix):
                folder, slash, _ = name[len(prefix) :].partition("/")
                found = (
                    (prefix + folder + slash, "prefixes")
                    if "delimiter" in query and slash
                    else (name, "items")
                )
                if found not in names[-1:]:
                    names.append(found)
        left = [each for each in names if each[0] > start]
        answer: dict[str, object] = {
            "kind": "storage#objects",
            "items": [self._item(name) for name, kind in left[:PAGE] if kind == "items"],
            "prefixes": [name for name, kind in left[:PAGE] if kind == "prefixes"],
        }
        if len(left) > PAGE:
            self.counts["further pages"] += 1
            answer["nextPageToken"] = left[PAGE - 1][0]
        self._answer(answer)

    def do_POST(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        length = int(self.headers["Content-Length"] or 0)
        with self.lock:
            is_cut = url.path.startswith("/upload/") and self.random.random() < SHARE_CUT
        if is_cut:
            self.counts["cut uploads"] += 1
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        body = self.rfile.read(length)
        if self._is_busy():
            return
        if not url.path.startswith("/upload/"):
            self.counts["copies"] += 1
            self._fail(403)
            return
        _, settings, content = body.split(b"\n\n", 2)
        name = json.loads(settings.split(b"\n--==0==")[0])["name"]
        query = dict(urllib.parse.parse_qsl(url.query))
        with self.lock:
            now = time.monotonic()
            if query.get("ifGenerationMatch") == "0" and name in self.objects:
                status = 412
            elif now - self.written.get(name, -WRITE_SEC) < WRITE_SEC:
                status = 429
            else:
                status = 200
                self.written[name] = now
                self.objects[name] = content.removesuffix(b"\n--==0==--")
        self.counts[f"writes: {status}"] += 1
        if status == 200:
            self._answer(self._item(name))
        else:
            self._fail(status)

    def do_DELETE(self) -> None:
        if not self._is_busy():
            super().do_DELETE()

    def _fail(self, status: int) -> None:
        self._answer({"error": {"code": status, "message": f"refused with {status}"}}, status=status)

    def _is_busy(self) -> bool:
        with self.lock:
            is_busy = self.random.random() < SHARE_503
        if is_busy:
            self.counts["503"] += 1
            self._fail(503)
        return is_busy


@contextlib.contextmanager
def serve_faulty_bucket(seed: int = 0) -> Iterator[tuple[str, dict[str, bytes], Counter[str]]]:
    """Serve a store; yield its address, the objects of `gs://bucket`, and counts of what went wrong."""
    objects: dict[str, bytes] = {}
    counts: Counter[str] = Counter()
    parts = {
        "objects": objects,
        "counts": counts,
        "lock": threading.Lock(),
        "random": random.Random(seed),
        "written": {},
    }
    handler = type("OwnFaultyBucket", (FaultyBucket,), parts)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", objects, counts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
