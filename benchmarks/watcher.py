"""Asks a server for a path twenty times a second, from a process of its own, until standard input ends.

Prints the sorted times in seconds and the number of failures as JSON: `python watcher.py PORT PATH`.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time


def main() -> None:
    port, path = int(sys.argv[1]), sys.argv[2]
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    times, failures = [], 0
    while not over.wait(0.05):
        began = time.monotonic()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
            connection.request("GET", path)
            failures += connection.getresponse().status != 200
            connection.close()
        except OSError:
            failures += 1
        times.append(time.monotonic() - began)
    print(json.dumps([sorted(times), failures]))


if __name__ == "__main__":
    main()
