"""Send results: to the archive by C-STORE or DICOMweb (STOW-RS), and to a FHIR server.

What cannot be sent is tried again: without end if the receiver does not answer, MAX_REFUSALS times if it answers that
it rejects the file. A result keeps its UIDs, so a file that is sent twice is the same instance.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread, uid
from pynetdicom import AE, evt
from pynetdicom.association import Association

from page.export.fhir_r4 import uid_identifier
from page.node.options import NodeOptions, archive_tls, parse_archive
from page.node.states import FHIR, WaitingResult, pseudonym
from page.node.store import NodeStore

MAX_REFUSALS = 8
MAX_PAUSE_SECONDS = 300
TIMEOUT_SECONDS = 30
TOKEN_VARIABLE = "CXRSCRIBE_FHIR_TOKEN"
_RETRY_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""HTTP answers that are not about the file."""
_WARNINGS = (0xB000, 0xB006, 0xB007)
"""C-STORE answers: stored, with a remark."""

OUT_OF_RESOURCES = 0xA700
"""First byte of the statuses that say so."""

logger = logging.getLogger(__name__)


class ArchiveUnreachable(Exception):  # noqa: N818 (named after what happened)
    """The receiver does not answer, or takes nothing now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the receiver said about one result; `reason` is "" if it stored it."""

    result: WaitingResult
    reason: str = ""
    is_busy: bool = False
    """It may store it later."""


class Sender(Protocol):
    """A way to one receiver."""

    name: str

    def takes(self, result: WaitingResult) -> bool: ...

    def send(self, results: Sequence[WaitingResult]) -> Iterator[Answer]:
        """Send in this order and yield each answer as it comes.

        Raises:
            ArchiveUnreachable: the rest was not sent.
        """


def make_senders(options: NodeOptions) -> list[Sender]:
    """The senders for --pacs or --stow, and for --fhir-url.

    Raises:
        ValueError: the files of TLS, of the login or of the token cannot be used.
    """
    chosen = {StoreSender: options.pacs, WebSender: options.stow, FhirSender: options.fhir_url}
    return [sender(options) for sender, address in chosen.items() if address]


def deliver(store: NodeStore, senders: Sequence[Sender]) -> bool:
    """Send what is due; False if nothing was. Neither a receiver that does not answer nor a result whose file is lost
    keeps another one waiting."""
    due = store.due_results()
    saved = [result for result in due if result.path.is_file()]
    for sender in senders:
        _deliver_to(sender, [result for result in saved if sender.takes(result)], store)
    for result in due:
        if result not in saved:
            _record(store, Answer(result=result, reason="its file is no longer in the spool"))
        elif not any(sender.takes(result) for sender in senders):
            flag = "--fhir-url" if result.kind == FHIR else "--pacs or --stow"
            _record(store, Answer(result=result, reason=f"waits until the node has {flag} again", is_busy=True))
    return bool(due)


def _deliver_to(sender: Sender, results: Sequence[WaitingResult], store: NodeStore) -> None:
    waiting = {result.sop_uid: result for result in results}
    if not waiting:
        return
    try:
        for answer in sender.send(list(waiting.values())):
            _record(store, answer)
            del waiting[answer.result.sop_uid]
    except ArchiveUnreachable as error:
        logger.warning("%s unreachable: %s; %d results wait", sender.name, error, len(waiting))
        for result in waiting.values():
            _record(store, Answer(result=result, reason=str(error), is_busy=True))


def _record(store: NodeStore, answer: Answer) -> None:
    result = answer.result
    if not answer.reason:
        store.mark_sent(result)
        logger.info("%s: %s sent", pseudonym(result.study_uid), result.kind)
        return
    is_final = not answer.is_busy and result.refusals + 1 >= MAX_REFUSALS
    seconds = min(MAX_PAUSE_SECONDS, 2.0 ** min(result.attempts, 10))
    store.mark_unsent(result, answer.reason, seconds=seconds, refused=not answer.is_busy, is_final=is_final)
    if not answer.is_busy:
        logger.error("%s: %s not sent: %s", pseudonym(result.study_uid), result.kind, answer.reason)


