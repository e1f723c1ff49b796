"""What operations are tried on. Made-up ids name nothing, so most of them are replaced by those of
something new, which no other request changes; and header fields that have to fit something else are
made to fit it."""

import re
from collections import defaultdict
from itertools import count
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import requests
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData

TUS = {"Tus-Resumable": "1.0.0"}
CONTENT = b"hello"
METADATA = "filename aGVsbG8udHh0,filetype dGV4dC9wbGFpbg==,empty"

# What a worker has found.
REPORT = {
    "polygons": [{"points": [{"x": 1, "y": 2}, {"x": 8, "y": 2}, {"x": 8, "y": 9.5}]}],
    "imageSize": {"width": 16, "height": 12},
}

# Of a request that is to succeed, what would have to fit the body, or another field.
MUST_FIT = ["Upload-Checksum", "Upload-Concat", "Upload-Metadata", "Content-Digest", "Repr-Digest", "Trailer"]

# What creates an upload in tus, which needs one of these.
CREATIONS = {"create", "createInProject"}
LENGTHS = [("Upload-Length", str(1 << 20)), ("Upload-Defer-Length", "1")]


def octets(context, value):
    return {"data": value if isinstance(value, bytes) else str(value).encode()}


for media_type in ("application/offset+octet-stream", "application/partial-upload"):
    schemathesis.serializer(media_type)(octets)


def set_up(url, token, other_token, worker_token):
    """Begins to take part in the run. Returns the statuses that each operation is answered, which
    grow with it."""
    scene = Scene(url, token, other_token, worker_token)
    statuses = defaultdict(list)

    @schemathesis.hook
    def before_call(context, case, kwargs):
        scene.prepare(case)

    @schemathesis.hook
    def after_call(context, case, response):
        statuses[case.operation.label].append(response.status_code)

    @schemathesis.hook
    def filter_failure(context, failure, case, response):
        # An empty value in the query is as good as none, so it is sound whatever it was made from.
        return not (isinstance(failure, AcceptedNegativeData) and "" in queried(response.request.url))

    return statuses


def queried(url):
    """The values in the query."""
    return [value for _, value in parse_qsl(urlsplit(url).query, keep_blank_values=True)]


