"""Workers of a Dask cluster: the same tasks, on other machines.

No file system need be shared. What a task needs travels with it: its image, the files of plugins
with the modules beside them, and a bitstream of which metrics alone are wanted. What does not
travel is what an option names (``weights=FILE``), which must lie at the same place everywhere, and
the programs that a TOML codec calls. Each worker of the cluster measures one parcel at a time, in a
process beside it, so that a bad codec costs its own measurements there, too.

What is sent and what comes back are bytes, of MessagePack, read against their types: nothing of
ours is unpickled. Dask itself pickles more: see `lic_bench.execution.cluster.Cluster`.
"""

from __future__ import annotations

import atexit
import hashlib
import ipaddress
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from lic_bench.errors import UnavailableError
from lic_bench.execution.measure import Task
from lic_bench.execution.runner import Limits
from lic_bench.execution.workers import Bundle, Bundles, Label, Worker, Workers, measure_with
from lic_bench.plugins.sources import plugin_files
from lic_bench.store.records import Measurement

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_S = 20
_WORKER = "dask worker ADDRESS --nthreads 1"
_IMAGES, _PLUGINS = "images", "plugins"  # the folders of a parcel
_AHEAD = 2  # parcels for each worker, so that none waits for its next


@dataclass(frozen=True)
class Parcel:
    """Tasks with the contents of the files that they need, in a form that travels."""

    tasks: tuple[Task, ...]
    """The paths of their images and plugins are keys of `files`."""
    files: Mapping[str, bytes]
    limits: Limits


Results = list[tuple[Measurement, float]]
"""The measurements of a parcel, and the seconds of each."""


def _of_path(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} does not travel")


def _to_path(kind: type, value: object) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise ValueError(f"{kind.__name__} does not travel")
    return Path(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_of_path)
_parcels = msgspec.msgpack.Decoder(Parcel, dec_hook=_to_path)
_replies = msgspec.msgpack.Decoder(Results)


