"""Functions that misbehave in an isolated process; a worker imports them from here."""

import os
import time

from data.images.pixels import ImageRejected


def reverse(content: bytes, *, number: int) -> tuple[dict, bytes]:
    return {"number": number + 1, "pid": os.getpid()}, content[::-1]


def crash(content: bytes) -> tuple[dict, bytes]:
    os.abort()


def compute_forever(content: bytes) -> tuple[dict, bytes]:
    while True:
        pass


def wait_for_long(content: bytes) -> tuple[dict, bytes]:
    time.sleep(600)
    raise AssertionError


def reject(content: bytes) -> tuple[dict, bytes]:
    raise ImageRejected("scan: is a cat")


def fail(content: bytes) -> tuple[dict, bytes]:
    raise RuntimeError("Doe^Jane")
