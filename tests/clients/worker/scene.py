"""What the scenarios with workers share: a user of the server, its feed, and workers as programs."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

# A wait that only a defect makes this long.
DEADLINE_S = 60.0

COMMAND = Path(sys.executable).with_name("tidegate-segment")


class Server:
    """The server, as its user sees it."""

    def __init__(self, url):
        self.url = url
        self.token = os.environ.get("TOKEN")
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=DEADLINE_S)

    def call(self, method, path, body=None, status=200):
        answer = self.http.request(method, path, json=body)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()["data"]

    def upload(self, path):
        """Uploads a file and returns the image's id and the project it is in."""
        content = path.read_bytes()
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(len(content)),
            "Content-Type": "application/offset+octet-stream",
        }
        answer = self.http.post("/files", headers=headers, content=content)
        assert answer.status_code == 201, answer.text
        image = answer.headers["Location"].rsplit("/", 1)[1]
        return image, self.call("GET", f"/api/images/{image}")["projectId"]

    def enqueue(self, image, **order):
        return self.call("POST", f"/api/queue/images/{image}", order, status=201)["id"]

    def item(self, item):
        return self.call("GET", f"/api/queue/items/{item}")

    def status(self, image):
        return self.call("GET", f"/api/images/{image}")["segmentationStatus"]

    def result(self, image):
        return self.call("GET", f"/api/images/{image}/result")

    @contextmanager
    def feed(self, project):
        """What happens in a project from now on."""
        params = {"projectId": project, "types": "queue.*"}
        with self.http.stream("GET", "/api/events", params=params) as stream:
            assert stream.status_code == 200, stream.read()
            yield Feed(stream.iter_lines())


class Feed:
    def __init__(self, lines):
        self.lines = lines
        # The place: from here on nothing is missed.
        next(line for line in lines if line.startswith("id:"))

    def until(self, kind, item):
        """The data of the next such event of an item. Those before it are gone."""
        until = time.monotonic() + DEADLINE_S
        for line in self.lines:
            assert time.monotonic() < until, f"no {kind} of {item}"
            if line.startswith("data:"):
                event = json.loads(line[5:])
                if event["type"] == kind and event["data"].get("id") == item:
                    return event["data"]
        raise AssertionError(f"the feed has ended without {kind} of {item}")


class Worker:
    """A worker, as a program."""

    def __init__(self, server, *arguments, command=(COMMAND,), **environment):
        if server.token:
            environment["TIDEGATE_TOKEN"] = os.environ["WORKER_TOKEN"]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*command, "--server", server.url, *arguments],
            env={**os.environ, **environment},
            stderr=self.log,
        )

    def signal(self, number):
        self.process.send_signal(number)

    def text(self):
        self.log.seek(0)
        return self.log.read()


@contextmanager
def worker(server, *arguments, **environment):
    """A worker that drains at the end, and must come to it."""
    running = Worker(server, *arguments, **environment)
    try:
        yield running
        running.signal(signal.SIGTERM)
        assert running.process.wait(DEADLINE_S) == 0
    finally:
        running.process.kill()
        running.process.wait()
        sys.stderr.write(running.text())


def wait_until(is_so, what):
    until = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.01)


def scenario(work):
    """Runs a scenario against the server in the command line, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(work(Server(sys.argv[1]), Path(folder))))
