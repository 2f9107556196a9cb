"""Whom a run on a cluster trusts: TLS, this machine, or whom the user says."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lic_bench
from lic_bench import UnavailableError, write_image
from lic_bench.execution.cluster import _check_secure

pytest.importorskip("distributed", reason="needs lic-bench[cluster]")


@pytest.mark.parametrize(
    "address",
    [
        "tcp://192.0.2.1:8786",
        "192.0.2.1:8786",
        "tcp://cluster.example:8786",
        "ws://192.0.2.1:8786",
        "ucx://192.0.2.1:8786",
        "tcp://[2001:db8::1]:8786",
        "tcp://127.0.0.1.example:8786",
        "tcp://localhost.example:8786",
        "tcp://user@127.0.0.1@192.0.2.1:8786",
        "tcp://127.0.0.1#@192.0.2.1:8786",
        "tcp://127.0.0.1?.example:8786",
        "tcp://127.0.0.1/.example:8786",
        "tcp://127.0.0.1",
        "tcp://",
    ],
)
def test_a_scheduler_elsewhere_without_tls_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"(?s)tls://.*--insecure-scheduler"):
        _check_secure(address)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:8786",
        "tcp://127.8.7.6:1",
        "tcp://localhost:8786",
        "127.0.0.1:8786",
        "tcp://[::1]:8786",
        "tls://192.0.2.1:8786",
        "wss://cluster.example:8786",
    ],
)
def test_tls_and_this_machine_are_allowed(address: str) -> None:
    _check_secure(address)


def test_nothing_is_connected_before_it_is_refused(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UnavailableError, match="--insecure-scheduler"):
        lic_bench.run(["jpeg"], out=tmp_path / "out", scheduler="tcp://192.0.2.1:8786")
    assert time.monotonic() - start < 15  # a connection is waited for 20 seconds


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    """An authority of our own and a certificate of it, made by OpenSSL."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = "/CN=lic-bench-test"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    try:
        subprocess.run(
            [*words, "-keyout", key, "-out", cert, "-subj", subject],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    return {"ca-file": str(cert), "cert": str(cert), "key": str(key)}


@pytest.fixture
def address(tmp_path: Path, certificates: dict[str, str]) -> Iterator[str]:
    file = tmp_path / "scheduler.json"
    tls = [word for name, path in certificates.items() for word in (f"--tls-{name}", path)]
    processes = []
    for words in (
        ["scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0"],
        ["worker", "--no-nanny", "--nthreads", "1", "--protocol", "tls"],
    ):
        command = [sys.executable, "-m", "dask", *words, "--no-dashboard", *tls]
        with (tmp_path / "log").open("ab") as log:
            processes.append(
                subprocess.Popen(
                    [*command, "--scheduler-file", str(file)], stdout=log, stderr=log, cwd=tmp_path
                )
            )
    end = time.monotonic() + 60
    while not file.exists() or not file.read_text():
        assert time.monotonic() < end, (tmp_path / "log").read_text()
        time.sleep(0.05)
    import json

    yield str(json.loads(file.read_text())["address"])
    for process in processes:
        process.kill()
        process.wait()


def test_a_run_over_tls_as_the_tutorial_has_it(
    address: str, certificates: dict[str, str], tmp_path: Path
) -> None:
    import dask

    assert address.startswith("tls://")
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.png", np.zeros((32, 32, 3), np.uint8))
    settings = {
        "distributed.comm.tls.ca-file": certificates["ca-file"],
        "distributed.comm.tls.client.cert": certificates["cert"],
        "distributed.comm.tls.client.key": certificates["key"],
        "distributed.comm.require-encryption": True,
    }

    def run() -> None:
        table = lic_bench.run(
            ["jpeg"],
            [str(tmp_path / "images")],
            points={"": ["50"]},
            out=tmp_path / "out",
            scheduler=address,
        )
        assert table["error"].isna().all()

    with pytest.raises(UnavailableError):  # without a certificate
        run()
    with dask.config.set(settings):
        run()
