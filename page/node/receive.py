"""The receiver: C-ECHO, and C-STORE of CR and DX images into the spool.

An image is acknowledged when it is on disk. What is refused gets a DICOM status: A700 (try again later) if the spool is
full, C000 or A900 if it can never be used. Who may send is checked before a byte is read (address), in the TLS
handshake (certificate) and in the association (AE titles). Sizes are limited while bytes arrive.
"""

import contextlib
import ipaddress
import logging
import sqlite3
import threading
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

from pydicom import uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    Verification,
)
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from data.images.dicom.identifiers import dicom_identifiers
from data.images.pixels import MAX_FILE_BYTES
from page.node.options import NodeOptions, parse_networks, server_tls
from page.node.states import pseudonym
from page.node.store import NodeStore, SpoolFull

SOP_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)
TRANSFER_SYNTAXES = (
    *(uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian),
    *(uid.JPEGLosslessSV1, uid.JPEGLossless, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless),
    *(uid.JPEGBaseline8Bit, uid.JPEGLSNearLossless, uid.JPEG2000),
)
"""What `data.images` decodes."""
SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
MAX_PDU_BYTES = 128 * 2**10
"""What this node says it takes in one piece. An association request can be longer: MAX_REQUEST_BYTES."""
MAX_REQUEST_BYTES = 2**20
HANDSHAKE_SECONDS, NETWORK_SECONDS = 10, 60

logger = logging.getLogger(__name__)
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # its messages quote values of headers


class Receiver:
    """The listening server.

    Raises:
        ValueError: the TLS files cannot be used, or the address or port cannot be listened on.
    """

    def __init__(self, options: NodeOptions, store: NodeStore):
        self._store = store
        entity = AE(ae_title=options.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(options.allow_ae)
        entity.maximum_associations = options.max_associations
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.network_timeout = entity.dimse_timeout = NETWORK_SECONDS
        entity.acse_timeout = HANDSHAKE_SECONDS
        entity.add_supported_context(Verification)
        for sop_class in SOP_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        self._server = _Server(entity, options, store, [(evt.EVT_C_STORE, self._on_store)])
        self._thread: threading.Thread | None = None
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Listen in the background."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and abort what is being received; senders repeat what was not acknowledged."""
        if self._thread is not None:
            self._server.stop()
        self._server.server_close()

    def _on_store(self, event: evt.Event) -> int:
        """The status of the answer to C-STORE."""
        event.assoc.dul.socket.num_unstored = 0
        content = event.encoded_dataset()
        identifiers = dicom_identifiers(content)
        study_uid = identifiers.study_instance_uid if identifiers else ""
        if not study_uid or not identifiers.series_instance_uid:
            return self._refused("no_valid_study_or_series_uid", CANNOT_UNDERSTAND)
        stated = (event.request.AffectedSOPInstanceUID, event.request.AffectedSOPClassUID)
        if (identifiers.sop_instance_uid, identifiers.sop_class_uid) != stated:
            return self._refused("header_does_not_match_request", DOES_NOT_MATCH)
        try:
            outcome = self._store.add_image(study_uid, identifiers.sop_instance_uid, content)
        except SpoolFull as full:
            logger.error("image refused: %s", full)
            return self._refused("spool_full", OUT_OF_RESOURCES)
        except (OSError, sqlite3.Error) as error:
            logger.error("image refused: the spool cannot be written (%s)", type(error).__name__)
            return OUT_OF_RESOURCES
        logger.info("%s: %s image received", pseudonym(study_uid), outcome)
        return SUCCESS

    def _refused(self, reason: str, status: int) -> int:
        logger.warning("image refused: %s", reason.replace("_", " "))
        with contextlib.suppress(sqlite3.Error):  # the answer is more important than the counter
            self._store.count(f"refused_{reason}")
        return status


class _Server(ThreadedAssociationServer):
    """Checks the address of a sender before anything is read, and does the TLS handshake in the sender's thread, so
    that a sender that says nothing blocks nobody."""

    def __init__(self, entity: AE, options: NodeOptions, store: NodeStore, handlers: list):
        self._networks, self._tls = parse_networks(options.allow_address), server_tls(options)
        self._max_connections, self._store = 2 * options.max_associations, store
        try:
            super().__init__(
                entity,
                (options.host, options.port),
                options.ae_title,
                entity.supported_contexts,
                evt_handlers=[*handlers, (evt.EVT_CONN_OPEN, self._limit), (evt.EVT_REJECTED, self._on_rejected)],
            )
        except OSError as error:
            where = f"--host {options.host} --port {options.port}"
            raise ValueError(f"{where} cannot be listened on ({error.strerror}); give another one") from error

    def verify_request(self, request: Any, client_address: tuple) -> bool:
        address = ipaddress.ip_address(client_address[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if self._networks and not any(address in network for network in self._networks):
            return self._turned_away("address_not_allowed")
        if len(self.active_associations) >= self._max_connections:
            return self._turned_away("too_many_connections")
        return True

    def finish_request(self, request: Any, client_address: tuple) -> None:
        if self._tls is not None:
            request.settimeout(HANDSHAKE_SECONDS)
            try:
                request = self._tls.wrap_socket(request, server_side=True)
            except OSError:  # ssl.SSLError too
                self._turned_away("tls_handshake_failed")
                request.close()
                return
            request.settimeout(NETWORK_SECONDS)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: tuple) -> None:
        self._turned_away("connection_failed")

    def stop(self) -> None:
        BaseServer.shutdown(self)
        for association in self.active_associations:
            association.abort()

    def _turned_away(self, reason: str) -> bool:
        logger.warning("connection refused: %s", reason.replace("_", " "))
        self._store.count(f"refused_{reason}")
        return False

    def _on_rejected(self, event: evt.Event) -> None:
        self._turned_away("association_rejected")

    def _limit(self, event: evt.Event) -> None:
        """Count the bytes of a connection as they come, because pynetdicom holds an image in memory until its end."""
        event.assoc.dul.socket = _LimitedSocket(event.assoc.dul.socket, self._turned_away)


class _LimitedSocket:
    """The socket of an association, which fails if a piece or the images in it are too long."""

    def __init__(self, socket: AssociationSocket, on_excess: Callable[[str], bool]):
        self._socket, self._on_excess = socket, on_excess
        self.num_unstored = 0

    def recv(self, num_bytes: int) -> bytearray:
        self.num_unstored += num_bytes
        if num_bytes > MAX_REQUEST_BYTES or self.num_unstored > MAX_FILE_BYTES + MAX_REQUEST_BYTES:
            self._on_excess("image_too_large")
            raise OSError("more bytes than the limit")
        return self._socket.recv(num_bytes)

    def close(self) -> None:
        """Close it for good; pynetdicom leaves that to the garbage collector if the sender is gone."""
        raw = self._socket.socket
        self._socket.close()
        if raw is not None:
            raw.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)
