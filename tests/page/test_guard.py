"""The guard in front of the running page: hosts, origins, logins, headers, and errors without user data."""

import asyncio
import logging
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
import page.accounts
import page.api
from app import AppOptions, build_app, serve
from page.accounts import write_account
from page.guard import Guard
from tests.helpers.web.server import NUM_TOKENS, clean_up_after_gradio, free_port, pytestmark  # noqa: F401 (work by name)
from vlm.generator import ReportGenerator

QUEUE = "gradio_api/queue/join"


@pytest.fixture(scope="module")
def start(tiny_checkpoint, tmp_path_factory):
    """`start(allowed_hosts=…)`: URL of a page with these options; its uploads are in the folder of `uploads`."""
    generator, pages = ReportGenerator.from_pretrained(tiny_checkpoint), []

    def serve_page(**settings):
        options = AppOptions(checkpoint=str(tiny_checkpoint), port=free_port(), max_new_tokens=NUM_TOKENS, **settings)
        pages.append(build_app(generator, options, tmp_path_factory.mktemp("examples")))
        serve(pages[-1], options)
        return pages[-1].local_url

    yield serve_page
    for served in pages:
        served.close(verbose=False)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    """The folder of uploads and temporary files."""
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def url(uploads, start):
    return start(allowed_hosts=("xray.example.org",))


@pytest.fixture(scope="module")
def private_url(start, tmp_path_factory):
    accounts = tmp_path_factory.mktemp("accounts") / "accounts.txt"
    for name in ("anna", "bob"):
        write_account(accounts, name, "correct horse")
    return start(auth=accounts)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "chest.png"
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5), dtype=np.uint8)
    Image.fromarray(pixels).resize((50, 60)).save(path)
    return path


@pytest.mark.parametrize(
    ("path", "status"), [("", 200), ("config", 200), ("gradio_api/file=/etc/passwd", 403), ("nowhere", 404)]
)
def test_every_answer_has_the_security_headers(url, path, status):
    answer = httpx.get(url + path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe-inline" not in policy["script-src"]
    assert "http" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["", "config", "gradio_api/info", "gradio_api/upload"])