@dataclass(frozen=True)
class Cluster(Workers):
    """Workers that a scheduler of `dask.distributed` knows.

    Dask pickles the name of the function that a worker is to call, exceptions, and what
    `Client.run` gives; and it unpickles whatever a scheduler or a worker sends it. So who speaks
    for these runs code here, whatever lic-bench itself sends.
    """

    address: str
    """Of the scheduler, as in ``tcp://10.0.0.1:8786``."""
    limits: Limits
    """What a codec may take."""
    insecure: bool = False
    """Whether its scheduler may be elsewhere, and its connections open to all in between."""

    def __str__(self) -> str:
        return f"those of {self.address}"

    def measure_all(
        self, tasks: Iterable[tuple[Label, Task]], count: int
    ) -> Iterator[tuple[Label, Task, Measurement]]:
        """Make measurements on the cluster; see `Workers`.

        A worker that dies costs the time of its parcels, which others take over. What is to run on
        a GPU goes to workers that were started with ``--resources GPU=1``.

        Raises
        ------
        UnavailableError
            Where the scheduler does not answer or goes away, or has no worker for the work.
        """
        from distributed import as_completed

        with self._client() as client:
            bundles = Bundles(tasks, count, len(_workers(client)))
            running: dict[Any, Bundle[Label]] = {}
            completed = as_completed(loop=client.loop)

            def submit(bundle: Bundle[Label]) -> None:
                gpu = any(task.on_gpu for _, task in bundle)
                if gpu and not _comes_true(lambda: _with_gpu(client)):
                    raise UnavailableError(
                        f"{bundle[0][1].codec} is to run on a GPU, and no worker of {self.address} "
                        "has one; start those that have with dask worker --resources GPU=1"
                    )
                future = client.submit(
                    measure_bytes,
                    to_bytes(packed([task for _, task in bundle], self.limits)),
                    pure=False,
                    resources={"GPU": 1} if gpu else None,
                )
                running[future] = bundle
                completed.add(future)

            def fill() -> None:
                while len(running) < _AHEAD * max(len(_workers(client)), 1):
                    bundle = next(bundles, None)
                    if bundle is None:
                        return
                    submit(bundle)

            fill()
            for future in completed:
                bundle = running.pop(future)
                if future.status == "finished":
                    for (label, task), result in zip(
                        bundle, _results(future.result(), len(bundle), self.address), strict=True
                    ):
                        measurement, seconds = result
                        bundles.took(task, seconds)
                        yield label, task, measurement
                elif future.status == "lost":  # with the worker that had the result
                    submit(bundle)
                elif future.status != "error":
                    raise UnavailableError(f"{self.address} gave up the work: {future.status}")
                elif len(bundle) > 1:  # one of them may be what its workers died of
                    for item in bundle:
                        submit([item])
                else:
                    [(label, task)] = bundle
                    yield label, task, Measurement(error=_reason(future.exception()))
                fill()

    @contextmanager
    def _client(self) -> Iterator[Client]:
        try:
            from distributed import Client
            from distributed.comm.core import CommClosedError
        except ImportError:
            raise UnavailableError(
                "a cluster needs dask.distributed; pip install 'lic-bench[cluster]'"
            ) from None
        if not self.insecure:
            _check_secure(self.address)
        if self.address.startswith("tls://"):
            _check_certificates(self.address)
        try:
            client = Client(self.address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise UnavailableError(
                f"the scheduler {self.address} does not answer ({error}); start one with "
                f"dask scheduler, and workers with {_WORKER}"
            ) from error
        with client:
            _check_workers(client, self.address)
            try:
                yield client
            except (CommClosedError, CancelledError) as error:
                raise UnavailableError(
                    f"the scheduler {self.address} has gone away; what was measured is kept, and "
                    "the same command carries on"
                ) from error


def to_bytes(value: Parcel | Results) -> bytes:
    """A parcel, or what has come of it, in a form that is read without running anything."""
    return _encoder.encode(value)


def measure_bytes(parcel: bytes) -> bytes:
    """What a worker of the cluster is called with, and gives: see `measure_parcel`."""
    return to_bytes(measure_parcel(_parcels.decode(parcel)))


def _results(content: object, count: int, address: str) -> Results:
    """What came of a parcel of so many tasks, known to be that."""
    try:
        results = _replies.decode(cast(bytes, content))
        if len(results) == count:
            return results
        reason = f"{len(results)} measurements of {count}"
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
    raise UnavailableError(f"a worker of {address} sent what is no measurement ({reason})")


def measure_parcel(parcel: Parcel) -> Results:
    """What a worker of the cluster does: the measurements of a parcel, and the seconds of each."""
    with _BUSY, tempfile.TemporaryDirectory(prefix="lic-bench-") as name:
        tasks = list(enumerate(_unpacked(parcel, Path(name))))
        results = {
            index: (measurement, seconds)
            for index, _, measurement, seconds in measure_with(
                [_worker(parcel.limits)], iter([tasks])
            )
        }
    return [results[index] for index, _ in tasks]


_BUSY = threading.Lock()  # a worker of the cluster may have several threads


@cache
def _worker(limits: Limits) -> Worker[int]:
    """The process beside this one; it ends with it."""
    worker: Worker[int] = Worker(limits)
    atexit.register(worker.close)  # multiprocessing would wait for it
    return worker


@cache
def _kept_plugins() -> tempfile.TemporaryDirectory[str]:
    """They are loaded once, and must stay where they were."""
    return tempfile.TemporaryDirectory(prefix="lic-bench-")


def packed(tasks: Sequence[Task], limits: Limits) -> Parcel:
    """Put tasks and the contents of their files into a parcel that names no folder of here."""
    files: dict[str, bytes] = {}
    ready = []
    for task in tasks:
        image = task.image
        if image.error is None:
            try:
                content = image.path.read_bytes()
            except OSError as error:
                image = replace(image, error=f"{image.path} cannot be read: {error.strerror}")
            else:
                short = Path(_IMAGES, _digest(content), f"image{image.path.suffix}")
                files[str(short)] = content
                image = replace(image, path=short)
        plugins = []
        for plugin in task.plugins:
            beside = {name: path.read_bytes() for name, path in plugin_files(plugin).items()}
            folder = Path(_PLUGINS, _digest(*(part for n, c in beside.items() for part in (n, c))))
            files |= {str(folder / name): content for name, content in beside.items()}
            plugins.append(folder / plugin.name)
        ready.append(replace(task, image=image, plugins=tuple(plugins)))
    return Parcel(tuple(ready), files, limits)


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(content) + content)
    return digest.hexdigest()[:32]


