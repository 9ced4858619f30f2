"""What a container of the image may not do is not needed: writing outside the state folder, and calling home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.portable_files import portable_bytes, write
from tests.serving_process import ROOT, ServingProcess
from tests.waiting import PATIENCE, until

READ_ONLY = """
set -e
mount --make-rprivate /
mount --bind "$SERVING_STATE" "$SERVING_STATE"
for point in $(awk '{print $5}' /proc/self/mountinfo | grep -vE "^(/proc|/sys|/dev)(/|$)" | sort -ru); do
    [ "$point" = "$SERVING_STATE" ] || mount -o remount,ro,bind "$point" 2>/dev/null || true
done
if touch "$OUTSIDE" 2>/dev/null; then echo "still writable"; exit 3; fi
exec "$@"
"""


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.stack
@pytest.mark.skipif(not _may_mount(), reason="needs root to make the file system read-only for one process")
def test_a_server_on_a_read_only_file_system_is_deployed_to_and_answers(tmp_path: Path) -> None:
    state = tmp_path / "state"
    # The releases are beside its state here, because a server's report must reach them.
    server = ServingProcess(state, state / "releases", OUTSIDE=str(tmp_path / "outside"))
    Path(server.releases.place).mkdir(parents=True)
    uri, sha256 = write(tmp_path, portable_bytes())
    command = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", sys.executable, "-m", "serving"]
    with server.log.open("ab") as log:
        server.process = subprocess.Popen(command, cwd=ROOT, env=server.environment, stdout=log, stderr=log)
    try:
        until(lambda: _answers(server))
        server.deploy(uri, sha256, "7")
        assert server.get("/readyz").json()["models"]["flight_delay"]["version"] == "7"
        assert server.get("/metrics").status_code == 200
        assert server.predict([{"distance": 1, "hour": 2, "carrier": "B6"}]).status_code == 200
    finally:
        server.stop()
    assert "Read-only" not in server.log.read_text()


def _answers(server: ServingProcess) -> bool:
    assert server.process is not None
    assert server.process.poll() is None, server.log.read_text()
    try:
        return server.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.stack
def test_onnx_runtime_is_told_not_to_call_home_before_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(portable_bytes())
    script = """
import os, sys
from pathlib import Path
import serving
assert "onnxruntime" not in sys.modules
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
from formats.portable_model import PortableModel
PortableModel.open(Path.home() / "model.onnx").self_test()
"""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True, timeout=PATIENCE)

    # The identifier that it would send is kept in the home folder.
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
