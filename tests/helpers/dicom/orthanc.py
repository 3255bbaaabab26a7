"""A real archive: Orthanc, if it is installed (Debian's packages orthanc and orthanc-dicomweb)."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def is_installed() -> bool:
    return shutil.which("Orthanc") is not None and DICOMWEB_PLUGIN.exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Orthanc:
    """An archive with its own folder and ports, which can be stopped and started again."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.dicom_port, self.http_port = free_port(), free_port()
        self._configuration, self._process = folder / "orthanc.json", None
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": "PACS",
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(DICOMWEB_PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        self._configuration.write_text(json.dumps(settings))

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["Orthanc", str(self._configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 60
        while True:
            try:
                self._get("/system")
                return
            except OSError:
                assert time.monotonic() < end, "Orthanc did not start"
                time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def find(self, **query: str) -> list[dict]:
        """The instances that QIDO-RS finds, with their attributes by keyword group and element."""
        text = "&".join(f"{key}={value}" for key, value in query.items())
        return self._get(f"/dicom-web/instances?{text}&includefield=0020000D&includefield=00080018")

    def _get(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            return json.loads(answer.read() or b"[]")