@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host"])
def test_other_host_is_rejected(url, path, header):
    answer = httpx.get(url + path, headers={header: "evil.example:7860"})
    assert (answer.status_code, "--allowed-hosts NAME" in answer.text) == (421, True)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1234", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("xray.example.org", 200),
        ("xray.example.org.evil.example", 421),
        ("192.168.1.5", 421),
        ("localhost@evil.example", 421),
        ("evil.example@localhost", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_only_local_and_allowed_names_are_accepted(url, host, status):
    assert httpx.get(url, headers={"Host": host}).status_code == status


def test_page_for_other_machines_is_reached_by_address(start, monkeypatch):
    monkeypatch.setattr(app.gr.Blocks, "launch", lambda self, **settings: settings)
    seen = []
    monkeypatch.setattr(app, "Middleware", lambda *arguments, **settings: seen.append(settings))
    start_options = AppOptions(checkpoint="x", host="0.0.0.0")
    serve(gr.Blocks(analytics_enabled=False), start_options)
    assert seen[0]["allows_addresses"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost:1", "null", "http://127.0.0.1.evil.example", "http://[::1"]
)
def test_foreign_origins_can_neither_upload_nor_read(url, image, origin):
    headers = {"Origin": origin}
    with image.open("rb") as file:
        answers = [
            httpx.post(f"{url}gradio_api/upload", files={"files": file}, headers=headers),
            httpx.post(url + QUEUE, json={}, headers=headers),
            httpx.get(f"{url}gradio_api/queue/data?session_hash=a", headers=headers),
            httpx.post(f"{url}gradio_api/call/read", json={"data": []}, headers=headers),
            httpx.get(f"{url}config", headers=headers),
        ]
    assert [answer.status_code for answer in answers] == [403] * 5


def test_own_origin_is_accepted(url, image):
    own = {"Origin": url.rstrip("/")}
    with image.open("rb") as file:
        assert httpx.post(f"{url}gradio_api/upload", files={"files": file}, headers=own).status_code == 200
    proxied = {"Host": "127.0.0.1", "X-Forwarded-Host": "xray.example.org", "Origin": "https://xray.example.org"}
    assert httpx.get(f"{url}config", headers=proxied).status_code == 200


def test_other_sites_may_link_to_the_page_but_not_load_its_parts(url):
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert httpx.get(url, headers=visit).status_code == 200
    assert httpx.get(f"{url}config", headers=visit).status_code == 403
    assert httpx.get(url, headers=visit | {"Sec-Fetch-Mode": "no-cors"}).status_code == 403


@pytest.mark.parametrize("origin", [b"https://evil.example", b"http://localhost"])
def test_web_sockets_are_closed(origin):
    sent = []

    async def app(scope, receive, send):
        raise AssertionError("the guard let a web socket pass")

    async def send(message):
        sent.append(message["type"])

    scope = {"type": "websocket", "path": "/", "headers": [(b"host", b"localhost"), (b"origin", origin)]}
    guard = Guard(app, allowed_hosts=("localhost",), allows_addresses=False, head="")
    asyncio.run(guard(scope, None, send))
    assert sent == ["websocket.close"]


@pytest.mark.parametrize("path", ["reset", "reset/", "cancel", "queue/join", "upload"])
def test_nothing_can_be_reset_or_cancelled_without_a_login(private_url, path):
    body = {"event_id": "a", "session_hash": "b", "fn_index": 0}
    assert httpx.post(f"{private_url}gradio_api/{path}", json=body).status_code == 401
    forged = {"access-token-unsecure-x": "y"}
    assert httpx.post(f"{private_url}gradio_api/{path}", json=body, cookies=forged).status_code == 401


@pytest.mark.parametrize("path", ["heartbeat/x", "stream/a/0/1/playlist.m3u8", "info", "queue/data?session_hash=x"])
def test_nothing_can_be_read_without_a_login(private_url, path):
    assert httpx.get(f"{private_url}gradio_api/{path}").status_code == 401


def test_logged_in_user_can_reset(private_url):
    with httpx.Client() as client:
        login = client.post(f"{private_url}login", data={"username": "bob", "password": "correct horse"})
        assert login.status_code == 200
        answer = client.post(f"{private_url}gradio_api/reset", json={"event_id": "a"})
        assert answer.json() == {"success": True}


def test_repeated_wrong_passwords_have_to_wait(start, tmp_path, monkeypatch):
    write_account(tmp_path / "accounts.txt", "anna", "correct horse")
    url = start(auth=tmp_path / "accounts.txt")

    def log_in(password):
        return httpx.post(f"{url}login", data={"username": "anna", "password": password})

    assert log_in("wrong horse").status_code == 400
    assert log_in("correct horse").status_code == 200
    monkeypatch.setattr(page.accounts, "NUM_FREE_TRIES", -6)  # the first wait is 128 s
    assert log_in("wrong horse").status_code == 400
    rejected = log_in("correct horse")
    assert rejected.status_code == 429
    assert 100 < int(rejected.headers["Retry-After"]) <= 128
    assert "Too many failed logins; wait" in rejected.json()["detail"]


def test_reading_leaves_no_empty_files(url, uploads, image):
    client = Client(url, verbose=False)
    assert client.predict([handle_file(image)], api_name="/read")["report"]
    assert [path for path in uploads.rglob("*") if path.is_file() and not path.stat().st_size] == []


def test_unexpected_error_is_logged_and_answered_without_user_data(url, image, monkeypatch, caplog, capfd):
    def fail(*arguments, **settings):
        raise RuntimeError(f"PATIENT-{arguments[0]}")

    monkeypatch.setattr(page.api, "read_study_files", fail)
    client = Client(url, verbose=False)
    with caplog.at_level(logging.ERROR), pytest.raises(AppError, match="The program had an unexpected error"):
        client.predict([handle_file(image)], api_name="/read")
    logged = caplog.text + "".join(capfd.readouterr())
    assert "RuntimeError at " in logged
    assert Path(__file__).name in logged
    assert "PATIENT" not in logged
    assert "chest.png" not in logged


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"root_path": "cxrscribe"}, "--root-path cxrscribe is not a path such as /cxrscribe"),
        ({"root_path": "/a/"}, "--root-path /a/ is not a path"),
        ({"allowed_hosts": ("https://a.example",)}, "--allowed-hosts https://a.example is not a name"),
    ],
)
def test_invalid_options_are_rejected(settings, problem):
    with pytest.raises(ValueError, match=problem):
        AppOptions(checkpoint="x", **settings)


def test_page_behind_a_proxy_names_addresses_below_its_path(start):
    url = start(root_path="/cxrscribe", allowed_hosts=("xray.example.org",))
    proxied = {"Host": "xray.example.org", "X-Forwarded-Proto": "https"}
    config = httpx.get(f"{url}config", headers=proxied).json()
    assert config["root"] == "https://xray.example.org/cxrscribe"
