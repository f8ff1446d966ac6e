"""A small stand-in for the Hugging Face Hub on loopback, for the real client.

It knows what `huggingface_hub` asks to create a dataset repository, commit files to it, tag
it, list it, and download from it, and what `datasets` asks to load one. Everything is kept in
memory, and any token may write. Files are committed inline, or through the store of large
files where their names end with `large`. Faults can be ordered by path, and by kind of request.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback import LoopbackServer

DATE = "2026-01-01T00:00:00.000Z"


class HubError(Exception):
    """An answer the client understands as an error."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Repository:
    """Commits are whole trees of files; `refs` names some of them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, tree: dict[str, bytes]) -> str:
        described = [self.refs.get("main", ""), sorted((p, oid(data)) for p, data in tree.items())]
        sha = hashlib.sha1(json.dumps(described).encode()).hexdigest()
        self.commits[sha] = tree
        self.refs["main"] = sha
        return sha

    def resolve(self, revision: str) -> str:
        sha = (self.refs | self.tags).get(revision, revision)
        if sha not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha


def oid(data: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def large_oid(data: bytes) -> str:
    """The name that the store of large files gives a content."""
    return hashlib.sha256(data).hexdigest()


class Cut(Exception):
    """The connection is to end without an answer."""


class Asked(NamedTuple):
    """One request that reached the server."""

    method: str
    path: str
    range: str | None


NAME = r"/api/datasets/(?P<name>[^/]+/[^/]+)"
ROUTES = [
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("POST", NAME + r"/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", NAME + r"/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", NAME + r"/tag/(?P<revision>[^/]+)", "tag"),
    ("POST", NAME + r"/paths-info/(?P<revision>[^/]+)", "paths"),
    ("POST", r"/datasets/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/large/(?P<oid>[0-9a-f]{64})", "store"),
    ("GET", NAME + r"/tree/(?P<revision>[^/]+)(?:/(?P<under>.*))?", "tree"),
    ("GET", NAME + r"/refs", "refs"),
    ("GET", NAME + r"(?:/revision/(?P<revision>[^/]+))?", "info"),
    ("GET", r"/datasets/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "file"),
]


class Handler(BaseHTTPRequestHandler):
    """Answers one client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are sent apart
    server: HubServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _dispatch(self) -> None:
        parts = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.server.asked.append(Asked(self.command, parts.path, self.headers.get("Range")))
        self.mute = False
        try:
            self._answer(parts.path)
        except HubError as error:
            headers = {"X-Error-Message": str(error)} | (
                {"X-Error-Code": error.code} if error.code else {}
            )
            said = {"error": str(error), "errors": [{"message": str(error)}]}
            self._json(said, error.status, headers)
        except Cut:
            self.connection.shutdown(2)
            self.close_connection = True
        except ConnectionError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = _dispatch  # noqa: N815

    def _answer(self, path: str) -> None:
        """Do what is asked, with the fault that is ordered for such a request."""
        name, words = self._route(path)
        fault = self.server.faults.get(name)
        if fault == "cut":
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            raise Cut
        self.body = self._read()
        # Files are put where the store of large files said, which is asked without a token.
        if self.command == "POST" and name != "paths" and not self.headers.get("Authorization"):
            raise HubError(401, "Invalid username or password.")
        if isinstance(fault, int):
            raise HubError(fault, "as the test ordered")
        self.mute = fault in {"unanswered", "held"}
        getattr(self, f"_{name}")(**words)
        if fault == "held":
            self.server.holding.set()
            self.server.released.wait()
        if self.mute:
            raise Cut

    def _route(self, path: str) -> tuple[str, dict[str, str]]:
        wanted = "GET" if self.command == "HEAD" else self.command
        for method, pattern, name in ROUTES:
            found = re.fullmatch(pattern, path)
            if method == wanted and found:
                return name, {k: unquote(v) for k, v in found.groupdict().items() if v is not None}
        self._read()
        raise HubError(404, f"no such endpoint: {self.command} {path}")

    def _read(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if self.mute:
            return
        data = json.dumps(value).encode()
        kind = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        self._head(status, kind | (headers or {}))
        if self.command != "HEAD":
            self.wfile.write(data)

    def _repository(self, name: str) -> Repository:
        if name not in self.server.repositories:
            raise HubError(404, "Repository not found", "RepoNotFound")
        return self.server.repositories[name]

    def _create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        url = f"{self.server.url}/datasets/{name}"
        if name in self.server.repositories:
            return self._json({"error": "You already created this repo", "url": url}, 409)
        repository = self.server.repositories[name] = Repository()
        repository.commit({".gitattributes": b""})
        return self._json({"url": url, "name": name, "id": name})

    def _validate(self) -> None:
        self._json({"errors": [], "warnings": []})

    def _preupload(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        tree = repository.commits[repository.resolve(revision)]
        hidden = tree.get(".gitignore", b"").decode().split()
        files = []
        for path in (file["path"] for file in json.loads(self.body)["files"]):
            mode = "lfs" if self._is_large(path) else "regular"
            ignored = any(fnmatch.fnmatch(path, pattern) for pattern in hidden)
            known = {"oid": self._name(path, tree[path])} if path in tree else {}
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": ignored, **known})
        self._json({"files": files})

    def _is_large(self, path: str) -> bool:
        return bool(self.server.large) and path.endswith(self.server.large)

    def _name(self, path: str, data: bytes) -> str:
        return large_oid(data) if self._is_large(path) else oid(data)

    def _batch(self, name: str) -> None:
        self._repository(name)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            upload = {"href": f"{self.server.url}/large/{asked['oid']}", "header": {}}
            missing = asked["oid"] not in self.server.objects
            objects.append(asked | ({"actions": {"upload": upload}} if missing else {}))
        self._json({"transfer": "basic", "objects": objects})

    def _store(self, oid: str) -> None:
        if large_oid(self.body) != oid:
            raise HubError(400, "these bytes have another SHA-256")
        self.server.objects[oid] = self.body
        self._json({})

    def _commit(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        tree = dict(repository.commits[repository.resolve(revision)])
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                tree[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                tree.pop(value["path"], None)
            elif line["key"] != "header":
                raise HubError(400, f"unknown operation {line['key']}")
            elif value.get("parentCommit", repository.refs["main"]) != repository.refs["main"]:
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
        sha = repository.commit(tree)
        url = f"{self.server.url}/datasets/{name}/commit/{sha}"
        self._json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def _tag(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        tag = json.loads(self.body)["tag"]
        if tag in repository.tags:
            raise HubError(409, f"Tag reference exists already: {tag}")
        repository.tags[tag] = repository.resolve(revision)
        self._json({"success": True})

    def _refs(self, name: str) -> None:
        repository = self._repository(name)

        def listed(kind: str, refs: dict[str, str]) -> list[dict[str, str]]:
            return [
                {"name": ref, "ref": f"refs/{kind}/{ref}", "targetCommit": sha}
                for ref, sha in refs.items()
            ]

        heads, tags = listed("heads", repository.refs), listed("tags", repository.tags)
        self._json({"branches": heads, "tags": tags, "converts": []})

    def _info(self, name: str, revision: str = "main") -> None:
        repository = self._repository(name)
        sha = repository.resolve(revision)
        siblings = [{"rfilename": path} for path in sorted(repository.commits[sha])]
        facts = {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0}
        self._json({"_id": "0" * 24, "id": name, "sha": sha, "tags": [], "siblings": siblings,
                    "lastModified": DATE, "createdAt": DATE, **facts})  # fmt: skip

    def _tree(self, name: str, revision: str, under: str = "") -> None:
        repository = self._repository(name)
        tree = repository.commits[repository.resolve(revision)]
        inside = {path: data for path, data in tree.items() if path.startswith(under)}
        files = [self._listed(path, data) for path, data in sorted(inside.items())]
        folders = sorted({path.rpartition("/")[0] for path in inside} - {""})
        self._json([*files, *({"type": "directory", "path": path, "oid": oid(path.encode()),
                               "size": 0} for path in folders)])  # fmt: skip

    def _listed(self, path: str, data: bytes) -> dict[str, Any]:
        listed = {"type": "file", "path": path, "oid": oid(data), "size": len(data)}
        if self._is_large(path):
            pointer = f"oid sha256:{large_oid(data)}".encode()
            large = {"oid": large_oid(data), "size": len(data), "pointerSize": len(pointer)}
            listed |= {"oid": oid(pointer), "lfs": large}
        return listed

    def _paths(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        tree = repository.commits[repository.resolve(revision)]
        if "json" in self.headers.get("Content-Type", ""):
            asked = json.loads(self.body)["paths"]
        else:
            asked = parse_qs(self.body.decode()).get("paths", [])
        files = [self._listed(path, tree[path]) for path in asked if path in tree]
        folders = [path for path in asked if any(file.startswith(f"{path}/") for file in tree)]
        self._json([*files, *({"type": "directory", "path": path, "oid": oid(path.encode()),
                               "size": 0} for path in folders)])  # fmt: skip

    def _file(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        sha = repository.resolve(revision)
        if path not in repository.commits[sha]:
            raise HubError(404, f"Entry not found: {path}", "EntryNotFound")
        data = repository.commits[sha][path]
        begun = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start = int(begun[1]) if begun and self.command != "HEAD" else 0
        headers = {
            "ETag": f'"{self._name(path, data)}"',
            "X-Repo-Commit": sha,
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(data) - start),
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._head(206 if start else 200, headers)
        if self.command != "HEAD":
            self._send(path, data[start:])

    def _send(self, path: str, data: bytes) -> None:
        if path in self.server.spoiled:
            data = data[:-1] + bytes([data[-1] ^ 0xFF]) if len(data) < 64 else (
                data[:32] + bytes(byte ^ 0xFF for byte in data[32:64]) + data[64:]
            )  # fmt: skip
        if path in self.server.cut:
            self.server.cut.remove(path)
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True
        elif path in self.server.held:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.server.holding.set()
            self.server.released.wait()
            self.close_connection = True
        else:
            self.wfile.write(data)


class HubServer(LoopbackServer):
    """The Hub at `url` while it is entered; `cut`, `held` and `spoiled` hold paths of files."""

    def __init__(self, large: str = "") -> None:
        super().__init__(Handler)
        self.large = large
        self.objects: dict[str, bytes] = {}
        """The store of large files, by SHA-256."""
        self.faults: dict[str, int | str] = {}
        """What happens to requests of a kind, as `ROUTES` calls it: an answer of this status, or
        ``cut`` half-way through what is sent, or done but ``unanswered``, or done and ``held``,
        `holding` set, until `released`."""
        self.repositories: dict[str, Repository] = {}
        self.asked: list[Asked] = []
        self.cut: set[str] = set()
        """Files whose next transfer ends half-way."""
        self.held: set[str] = set()
        """Files whose transfers stop half-way, `holding` set, until `released`."""
        self.spoiled: set[str] = set()
        """Files that arrive in full size with other bytes."""

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is to be set to."""
        return self.address
