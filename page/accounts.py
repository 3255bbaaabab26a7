"""Who may use the page: a file of names and hashed passwords, made and asked by this file alone.

    python -m page.accounts accounts.txt anna        # asks for a password twice; changes it where anna has one
    python app.py --auth accounts.txt

A line a person, "name:scrypt:N:r:p:salt:hash" with salt and hash in hexadecimal (RFC 7914). The password itself is
nowhere, nor on any command line.
"""

import asyncio
import getpass
import hashlib
import hmac
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from data.cli import run_main

COST, BLOCK, PARALLEL = 2**14, 8, 1
"""16 MiB and some 50 ms of one core for each try."""
HIGHEST_COST = 2**20
MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_CHARACTERS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class HashedPassword:
    """A password that can be recognised but not told."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes

    def matches(self, password: str) -> bool:
        """In the same time whether it matches or not."""
        return hmac.compare_digest(self.digest, _digest(password, self))


class Accounts:
    """The people of a file, asked one at a time, so that guessing passwords is slow and never stalls the page.

    Raises:
        ValueError: the file cannot be read, holds nobody, or a line of it is no account; names it.
    """

    def __init__(self, path: Path):
        self.passwords = read_accounts(path)
        self._nobody = hash_password(secrets.token_hex())
        self._turn = asyncio.Lock()

    async def admit(self, name: str, password: str) -> bool:
        """Whether that is the person's password; a name that is not there takes as long to reject."""
        hashed = self.passwords.get(name, self._nobody)
        async with self._turn:
            matches = await asyncio.to_thread(hashed.matches, password[:MAX_PASSWORD_CHARACTERS])
        return matches and name in self.passwords


def hash_password(password: str) -> HashedPassword:
    blank = HashedPassword(cost=COST, block=BLOCK, parallel=PARALLEL, salt=secrets.token_bytes(16), digest=b"")
    return HashedPassword(cost=COST, block=BLOCK, parallel=PARALLEL, salt=blank.salt, digest=_digest(password, blank))


def read_accounts(path: Path) -> dict[str, HashedPassword]:
    """The people of the file. Raises ValueError as `Accounts`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--auth {path} cannot be read ({error}); make it by `python -m page.accounts`") from error
    accounts = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            name, method, cost, block, parallel, salt, digest = line.split(":")
            hashed = HashedPassword(
                cost=int(cost),
                block=int(block),
                parallel=int(parallel),
                salt=bytes.fromhex(salt),
                digest=bytes.fromhex(digest),
            )
            if method != "scrypt" or not 1 < hashed.cost <= HIGHEST_COST or not hashed.digest or not hashed.salt:
                raise ValueError(method)
        except ValueError as error:
            raise ValueError(
                f"line {number} of --auth {path} is no account; make it by `python -m page.accounts`"
            ) from error
        accounts[name] = hashed
    if not accounts:
        raise ValueError(f"--auth {path} holds nobody; add people by `python -m page.accounts {path} NAME`")
    return accounts


def write_account(path: Path, name: str, password: str) -> None:
    """Adds the person, or changes the password; the file is readable to its owner alone.

    Raises:
        ValueError: a name or a password that cannot be, or a file that is none of accounts.
    """
    if not name.strip() or name != name.strip() or ":" in name or not name.isprintable():
        raise ValueError(f"the name {name!r} cannot be; it may have no colon and no blank at its ends")
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise ValueError(
            f"the password has {len(password)} characters; give {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS}"
        )
    accounts = read_accounts(path) if path.exists() and path.stat().st_size else {}
    accounts[name] = hash_password(password)
    lines = [
        f"{name}:scrypt:{hashed.cost}:{hashed.block}:{hashed.parallel}:{hashed.salt.hex()}:{hashed.digest.hex()}\n"
        for name, hashed in accounts.items()
    ]
    unfinished = path.with_name(f"{path.name}.unfinished")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)
    unfinished.replace(path)


def _digest(password: str, settings: HashedPassword) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=settings.salt,
        n=settings.cost,
        r=settings.block,
        p=settings.parallel,
        maxmem=256 * settings.cost * settings.block * settings.parallel,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountOptions:
    """Add a person to the file for --auth, or change the password. It is asked for, or read from standard input."""

    file: Annotated[Path, tyro.conf.Positional]
    """The file, made where it is not there."""
    name: Annotated[str, tyro.conf.Positional]
    """The person."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, asks, writes."""
    options = tyro.cli(AccountOptions, args=argv, description=__doc__)
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password for {options.name}: ")
        if password != getpass.getpass("Again: "):
            raise ValueError("the passwords differ; nothing was changed")
    else:
        password = sys.stdin.readline().rstrip("\n")
    write_account(options.file, options.name, password)
    print(f"{options.name} may now use a page that is started with --auth {options.file}")


if __name__ == "__main__":
    run_main(main)
