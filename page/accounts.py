"""Accounts of the web page: a file of names and hashed passwords.

    python -m page.accounts accounts.txt anna        # asks for anna's password; changes it if anna has one
    python app.py --auth accounts.txt

Each line is "name:scrypt:N:r:p:salt:hash", with salt and hash in hexadecimal (RFC 7914). The password itself is never
stored and never part of a command line.
"""

import asyncio
import getpass
import hashlib
import hmac
import math
import re
import secrets
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from starlette.exceptions import HTTPException

from data.cli import run_main
from vlm.schema.atomic import atomic_file

COST, BLOCK, PARALLEL = 2**14, 8, 1
"""One check takes 16 MiB and about 50 ms of one core."""
MAX_COST = 2**20
_HASHED = re.compile(r"scrypt:(\d+):(\d+):(\d+):((?:[0-9a-fA-F]{2})+):((?:[0-9a-fA-F]{2})+)")
MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_CHARACTERS = 1000


client_address: ContextVar[str] = ContextVar("client_address", default="")
"""Address of the client whose request is answered; `page.guard` sets it."""
NUM_FREE_TRIES = 3
MAX_WAIT_SECONDS = 300.0
LOGIN_NOTE = (
    f"<p>After {NUM_FREE_TRIES} wrong logins, the next one is rejected for a while, also with the right password.</p>"
)
"""Gradio's form shows every rejected login as "Incorrect credentials"."""
MAX_COUNTED = 10_000
"""Maximum number of names and addresses with failed logins that are remembered."""


class FailedLogins:
    """After NUM_FREE_TRIES failed logins of a name or from an address, the next one has to wait: 1 s, 2 s, 4 s, …"""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_seconds(self, *keys: str) -> float:
        """How long these keys must still wait."""
        return max(0.0, *(self._failures.get(key, (0, 0.0))[1] - self._clock() for key in keys))

    def add(self, *keys: str) -> None:
        """Count a failed login for each key."""
        for key in keys:
            number = self._failures.pop(key, (0, 0.0))[0] + 1
            wait = min(MAX_WAIT_SECONDS, 2.0 ** (number - NUM_FREE_TRIES)) if number >= NUM_FREE_TRIES else 0.0
            self._failures[key] = (number, self._clock() + wait)
        while len(self._failures) > MAX_COUNTED:
            self._failures.popitem(last=False)

    def forget(self, *keys: str) -> None:
        """After a correct login."""
        for key in keys:
            self._failures.pop(key, None)


class Accounts:
    """The accounts of a file. One login is checked at a time, so guessing is slow and never blocks the page.

    Raises:
        ValueError: the file cannot be read, has no account, or has a wrong line; names it.
    """

    def __init__(self, path: Path):
        self.passwords = read_accounts(path)
        self._unknown_user = hash_password(secrets.token_hex())
        self._lock = asyncio.Lock()
        self._failed = FailedLogins()

    async def check(self, name: str, password: str) -> bool:
        """Whether the password is correct; an unknown name takes as long as a known one.

        Raises:
            HTTPException: too many logins failed; says how long to wait.
        """
        keys = (f"name {name[:MAX_PASSWORD_CHARACTERS]}", f"address {client_address.get()}")
        hashed = self.passwords.get(name, self._unknown_user)
        async with self._lock:
            if seconds := math.ceil(self._failed.wait_seconds(*keys)):
                text = f"Too many failed logins; wait {seconds} s and try again."
                raise HTTPException(429, detail=text, headers={"Retry-After": str(seconds)})
            matches = await asyncio.to_thread(_matches, hashed, password[:MAX_PASSWORD_CHARACTERS])
            is_correct = matches and name in self.passwords
            (self._failed.forget if is_correct else self._failed.add)(*keys)
        return is_correct


def hash_password(password: str) -> str:
    """ "scrypt:N:r:p:salt:hash": it can check the password but not recover it."""
    salt = secrets.token_bytes(16)
    digest = _digest(password, salt, COST, BLOCK, PARALLEL)
    return f"scrypt:{COST}:{BLOCK}:{PARALLEL}:{salt.hex()}:{digest.hex()}"


def _matches(hashed: str, password: str) -> bool:
    """Compare in constant time."""
    cost, block, parallel, salt, digest = _HASHED.fullmatch(hashed).groups()
    found = _digest(password, bytes.fromhex(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(bytes.fromhex(digest), found)


def read_accounts(path: Path) -> dict[str, str]:
    """The hashed passwords by name. Raises ValueError as `Accounts`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--auth {path} cannot be read ({error}); create it with `python -m page.accounts`") from error
    accounts = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, hashed = line.strip().partition(":")
        found = _HASHED.fullmatch(hashed)
        if found is None or not 1 < int(found[1]) <= MAX_COST:
            raise ValueError(
                f"line {number} of --auth {path} is not an account; create the file with `python -m page.accounts`"
            )
        accounts[name] = hashed
    if not accounts:
        raise ValueError(f"--auth {path} has no account; add one with `python -m page.accounts {path} NAME`")
    return accounts


def write_account(path: Path, name: str, password: str) -> None:
    """Add an account, or change its password; only the owner of the file can read it.

    Raises:
        ValueError: the name or the password is not allowed, or the file is not an accounts file.
    """
    if not name.strip() or name != name.strip() or ":" in name or not name.isprintable():
        raise ValueError(f"the name {name!r} is not allowed; use no colon, and no blank at either end")
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise ValueError(
            f"the password has {len(password)} characters; give {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS}"
        )
    accounts = read_accounts(path) if path.exists() and path.stat().st_size else {}
    accounts[name] = hash_password(password)
    with atomic_file(path) as partial:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)  # before it has any content
        partial.write_text("".join(f"{name}:{hashed}\n" for name, hashed in accounts.items()), encoding="utf-8")


def _digest(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    max_memory = 256 * cost * block * parallel
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=max_memory)


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountOptions:
    """Add an account to the file for --auth, or change its password.

    The password is asked for, or read from standard input."""

    file: Annotated[Path, tyro.conf.Positional]
    """The accounts file; created if it does not exist."""
    name: Annotated[str, tyro.conf.Positional]
    """Name of the user."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, ask for the password, and write the file."""
    options = tyro.cli(AccountOptions, args=argv, description=__doc__)
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password for {options.name}: ")
        if password != getpass.getpass("Again: "):
            raise ValueError("the passwords differ; nothing was changed")
    else:
        password = sys.stdin.readline().rstrip("\n")
    write_account(options.file, options.name, password)
    print(f"{options.name} can now use a page that is started with --auth {options.file}")


if __name__ == "__main__":
    run_main(main)
