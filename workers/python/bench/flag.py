"""How long it takes from the call that cancels an item until `check` raises in its function.

    python bench/flag.py http://127.0.0.1:7070 [CANCELS]

The clock is the one that all processes of a Linux machine share.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tidegate_worker import Cancelled, Job, Result, Worker

TOLD = "TIDEGATE_BENCH_TOLD"


def idle(job: Job) -> Result:
    """Looks all the time, as inference in small steps does, and writes down when it is told."""
    told = Path(os.environ[TOLD]) / job.id
    try:
        told.with_suffix(".begun").touch()
        while True:
            job.check()
            time.sleep(0.0001)
    except Cancelled:
        told.with_suffix(".told").write_text(str(time.monotonic_ns()))
        raise


def measure(server: str, cancels: int, folder: Path) -> list[float]:
    delays = []
    with httpx.Client(base_url=server, timeout=30) as http:
        made = http.post("/files", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "0"})
        image = made.headers["Location"].rsplit("/", 1)[1]
        for _ in range(cancels):
            item = http.post(f"/api/queue/images/{image}").json()["data"]["id"]
            wait_for(folder / f"{item}.begun")
            called = time.monotonic_ns()
            http.delete(f"/api/queue/items/{item}").raise_for_status()
            delays.append((int(wait_for(folder / f"{item}.told")) - called) / 1e6)
    return sorted(delays)


def wait_for(path: Path) -> str:
    until = time.monotonic() + 30
    while not path.exists() or (path.suffix == ".told" and not path.read_text()):
        if time.monotonic() > until:
            raise SystemExit(f"never: {path}")
        time.sleep(0.001)
    return path.read_text()


def main() -> None:
    server, cancels = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 500
    with tempfile.TemporaryDirectory() as folder:
        worker = subprocess.Popen(
            [sys.executable, __file__, "--work", server], env={**os.environ, TOLD: folder}
        )
        try:
            delays = measure(server, cancels, Path(folder))
        finally:
            worker.terminate()
            worker.wait()
    places = {"median": 0.5, "for 99 %": 0.99, "at most": 1.0}
    for name, share in places.items():
        print(f"{delays[min(int(len(delays) * share), len(delays) - 1)]:.2f} ms {name}")


if __name__ == "__main__":
    if sys.argv[1] == "--work":
        program = Worker(sys.argv[2])
        program.model("otsu")(idle)
        program.run()
    else:
        main()
