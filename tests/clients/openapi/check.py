"""Holds a running server against the OpenAPI document that it serves.

The document must be valid. Then schemathesis sends what it makes of every operation, sound and
unsound, and each answer must have a status, a media type, header fields and content that the
document names, and be none of 5xx. At least one answer to each operation must be a success, or the
run would prove little.

With `--auth jwt` the environment has the token of the caller in TOKEN, that of another user in
OTHER_TOKEN, and that of a worker in WORKER_TOKEN. TIDEGATE_TEST_SEED repeats a run, TIDEGATE_TEST_ROUNDS is how many requests are made up for
each operation.
"""

import json
import os
import sys
import tempfile

import requests
from openapi_spec_validator import validate
from schemathesis.cli import schemathesis

import scene

FOLDER = os.path.dirname(os.path.abspath(__file__))

# Their success is another protocol, or has no end.
WITHOUT_SUCCESS = {
    "GET /api/events/ws",
    "HEAD /api/events/ws",
    "GET /api/events",
    "GET /api/worker/{worker}/control",
}

# Somebody else has to be there, who invites the caller.
OF_TWO = {"POST /api/shares/{share}/accept"}


def main(url):
    document = requests.get(f"{url}/api/openapi.json").json()
    validate(document)
    names = ("TOKEN", "OTHER_TOKEN", "WORKER_TOKEN")
    token, other_token, worker_token = [os.environ.get(name) for name in names]
    statuses = scene.set_up(url, token, other_token, worker_token)
    status = run(document, url)
    expected = set(operations(document)) - WITHOUT_SUCCESS
    if not other_token:
        expected -= OF_TWO
    failed = [name for name in sorted(expected) if not any(200 <= it < 300 for it in statuses[name])]
    for name in failed:
        print(f"{name} never was a success: {sorted(set(statuses[name]))}", file=sys.stderr)
    seen = {
        "ok": status == 0 and not failed,
        "operations": len(statuses),
        "requests": sum(map(len, statuses.values())),
    }
    print(json.dumps(seen))
    return seen["ok"]


def operations(document):
    """Method and path of each."""
    for path, item in document["paths"].items():
        for method in item.keys() - {"parameters"}:
            yield f"{method.upper()} {path}"


def run(document, url):
    """Runs schemathesis, and returns its exit status."""
    arguments = ["--config-file", os.path.join(FOLDER, "schemathesis.toml"), "--no-color"]
    # From its own address, it would take the document for no operation.
    arguments += ["run", "openapi.json", "--url", url]
    for knob, flag in ("SEED", "--seed"), ("ROUNDS", "--max-examples"):
        if value := os.environ.get(f"TIDEGATE_TEST_{knob}"):
            arguments += [flag, value]
    with tempfile.TemporaryDirectory(prefix="tidegate-client-") as folder:
        # It leaves files where it runs.
        os.chdir(folder)
        with open("openapi.json", "w") as file:
            json.dump(document, file)
        try:
            schemathesis.main(arguments)
        except SystemExit as end:
            return end.code
        finally:
            os.chdir(FOLDER)


if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} URL")
sys.exit(0 if main(sys.argv[1]) else 1)
