"""Models out of a repository of the hub: a server of this machine answers as the hub does."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from kneeformer.errors import KneeformerError
from kneeformer.workflows.hub_model import HubName, fetch_model
from kneeformer.workflows.share_model import install_from_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "knee/one": {"README.md": b"# Knee", "knee.kfm": b"of one"},
    "knee/two": {"a.kfm": b"A", "b.kfm": b"B"},
}


class Hub(BaseHTTPRequestHandler):
    """Of each repository the files, at the branch main and at its commit."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and (files := FILES.get("/".join(parts[2:4]))):
            if parts[4:] in ([], ["revision", "main"], ["revision", COMMIT]):
                listed = [{"rfilename": name} for name in files]
                answer = {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": listed}
                return self.answer(json.dumps(answer).encode())
        elif parts[2:4] == ["resolve", COMMIT]:
            return self.answer(FILES["/".join(parts[:2])]["/".join(parts[4:])])
        return self.answer(b"not found", 404)

    def answer(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    address = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("asked", ["knee/one", "knee/one@main", f"knee/one@{COMMIT}:knee.kfm"])
def test_a_file_comes_with_the_commit_that_brings_it_again(asked: str, tmp_path: Path) -> None:
    name = HubName.parse(asked)
    assert name is not None
    file, source = fetch_model(name, tmp_path)
    assert file.read_bytes() == b"of one" and source == f"knee/one@{COMMIT}:knee.kfm"


def test_a_model_is_installed_and_its_commit_is_kept(shared: tuple[Path, Path], tmp_path: Path) -> None:
    FILES["knee/real"] = {"model.kfm": shared[1].read_bytes()}
    folder = install_from_hub(HubName("knee/real"), tmp_path)
    plans = [(model / "fold_0" / "plan.json").read_text() for model in (shared[0], folder)]
    assert json.loads(plans[0]) == json.loads(plans[1])
    kept = json.loads((folder / "source.json").read_text())
    assert kept["source"] == f"knee/real@{COMMIT}:model.kfm"
    assert [path.name for path in tmp_path.iterdir()] == [folder.parent.name]


def test_a_file_that_is_no_model_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        KneeformerError, match=f"knee/one@{COMMIT}:knee.kfm: not installed: not a complete model"
    ):
        install_from_hub(HubName("knee/one"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_of_several_files_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match=r"model files there: a\.kfm, b\.kfm; name one"):
        fetch_model(HubName("knee/two"), tmp_path)
    file, _ = fetch_model(HubName("knee/two", file="b.kfm"), tmp_path)
    assert file.read_bytes() == b"B"


@pytest.mark.parametrize("name", [HubName("knee/none"), HubName("knee/one", "v9")])
def test_what_the_hub_does_not_have_is_a_sentence(name: HubName, tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match="not installed: the hub says"):
        fetch_model(name, tmp_path)


def test_no_library_is_a_sentence_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(KneeformerError, match=r"pip install 'kneeformer\[hub\]'"):
        fetch_model(HubName("knee/one"), tmp_path)


def test_names_and_paths_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "model").touch()
    assert HubName.parse("me/knee@v1.0:a/b.kfm") == HubName("me/knee", "v1.0", "a/b.kfm")
    for path in (
        "models/knee.kfm",
        "local/model",
        "knee.kfm",
        "/me/knee",
        "a/b/c.kfm",
        "../knee",
        "me/knee:x.zip",
    ):
        assert HubName.parse(path) is None, path