@contextmanager
def open_association(entity: AE, host: str, port: int, **settings) -> Iterator[Association]:
    """An association that may not be established. Its socket is closed at the end; pynetdicom leaves that to the
    garbage collector."""
    sockets = []
    handlers = [(evt.EVT_CONN_OPEN, lambda event: sockets.append(event.assoc.dul.socket.socket))]
    association = entity.associate(host, port, evt_handlers=handlers, **settings)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.dul.socket is not None:
            sockets.append(association.dul.socket.socket)
        for raw in filter(None, sockets):
            raw.close()


class _ArchiveSender:
    name = "archive"

    def takes(self, result: WaitingResult) -> bool:
        return result.kind != FHIR


class StoreSender(_ArchiveSender):
    """C-STORE; all results in one association."""

    def __init__(self, options: NodeOptions):
        self._host, self._port, self._title = parse_archive(options.pacs)
        self._own_title, self._tls = options.ae_title, archive_tls(options)

    def send(self, results: Sequence[WaitingResult]) -> Iterator[Answer]:
        entity = AE(ae_title=self._own_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_SECONDS
        entity.connection_timeout = TIMEOUT_SECONDS
        for sop_class in dict.fromkeys(result.sop_class_uid for result in results):
            entity.add_requested_context(sop_class, [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
        tls = (self._tls, self._host) if self._tls else None
        with open_association(entity, self._host, self._port, ae_title=self._title, tls_args=tls) as association:
            if not association.is_established and not association.rejected_contexts:
                raise ArchiveUnreachable(self._why_not(association))
            accepted = {context.abstract_syntax for context in association.accepted_contexts}
            for result in results:
                if result.sop_class_uid in accepted:
                    yield self._stored(association, result)
                else:
                    reason = f"the archive does not accept {uid.UID(result.sop_class_uid).name}"
                    yield Answer(result=result, reason=reason)

    def _stored(self, association: Association, result: WaitingResult) -> Answer:
        try:
            status = association.send_c_store(dcmread(result.path)).get("Status")
        except RuntimeError:  # the association has ended
            status = None
        except ValueError:
            return Answer(result=result, reason="the archive accepts no uncompressed transfer syntax for it")
        if status is None:
            raise ArchiveUnreachable("the archive closed the connection without an answer")
        if status == 0 or status in _WARNINGS:
            return Answer(result=result)
        is_busy = status & 0xFF00 == OUT_OF_RESOURCES
        return Answer(result=result, reason=f"the archive answered with status {status:04X}", is_busy=is_busy)

    def _why_not(self, association: Association) -> str:
        where = f"{self._host}:{self._port}"
        if association.is_rejected:
            return f"{where} rejected the association; check the AE titles {self._title} and {self._own_title} there"
        return f"no association with {where}: nothing listens there, or it aborted"


class WebSender(_ArchiveSender):
    """STOW-RS; one request for each result, so that each has its own answer."""

    def __init__(self, options: NodeOptions):
        session = _session(options)
        if options.stow_auth is not None:
            session.auth = _login(options.stow_auth)
        self._client = DICOMwebClient(options.stow.rstrip("/"), session=session, timeout=TIMEOUT_SECONDS)
        self._client.set_http_retry_params(retry=False)

    def send(self, results: Sequence[WaitingResult]) -> Iterator[Answer]:
        yield from map(self._stored, results)

    def _stored(self, result: WaitingResult) -> Answer:
        try:
            answer = self._client.store_instances([dcmread(result.path)])
        except requests.HTTPError as error:
            return _http_answer(result, error.response.status_code, "archive")
        except requests.RequestException as error:
            raise ArchiveUnreachable(f"no answer from --stow ({type(error).__name__})") from error
        for failed in answer.get("FailedSOPSequence") or []:
            failure = failed.get("FailureReason", 0)
            is_busy = failure & 0xFF00 == OUT_OF_RESOURCES
            return Answer(result=result, reason=f"the archive answered with failure {failure:04X}", is_busy=is_busy)
        return Answer(result=result)


class FhirSender:
    """FHIR R4: POST of a DiagnosticReport with If-None-Exist, so that a report is there once.

    If the answer to an earlier POST was lost, the server finds the report by its identifier and leaves it as it is,
    also if somebody changed it since.
    """

    name = "FHIR server"

    def __init__(self, options: NodeOptions):
        self._url, self._token_file = f"{options.fhir_url.rstrip('/')}/DiagnosticReport", options.fhir_token
        self._session = _session(options)
        parts = urlsplit(options.fhir_url)
        if self._token() and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError(f"--fhir-url {options.fhir_url}: the token would be sent unencrypted; give an https URL")

    def takes(self, result: WaitingResult) -> bool:
        return result.kind == FHIR

    def send(self, results: Sequence[WaitingResult]) -> Iterator[Answer]:
        yield from map(self._stored, results)

    def _stored(self, result: WaitingResult) -> Answer:
        identifier = uid_identifier(result.sop_uid)
        headers = {
            "Content-Type": "application/fhir+json",
            "Accept": "application/fhir+json",
            "Prefer": "return=minimal",
            "If-None-Exist": f"identifier={identifier['system']}|{identifier['value']}",
        }
        try:
            token = self._token()
            answer = self._session.post(
                self._url,
                data=result.path.read_bytes(),
                headers=headers,
                auth=partial(_with_bearer, token) if token else None,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,  # requests would follow with a GET, whose 200 would say nothing
            )
        except requests.RequestException as error:
            raise ArchiveUnreachable(f"no answer from --fhir-url ({type(error).__name__})") from error
        except ValueError as error:  # the file of the token
            raise ArchiveUnreachable(str(error)) from error
        is_page = "html" in answer.headers.get("Content-Type", "")  # of a login, for example
        if answer.status_code in (HTTPStatus.OK, HTTPStatus.CREATED) and not is_page:
            return Answer(result=result)
        return _http_answer(result, answer.status_code, "FHIR server" if not is_page else "web page at --fhir-url")

    def _token(self) -> str:
        """Read each time, because tokens expire. "" without one."""
        if self._token_file is None:
            source, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "").strip()
            if not token:
                return ""
        else:
            source = f"--fhir-token {self._token_file}"
            try:
                token = self._token_file.read_text(encoding="ascii", errors="replace").strip()
            except OSError as error:
                raise ValueError(f"{source} cannot be read ({error.strerror}); check the path") from error
        if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token):
            raise ValueError(f"{source} holds no bearer token; it must be one line of letters, digits and -._~+/=")
        return token


def _with_bearer(token: str, request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _http_answer(result: WaitingResult, status: int, receiver: str) -> Answer:
    is_busy = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _RETRY_LATER
    return Answer(result=result, reason=f"the {receiver} answered with HTTP {status}", is_busy=is_busy)


def _session(options: NodeOptions) -> requests.Session:
    """With the files of --tls-ca and --tls-certificate."""
    session = requests.Session()
    if options.tls_ca is not None:
        session.verify = str(options.tls_ca)
    if options.tls_certificate is not None:
        session.cert = (str(options.tls_certificate), str(options.tls_key))
    return session


def _login(path: Path) -> tuple[str, str]:
    try:
        name, colon, password = path.read_text(encoding="utf-8").strip().partition(":")
    except OSError as error:
        raise ValueError(f"--stow-auth {path} cannot be read ({error.strerror}); check the path") from error
    if not (name and colon and password) or "\n" in password:
        raise ValueError(f'--stow-auth {path} does not hold one line "name:password"')
    return name, password