class Scene:
    def __init__(self, url, token, other_token, worker_token):
        self.url = url
        self.token = token
        self.other_token = other_token
        self.worker_token = worker_token
        self.rounds = defaultdict(count)

    def prepare(self, case):
        nth = next(self.rounds[case.operation.label])
        # Now and then without a token.
        if self.token and nth % 8 != 7:
            is_work = "worker" in case.operation.definition.raw["tags"]
            case.headers["Authorization"] = f"Bearer {self.worker_token if is_work else self.token}"
        names = case.path_parameters
        if case.method == "DELETE" and names.get("project") == "default":
            # The others go on in it.
            names["project"] = self.project()
        is_sound = case.meta and all(part.mode.is_positive for part in case.meta.components.values())
        if is_sound and nth % 4 != 3:
            operation = case.operation.definition.raw["operationId"]
            self.name(operation, case.operation.path, names)
            self.fit(case, nth)
            self.enlist(operation, case)
            self.select(operation, case)

    def name(self, operation, path, names):
        """Fills the path with what exists."""
        if "project" in names:
            names["project"] = self.project()
        if "id" in names and "/export/" in path:
            names["id"] = self.export(names["project"], is_whole=operation != "cancelExport")
        elif "id" in names:
            names["id"] = self.upload(names.get("project"), is_complete=operation == "read")
        if "share" in names:
            names["share"] = self.share(is_invited=operation == "acceptShare")
        if "slug" in names:
            names["slug"] = "not-found"
        if "name" in names:
            names["name"] = self.asset()
        if "image" in names:
            names["image"] = self.result() if operation.startswith("findResult") else self.image()
        if "item" in names and operation != "finish":
            names["item"] = self.enqueued()["id"]
        if "batch" in names:
            names["batch"] = self.enqueued()["batchId"]

    def enlist(self, operation, case):
        """Makes the body of a request to the queue fit what is in it."""
        body = case.body
        if operation in ("enqueue", "enqueueAll") and isinstance(body, dict):
            body.pop("model", None)
            if operation == "enqueueAll":
                body["projectId"] = self.project()
                body["imageIds"] = [self.image(body["projectId"]) for _ in range(2)]
        if operation == "claim":
            # It is not to wait.
            body.update(models=["otsu"], waitMs=0)
        if operation == "finish":
            item = self.claimed()
            case.path_parameters["item"] = item["id"]
            body["fence"] = item["fence"]
            if body["outcome"] == "completed":
                body["result"] = REPORT

    def select(self, operation, case):
        """Makes a request about an export fit what there is: no made-up id names an image, and no made-up
        token lends anything."""
        if operation == "startExport":
            case.body["options"].pop("selectedImageIds", None)
            case.body["options"]["includeOriginalImages"] = True
        if operation.startswith("download"):
            case.query.pop("token", None)

    def fit(self, case, nth):
        """Makes the header fields of a request fit what it is sent to, and one another."""
        headers = case.headers
        for name in MUST_FIT:
            headers.pop(name, None)
        if "Upload-Offset" in headers:
            headers["Upload-Offset"] = "0"
        if nth % 2:
            # Some made-up ids are made up again.
            headers.pop("Upload-Id", None)
        if case.operation.definition.raw["operationId"] in CREATIONS:
            for name in ("Upload-Length", "Upload-Defer-Length"):
                headers.pop(name, None)
            name, value = LENGTHS[nth % 2]
            headers[name] = value
        elif case.method != "POST":
            headers.pop("Upload-Length", None)

    def send(self, method, path, token=None, **rest):
        token = token or self.token
        headers = {**TUS, **rest.pop("headers", {})}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = requests.request(method, f"{self.url}{path}", headers=headers, **rest)
        answer.raise_for_status()
        return answer

    def project(self, token=None):
        return self.send("POST", "/api/projects", token, json={"title": "Cells"}).json()["data"]["id"]

    def share(self, is_invited):
        token = self.other_token if is_invited else None
        user = "ada" if is_invited else "somebody"
        project = self.project(token)
        shared = self.send("POST", f"/api/projects/{project}/shares", token, json={"userId": user})
        return shared.json()["data"]["id"]

    def asset(self):
        """The name of one that the page has."""
        return re.search('"/assets/([^"]+)"', self.send("GET", "/").text)[1]

    def image(self, project=None):
        return self.upload(project, is_complete=True)

    def enqueued(self, priority=0):
        """A new item, of a batch."""
        project = self.project()
        asked = {"projectId": project, "imageIds": [self.image(project)], "priority": priority}
        return self.send("POST", "/api/queue/batch", json=asked).json()["data"]["queueEntries"][0]

    def claimed(self):
        """A new item, as the worker has got it."""
        wanted = self.enqueued(priority=10)["id"]
        while True:
            asked = {"worker": "w1", "session": str(uuid4()), "claimId": str(uuid4()), "models": ["otsu"]}
            answer = self.send("POST", "/api/worker/claim", self.worker_token, json=asked)
            for item in answer.json()["items"]:
                if item["id"] == wanted:
                    return item

    def result(self):
        """An image that has one."""
        item = self.claimed()
        told = {"fence": item["fence"], "outcome": "completed", "result": REPORT}
        self.send("POST", f"/api/worker/items/{item['id']}/finish", self.worker_token, json=told)
        return item["image"]["id"]

    def export(self, project, is_whole):
        """A new one."""
        path = f"/api/projects/{project}/export"
        job = self.send("POST", path, json={"options": {}}).json()["jobId"]
        while is_whole and not self.send("GET", f"{path}/{job}/status").json()["downloadable"]:
            pass
        return job

    def upload(self, project, is_complete):
        path = f"/api/projects/{project}/uploads" if project else "/files"
        headers = {"Upload-Length": str(len(CONTENT)), "Upload-Metadata": METADATA}
        if is_complete:
            headers["Content-Type"] = "application/offset+octet-stream"
        made = self.send("POST", path, headers=headers, data=CONTENT if is_complete else None)
        return made.headers["Location"].rpartition("/")[2]
