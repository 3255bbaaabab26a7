"""The status page of the node and its metrics for Prometheus.

    /           studies by state, and the last ones with their reasons (HTML)
    /metrics    the same numbers (Prometheus text format)

Studies have pseudonyms here. With --show-study-uids the page shows the UIDs of the archive instead.
"""

import threading
import time
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jinja2

from page.node.options import NodeOptions
from page.node.states import pseudonym
from page.node.store import NodeStore

TIMEOUT_SECONDS = 10
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("page.node"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
)


class StatusPage:
    """The web server; it listens until `stop`.

    Raises:
        ValueError: the address or port cannot be listened on.
    """

    def __init__(self, options: NodeOptions, store: NodeStore):
        try:
            self._server = _Server((options.status_host, options.status_port), _Handler)
        except OSError as error:
            where = f"--status-host {options.status_host} --status-port {options.status_port}"
            raise ValueError(f"{where} cannot be listened on ({error.strerror}); give another one") from error
        self._server.pages = {
            "/": ("text/html; charset=utf-8", lambda: status_html(store, show_uids=options.show_study_uids)),
            "/metrics": ("text/plain; version=0.0.4; charset=utf-8", lambda: metrics_text(store)),
        }
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def status_html(store: NodeStore, *, show_uids: bool) -> str:
    """The page."""
    studies = [
        study
        | {
            "name": study["uid"] if show_uids else pseudonym(study["uid"]),
            "changed": f"{datetime.fromtimestamp(study['changed_at'], UTC):%Y-%m-%d %H:%M:%S} UTC",
            "reasons": [*filter(None, [study["reason"]]), *study["image_reasons"], *study["unsent_reasons"]],
        }
        for study in store.last_studies()
    ]
    return _ENVIRONMENT.get_template("status.html.j2").render(summary=store.summary(), studies=studies)


def metrics_text(store: NodeStore) -> str:
    """Metrics in Prometheus' text format."""
    summary = store.summary()
    lines = [
        "# HELP cxrscribe_node_studies Studies by state.",
        "# TYPE cxrscribe_node_studies gauge",
        *(f'cxrscribe_node_studies{{state="{state}"}} {number}' for state, number in summary["studies"].items()),
        "# HELP cxrscribe_node_results Files to send, by state.",
        "# TYPE cxrscribe_node_results gauge",
        *(f'cxrscribe_node_results{{state="{state}"}} {number}' for state, number in summary["results"].items()),
        "# HELP cxrscribe_node_events_total What happened, by kind; refused images and connections too.",
        "# TYPE cxrscribe_node_events_total counter",
        *(f'cxrscribe_node_events_total{{kind="{name}"}} {number}' for name, number in summary["counts"].items()),
        "# HELP cxrscribe_node_images Images of all studies.",
        "# TYPE cxrscribe_node_images gauge",
        f"cxrscribe_node_images {summary['spool']['images']}",
        "# HELP cxrscribe_node_rejected_images Images that were not used for a report.",
        "# TYPE cxrscribe_node_rejected_images gauge",
        f"cxrscribe_node_rejected_images {summary['spool']['rejected_images']}",
        "# HELP cxrscribe_node_spool_bytes Bytes of the images on disk.",
        "# TYPE cxrscribe_node_spool_bytes gauge",
        f"cxrscribe_node_spool_bytes {summary['spool']['bytes']}",
        "# HELP cxrscribe_node_time_seconds Time of this answer.",
        "# TYPE cxrscribe_node_time_seconds gauge",
        f"cxrscribe_node_time_seconds {time.time():.0f}",
    ]
    return "\n".join(lines) + "\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    pages: dict


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_SECONDS
    server_version, sys_version = "cxrscribe", ""

    def do_GET(self) -> None:
        media_type, write = self.server.pages.get(self.path.split("?")[0], ("text/plain", None))
        status = HTTPStatus.OK if write else HTTPStatus.NOT_FOUND
        content = (write() if write else "Not found; there are / and /metrics.\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments) -> None:
        """Requests are not logged."""
