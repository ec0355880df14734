"""A hub of folders, served over HTTP as huggingface_hub asks for it; nothing of huggingface_hub itself is replaced."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = f"{7:040x}"


class Hub(ThreadingHTTPServer):
    """Serves the folders ``root/org/name`` as repositories, each with one commit.

    Attributes:
        downloaded: the files that were asked for, such as "org/name/model.safetensors".
    """

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.downloaded = root, list[str]()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            folder = self.server.root / parts[2] / parts[3]
            if not folder.is_dir():
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            if "tree" in parts:
                content: object = [
                    {"type": "file", "path": file.relative_to(folder).as_posix(), "size": file.stat().st_size,
                     "oid": hashlib.sha1(file.read_bytes()).hexdigest()}
                    for file in files
                ]  # fmt: skip
            else:
                names = [{"rfilename": file.relative_to(folder).as_posix()} for file in files]
                content = {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": names, "private": False,
                           "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
            return self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"}, body=body)
        file = self.server.root.joinpath(*parts[:2], *parts[4:])
        if parts[2:3] != ["resolve"] or not file.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body=body)
        if body:
            self.server.downloaded.append("/".join([*parts[:2], *parts[4:]]))
        content = file.read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self._send(200, content, headers, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A context in which huggingface_hub talks to a pretended hub, with an empty cache."""
    hub = Hub(root)
    thread = Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{hub.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    try:
        yield hub
    finally:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        hub.shutdown()
        hub.server_close()
        thread.join()
