import http.server
import threading

import pytest

from jaxvision.errors import UserError
from jaxvision.input_pipeline import download


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        tries = self.server.asked.count(self.path)
        if self.path.startswith("/flaky") and tries < 3:
            return self.send_error(503)
        if self.path.startswith("/gone"):
            return self.send_error(404)
        if self.path.startswith("/down"):
            return self.send_error(500)
        if self.path.startswith("/silent"):
            self.server.stop.wait(5)
            return None
        body = f"body of {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 9 * self.path.startswith("/short")))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "RETRY_SECONDS", (0.01, 0.01))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.stop = [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.stop.set()
    server.shutdown()
    server.server_close()


def test_files_are_fetched_once(server, cache_folder):
    urls = [f"{server.url}/a.PNG", f"{server.url}/b c.jpg?size=2", f"{server.url}/a.PNG"]
    first = download.fetch_all(urls)
    assert list(first) == urls[:2]
    assert first[urls[0]].path.read_text() == "body of /a.PNG"
    assert first[urls[0]].path.suffix == ".png" and first[urls[1]].path.suffix == ".jpg"
    assert first[urls[0]].path.is_relative_to(cache_folder)
    assert sorted(server.asked) == ["/a.PNG", "/b%20c.jpg?size=2"]
    assert download.fetch_all(urls) == first and len(server.asked) == 2
    download.forget(first[urls[0]].path)
    download.fetch_all(urls)
    assert len(server.asked) == 3


def test_two_retries(server):
    flaky, gone, down = (f"{server.url}/{name}" for name in ("flaky", "gone", "down"))
    fetched = download.fetch_all([flaky, gone, down])
    assert not fetched[flaky].error and fetched[flaky].path.read_text() == "body of /flaky"
    assert fetched[gone].error == "not downloaded: HTTP 404 Not Found"
    assert fetched[down].error == "not downloaded: HTTP 500 Internal Server Error"
    assert [server.asked.count(path) for path in ("/flaky", "/gone", "/down")] == [3, 1, 3]


def test_a_short_body_leaves_no_file(server, cache_folder):
    (fetched,) = download.fetch_all([f"{server.url}/short"]).values()
    assert fetched.error == "not downloaded: 14 of 23 bytes came"
    assert list((cache_folder / "downloads").iterdir()) == []


def test_a_silent_server_times_out(server, monkeypatch):
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.1)
    (fetched,) = download.fetch_all([f"{server.url}/silent"]).values()
    assert fetched.error == "not downloaded: timed out"
    assert len(server.asked) == 3


def test_a_dripping_server_times_out(server, monkeypatch):
    monkeypatch.setattr(download, "FILE_SECONDS", -1.0)
    (fetched,) = download.fetch_all([f"{server.url}/a"]).values()
    assert fetched.error.startswith("not downloaded: over")


@pytest.mark.parametrize("url", ["http://[x", "http://127.0.0.1:1/a.png", "http:///a.png"])
def test_bad_addresses_are_reasons(url, server):
    (fetched,) = download.fetch_all([url]).values()
    assert fetched.error.startswith("not downloaded: ") and len(fetched.error) > 20


def test_forget_leaves_other_files_alone(tmp_path):
    (tmp_path / "mine.png").touch()
    download.forget(tmp_path / "mine.png")
    assert (tmp_path / "mine.png").exists()


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXVISION_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot write to .*; set JAXVISION_CACHE"):
        download.fetch_all(["http://127.0.0.1:1/a"])


def test_is_url():
    assert download.is_url("HTTPS://x/a.png") and not download.is_url("/http/a.png")
