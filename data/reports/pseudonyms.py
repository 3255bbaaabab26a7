"""Pseudonyms: names for studies and patients that cannot be turned back without the key (HMAC-SHA256).

The key is drawn anew for each data set and thrown away when that is done, so that nobody can undo them, unless the
user keeps one in a file, to get the same pseudonyms again.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

KEY_FILE = "pseudonym.key"
MIN_KEY_BYTES, MAX_KEY_BYTES = 16, 4096
DIGITS = 20
"""80 bits in hexadecimal: among a million studies two are alike with a chance of one in 10^12."""


def read_key(path: Path) -> bytes:
    """The user's key.

    Raises:
        ValueError: the file is absent, too short to be a secret, or too long to be a key.
    """
    try:
        with path.open("rb") as file:
            key = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise ValueError(
            f"--pseudonym-key {path} cannot be read ({error.strerror}); make one by: head -c 32 /dev/urandom > {path}"
        ) from error
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(
            f"--pseudonym-key {path} has {len(key)} bytes; a key has {MIN_KEY_BYTES} to {MAX_KEY_BYTES}, by chance: "
            "head -c 32 /dev/urandom"
        )
    return key


def passing_key(work: Path) -> bytes:
    """A key by chance that lasts as long as the folder does."""
    path = work / KEY_FILE
    if not path.exists():
        unfinished = path.with_suffix(".tmp")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        unfinished.replace(path)
    return path.read_bytes()


def pseudonym(key: bytes, kind: str, identity: str) -> str:
    """ "study-3f…" for the identity of a study: one for each kind, key and identity."""
    digest = hmac.new(key, f"{kind}:{identity}".encode(errors="surrogateescape"), hashlib.sha256).hexdigest()
    return f"{kind}-{digest[:DIGITS]}"
