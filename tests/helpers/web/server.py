"""Shared by the tests of a running page."""

import asyncio
import gc
import signal
import socket
import warnings

import pytest

from tests.helpers.dicom.files import dicom  # noqa: F401 (a fixture)

pytestmark = pytest.mark.filterwarnings(
    # Gradio leaves event loops and sockets to the garbage collector, and uses deprecated pandas calls.
    "ignore:unclosed:ResourceWarning",
    "ignore:'future.no_silent_downcasting' is deprecated",
    "ignore:The copy keyword is deprecated",
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
)


NUM_TOKENS = 24


@pytest.fixture(scope="module", autouse=True)
def clean_up_after_gradio():
    """Close its event loops and sockets, and restore the signal handler, before the next test module."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)
    asyncio.set_event_loop(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
