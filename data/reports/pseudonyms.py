"""Pseudonyms for studies and patients, which cannot be reversed without the key (HMAC-SHA256).

By default each data set gets a new random key, which is deleted when the data set is complete, so the
pseudonyms cannot be reversed. Users who need the same pseudonyms again keep a key of their own in a file.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vlm.schema.atomic import atomic_file

KEY_FILE = "pseudonym.key"
MIN_KEY_BYTES, MAX_KEY_BYTES = 16, 4096
DIGITS = 20
"""80 bits in hexadecimal: the chance of a collision among a million studies is one in 10^12."""


def read_key(path: Path) -> bytes:
    """The key of the user.

    Raises:
        ValueError: the file is missing, too short to be a secret, or too long to be a key.
    """
    try:
        with path.open("rb") as file:
            key = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise ValueError(
            f"--pseudonym-key {path} cannot be read ({error.strerror}); create one: head -c 32 /dev/urandom > {path}"
        ) from error
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(
            f"--pseudonym-key {path} has {len(key)} bytes; a key has {MIN_KEY_BYTES} to {MAX_KEY_BYTES} random bytes: "
            "head -c 32 /dev/urandom"
        )
    return key


def stored_key(folder: Path) -> bytes:
    """The key in a folder; a random one is created if it is missing."""
    path = folder / KEY_FILE
    if not path.exists():
        with atomic_file(path) as partial:
            partial.touch(mode=0o600)
            partial.write_bytes(secrets.token_bytes(32))
    return path.read_bytes()


def check_new_map(pseudonym_map: Path, work: Path) -> None:
    """Raises ValueError if the file was not written for this data set. Another data set may need it."""
    ours = work / "links"
    if pseudonym_map.exists() and not ours.exists():
        raise ValueError(
            f"--pseudonym-map {pseudonym_map} exists; it may belong to another data set, so name another file"
        )
    ours.touch()


def write_pseudonym_map(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write the identity behind each pseudonym, one per line. Only the owner can read the file."""
    try:
        with atomic_file(path) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                for entry in entries:
                    file.write(json.dumps(entry).encode() + b"\n")
    except OSError as error:
        raise ValueError(f"--pseudonym-map {path} cannot be written ({error.strerror})") from error


def pseudonym(key: bytes, kind: str, identity: str) -> str:
    """A pseudonym such as "study-3f…"; equal for equal key, kind and identity."""
    digest = hmac.new(key, f"{kind}:{identity}".encode(errors="surrogateescape"), hashlib.sha256).hexdigest()
    return f"{kind}-{digest[:DIGITS]}"
