"""Replacement of `sglang.launch_server` in tests: answers /health and follows the FAKE_* variables.

It writes its arguments, environment and processes to `<pid>.json` in FAKE_RECORDS.
"""

import argparse
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

STARTED = time.monotonic()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/exit/"):
            print("told to exit", flush=True)
            os._exit(int(self.path.removeprefix("/exit/")))
        is_ready = time.monotonic() - STARTED >= float(os.environ.get("FAKE_LOAD_SEC", "0"))
        self.send_response(200 if is_ready else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    known, _ = parser.parse_known_args()
    path = os.path.join(os.environ["FAKE_RECORDS"], f"{os.getpid()}.json")
    grandchild = None
    if "FAKE_GRANDCHILD" in os.environ:  # in a new session, ignores SIGTERM
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        grandchild = subprocess.Popen([sys.executable, "-c", code], start_new_session=True).pid
    if "FAKE_IS_DEAF" in os.environ:
        signal.signal(signal.SIGTERM, lambda *_: open(f"{path}.sigterm", "w").close())
    record = {
        "argv": sys.argv[1:],
        "environ": dict(os.environ),
        "pid": os.getpid(),
        "supervisor": os.getppid(),
        "grandchild": grandchild,
        "port": known.port,
    }
    with open(f"{path}.new", "w") as file:
        json.dump(record, file)
    os.rename(f"{path}.new", path)
    if "FAKE_LOSES_PORT" in os.environ and len(os.listdir(os.environ["FAKE_RECORDS"])) == 1:
        sys.exit(f"[Errno 98] cannot bind on ('{known.host}', {known.port}): address already in use")
    if "FAKE_EXIT" in os.environ:
        print("loading the model", flush=True)
        print("ValueError: the model has no weights", file=sys.stderr)
        sys.exit(int(os.environ["FAKE_EXIT"]))
    server = http.server.ThreadingHTTPServer((known.host, known.port), Handler)
    threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    main()
