"""The guard of the web page: an ASGI middleware that checks each request and adds the security headers to each answer.

It rejects requests for another host (DNS rebinding), from the scripts of other sites, and, if the page has accounts,
from users who are not logged in. No error that it logs or sends quotes what a user sent.
"""

import base64
import hashlib
import ipaddress
import logging
import re
import traceback
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from page.accounts import client_address

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
PUBLIC = {f"/gradio_api/{name}" for name in ("app_id", "login_check", "startup-events", "theme.css", "token", "user")}
"""What a browser needs before the login; all other addresses below /gradio_api need one."""
INTERNAL_ERROR = "The program had an unexpected error. Its log says where."
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_POLICY = (
    "default-src 'none'; base-uri 'self'; connect-src 'self'; font-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; img-src 'self' blob: data:; manifest-src 'self'; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-eval'"
)
"""Gradio compiles functions from text, which needs unsafe-eval. Scripts inside the page are allowed by their hashes."""
_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
_HOST = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?")

logger = logging.getLogger(__name__)


class Guard:
    """`allowed_hosts` are the names in the address of the page; with `allows_addresses`, IP addresses are allowed too:
    they cannot be rebound by DNS. Gradio adds the scripts of `head` to the page in the browser."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Sequence[str], allows_addresses: bool, head: str):
        self.app, self.allows_addresses = app, allows_addresses
        self.allowed_hosts = {host.lower() for host in allowed_hosts}
        self.policy = _with_hashes(_POLICY, head.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        problem = self._problem(scope, Headers(scope=scope))
        if scope["type"] == "websocket":  # the page has none
            await WebSocketClose(1008, problem and problem[1])(scope, receive, send)
            return
        answer = _Answer(send, self.policy)
        client_address.set((scope.get("client") or ("",))[0])
        try:
            if problem:
                await PlainTextResponse(problem[1], status_code=problem[0])(scope, receive, answer.send)
            else:
                await self.app(scope, receive, answer.send)
        except Exception as error:
            log_error(error)
            if not answer.has_started:
                await PlainTextResponse(INTERNAL_ERROR, status_code=500)(scope, receive, answer.send)

    def _problem(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and message for a request that is rejected."""
        hosts = [headers.get("host", "")]
        if forwarded := headers.get("x-forwarded-host"):
            hosts.append(forwarded.split(",")[0].strip())
        for host in hosts:
            if not self._is_allowed(host):
                return 421, "This name of the page is not allowed; start it with --allowed-hosts NAME."
        origin = headers.get("origin")
        if origin is not None:
            scheme = origin.partition("://")[0].lower()
            own = [_place(f"{scheme}://{host}") for host in hosts]
            if scheme not in ("http", "https") or _place(origin) not in own:
                return 403, "Requests from other sites are not allowed."
        is_visit = headers.get("sec-fetch-mode") == "navigate" and scope.get("method") in ("GET", "HEAD")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (is_visit and _path(scope) == "/"):
            return 403, "Requests from other sites are not allowed."
        path = _path(scope)
        if path.startswith("/gradio_api/") and path not in PUBLIC and not _is_logged_in(scope, headers):
            return 401, "Log in first."
        return None

    def _is_allowed(self, host: str) -> bool:
        name = _place(f"http://{host}")[0] if _HOST.fullmatch(host) else ""
        if name in self.allowed_hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.allows_addresses or address.is_loopback


class _Answer:
    """Sends an answer with the headers; the body of a page is held back until the hashes of its scripts are known."""

    def __init__(self, send: Send, policy: str):
        self._send, self._policy, self._start, self._body = send, policy, None, b""
        self.has_started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            headers["Content-Security-Policy"] = self._policy
            if headers.get("content-type", "").startswith("text/html"):
                self._start = message
                return
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            policy = _with_hashes(self._policy, self._body)
            MutableHeaders(scope=self._start)["Content-Security-Policy"] = policy
            await self._send(self._start)
            message, self._start = {**message, "body": self._body}, None
        await self._send(message)


class GuardedBlocks(gr.Blocks):
    """Blocks whose unexpected errors are logged and shown without what the user sent."""

    async def process_api(self, *arguments: Any, **settings: Any) -> dict[str, Any]:
        """As in Gradio."""
        try:
            return await super().process_api(*arguments, **settings)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            log_error(error)
            raise gr.Error(INTERNAL_ERROR, print_exception=False) from None


def log_error(error: Exception) -> None:
    """Log type and place of an error, without its message: that may quote a file name or a text of a user."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
    logger.error("%s at %s", type(error).__name__, " < ".join(reversed(places)))


def _with_hashes(policy: str, html: bytes) -> str:
    """Allow the scripts in this HTML; script-src is the last part of the policy."""
    scripts = dict.fromkeys(_SCRIPT.findall(html))
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    return " ".join([policy, *(f"'sha256-{one}'" for one in hashes)])


def _path(scope: Scope) -> str:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.rstrip("/") or "/"


def _place(url: str) -> tuple[str, int | None]:
    """Name and port of a URL, without the default port; an empty name if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", None
    return (parts.hostname or "").rstrip("."), None if port == {"http": 80, "https": 443}.get(parts.scheme) else port


def _is_logged_in(scope: Scope, headers: Headers) -> bool:
    """Whether the page has no accounts, or the request has the token of a login."""
    app = scope["app"]
    if app.auth is None:
        return True
    cookies = dict(part.strip().partition("=")[::2] for part in headers.get("cookie", "").split(";"))
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(cookies.get(name) in app.tokens for name in names)
