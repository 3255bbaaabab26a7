"""The options of the DICOM node, and their checks."""

import ipaddress
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from data.cli import check_minimum
from page.node.states import FHIR
from page.study.read import DEFAULT_GENERATION, check_num_candidates
from vlm.checkpoint.store import SHIPPED

Kind = Literal["sr", "sr-text", "pdf", "map"]
_AE_TITLE = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")
"""1 to 16 printable ASCII characters, no backslash, no blank at either end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeOptions:
    """Receive chest X-ray studies from an archive (PACS), write reports, and send them back."""

    ae_title: str = "CXRSCRIBE"
    """AE title of this node; senders must call it by this name."""
    host: str = "127.0.0.1"
    """Address to listen on. For other machines, 0.0.0.0 or the address of a network card; then say who may send."""
    port: int = 11112
    """Port to listen on for DICOM; 0: any free one."""
    pacs: str = ""
    """Archive that gets the results by C-STORE: HOST:PORT:AET."""
    stow: str = ""
    """Archive that gets the results by DICOMweb (STOW-RS) instead: the URL above /studies."""
    stow_auth: Path | None = None
    """File with one line "name:password" for --stow."""
    fhir_url: str = ""
    """FHIR R4 server that gets each report as a DiagnosticReport, beside the archive or alone: its base URL."""
    fhir_token: Path | None = None
    """File with the bearer token for --fhir-url; read for each delivery. Default: the environment variable
    CXRSCRIBE_FHIR_TOKEN."""
    send: tuple[Kind, ...] = ("sr",)
    """What to send to the archive. sr: structured report by TID 1500. sr-text: by TID 2000, which reads like a letter.
    pdf: the report with images and heatmaps. map: heatmaps as parametric maps."""
    spool: Path = Path("node-spool")
    """Folder for images, results and state. It holds patient data."""
    checkpoint: str = SHIPPED
    """Checkpoint folder or hub id; the default is included in the project."""
    max_new_tokens: int = DEFAULT_GENERATION.max_new_tokens
    """Maximum length of a report, in tokens."""
    num_candidates: int = DEFAULT_GENERATION.num_candidates
    """If a report has an error (it disagrees with the findings or with itself, …), write this many reports and keep
    the one with the fewest errors. 1 takes less time, but names a wrong side more often."""
    stable_seconds: int = 60
    """A study is read when no image of it came for this time."""
    keep_days: int = 7
    """Files of studies that are done are deleted after this time."""
    max_spool_gb: int = 20
    """Limit of the images in the spool; when it is reached, senders are told to try again later."""
    max_associations: int = 10
    """Maximum number of senders at a time. Each may need 200 MB of memory."""
    allow_ae: tuple[str, ...] = ()
    """AE titles that may send; empty: all."""
    allow_address: tuple[str, ...] = ()
    """Addresses or networks (10.1.0.0/16) that may send; empty: all."""
    tls_certificate: Path | None = None
    """Certificate of this node (PEM). With it, senders must use TLS."""
    tls_key: Path | None = None
    """Private key of the certificate (PEM)."""
    tls_ca: Path | None = None
    """Certificates (PEM) that the others' certificates are checked against; senders must then show one."""
    pacs_tls: bool = False
    """Use TLS to --pacs too, with the same files."""
    status_host: str = "127.0.0.1"
    """Address of the status page. It has no login."""
    status_port: int = 8088
    """Port of the status page and of /metrics; 0: any free one."""
    show_study_uids: bool = False
    """Show study UIDs on the status page, with which people who may use the archive can find the patients."""
    retry_failed: bool = False
    """At the start, read and send again what failed."""

    def __post_init__(self):
        check_minimum(
            self,
            max_new_tokens=1,
            port=0,
            stable_seconds=0,
            keep_days=0,
            max_spool_gb=1,
            max_associations=1,
            status_port=0,
        )
        check_num_candidates(self.num_candidates)
        if self.pacs and self.stow:
            raise ValueError("--pacs and --stow are two ways to the archive; give one of them")
        if not (self.pacs or self.stow or self.fhir_url):
            raise ValueError("say where the results go: --pacs HOST:PORT:AET or --stow URL, and perhaps --fhir-url URL")
        if not self.send:
            raise ValueError("--send is empty; choose from sr, sr-text, pdf, map")
        for flag, titles in (("--ae-title", (self.ae_title,)), ("--allow-ae", self.allow_ae)):
            for title in titles:
                check_ae_title(title, flag=flag)
        if self.pacs:
            parse_archive(self.pacs)
        check_url(self.stow, flag="--stow", example="https://pacs.example.org/dicom-web")
        check_url(self.fhir_url, flag="--fhir-url", example="https://fhir.example.org/r4")
        if self.stow_auth is not None and not self.stow:
            raise ValueError("--stow-auth only works with --stow")
        if self.fhir_token is not None and not self.fhir_url:
            raise ValueError("--fhir-token only works with --fhir-url")
        parse_networks(self.allow_address)
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("--tls-certificate and --tls-key belong together; give both")
        if self.pacs_tls and (self.tls_ca is None or not self.pacs):
            raise ValueError("--pacs-tls needs --pacs and --tls-ca, which says whose certificate the archive must have")
        is_restricted = self.allow_ae or self.allow_address or (self.tls_ca and self.tls_certificate)
        if self.host not in ("localhost", "127.0.0.1", "::1") and not is_restricted:
            raise ValueError(
                f"--host {self.host} lets every machine send; say who may: --allow-address, --allow-ae, or TLS with "
                "--tls-certificate, --tls-key and --tls-ca"
            )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of results that are made of each report."""
        return (*(self.send if self.pacs or self.stow else ()), *((FHIR,) if self.fhir_url else ()))


def check_url(url: str, *, flag: str, example: str) -> None:
    """Raises ValueError for what is neither "" nor the URL of a web server."""
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise ValueError(f"{flag} {url} is no URL; give for example {example}")


def check_ae_title(title: str, *, flag: str) -> None:
    """Raises ValueError for what is no AE title."""
    if not _AE_TITLE.fullmatch(title):
        raise ValueError(f"{flag} {title!r} is no AE title: 1 to 16 ASCII characters without backslash")


def parse_archive(text: str) -> tuple[str, int, str]:
    """Host, port and AE title from HOST:PORT:AET; an IPv6 address is in brackets.

    Raises:
        ValueError: it has another form.
    """
    found = re.fullmatch(r"(?:\[(?P<v6>[\da-fA-F:.]+)\]|(?P<host>[^:\[\]\s]+)):(?P<port>\d{1,5}):(?P<title>.+)", text)
    if not found or not 0 < int(found["port"]) < 65536:
        raise ValueError(f"--pacs {text} has another form than HOST:PORT:AET; give for example 10.1.2.3:104:PACS")
    check_ae_title(found["title"], flag="--pacs")
    return found["v6"] or found["host"], int(found["port"]), found["title"]


def parse_networks(texts: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Raises ValueError for what is neither an address nor a network."""
    networks = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise ValueError(
                f"--allow-address {text} is no address and no network; give for example 10.1.2.3 or 10.1.0.0/16"
            ) from error
    return networks


def server_tls(options: NodeOptions) -> ssl.SSLContext | None:
    """TLS for senders; None without a certificate."""
    if options.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, options)
    if options.tls_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def archive_tls(options: NodeOptions) -> ssl.SSLContext | None:
    """TLS to the archive; None without --pacs-tls."""
    if not options.pacs_tls:
        return None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    _load(context, options)
    return context


def _load(context: ssl.SSLContext, options: NodeOptions) -> None:
    """Raises ValueError if a file is missing or does not fit; names the flags."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if options.tls_certificate is not None:
            context.load_cert_chain(options.tls_certificate, options.tls_key, password="")  # never ask for a password
        if options.tls_ca is not None:
            context.load_verify_locations(options.tls_ca)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error.strerror or "not PEM"
        raise ValueError(
            f"the files of --tls-certificate, --tls-key or --tls-ca cannot be used ({reason}); give PEM files, the key "
            "without password"
        ) from error