def _unpacked(parcel: Parcel, folder: Path) -> list[Task]:
    """Write the files of a parcel, and say in its tasks where they are."""
    roots = {_IMAGES: folder, _PLUGINS: Path(_kept_plugins().name)}
    for name, content in parcel.files.items():
        path = Path(name)
        here = roots[path.parts[0]] / path
        if not here.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            here.write_bytes(content)
    return [
        replace(
            task,
            image=replace(task.image, path=folder / task.image.path),
            plugins=tuple(roots[_PLUGINS] / path for path in task.plugins),
        )
        for task in parcel.tasks
    ]


def _check_secure(address: str) -> None:
    """Refuse a scheduler that anybody on the way can answer for.

    Dask sends Python objects: who speaks for a scheduler runs code here, and who reaches it runs
    code on its workers.
    """
    from distributed.comm.addressing import get_address_host

    protocol, separator, rest = address.rpartition("://")
    here = False
    if protocol in ("", "tcp", "ws"):
        with suppress(ValueError):
            host = get_address_host(address)  # as Dask itself reads it
            here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    if here or protocol in ("tls", "wss", "inproc"):
        return
    raise UnavailableError(
        f"{address}: whoever is on the way to this scheduler, or reaches its port, could run code "
        f"here and on the workers; use tls://{rest if separator else address} with certificates, "
        "or an SSH tunnel to tcp://127.0.0.1:PORT (see docs/tutorials/cluster.md), or say "
        "--insecure-scheduler where all who can reach it are trusted"
    )


def _check_certificates(address: str) -> None:
    """Refuse to speak TLS without the certificates by which both sides know each other."""
    import dask

    for name in ("ca-file", "client.cert", "client.key"):
        path = dask.config.get(f"distributed.comm.tls.{name}", None)
        variable = f"DASK_DISTRIBUTED__COMM__TLS__{name}".upper().replace("-", "_")
        variable = variable.replace(".", "__")
        if path is None or not Path(path).is_file():
            raise UnavailableError(
                f"{address} wants certificates, and {path or 'none'} is no file; name one: "
                f"{variable}=FILE (see docs/tutorials/cluster.md)"
            )


def _workers(client: Client) -> dict[str, Any]:
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return workers


def _with_gpu(client: Client) -> bool:
    return any("GPU" in worker["resources"] for worker in _workers(client).values())


def _comes_true(what: Callable[[], bool]) -> bool:
    """Whether something is so within the time that workers are given to appear."""
    end = time.monotonic() + _CONNECT_S
    while not (true := what()) and time.monotonic() < end:
        time.sleep(0.2)
    return true


def _check_workers(client: Client, address: str) -> None:
    """Refuse a cluster without workers, or with one that has no lic-bench or another."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except TimeoutError:
        raise UnavailableError(
            f"the scheduler {address} has no workers; start some with {_WORKER}"
        ) from None
    for worker, theirs in client.run(_version, on_error="return").items():
        if theirs != version("lic-bench"):
            installed = theirs if isinstance(theirs, str) else f"none ({theirs})"
            raise UnavailableError(
                f"{worker} has lic-bench {installed}, not {version('lic-bench')}: install it there"
            )


def _version() -> str:
    return version("lic-bench")


def _reason(error: BaseException) -> str:
    """Why a task alone could not be measured, in one line."""
    if type(error).__name__ == "KilledWorker":
        return "the workers of the cluster that measured it died, one after the other"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
