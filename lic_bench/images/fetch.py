"""Known data sets are fetched, checked, and put where every run finds them."""

import ipaddress
import math
import re
import shutil
import socket
import stat
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from lic_bench.errors import DatasetError, UnavailableError
from lic_bench.images.dataset import load_known
from lic_bench.images.manifest import (
    SUFFIXES,
    Manifest,
    cache_folder,
    home_of,
    listed_images,
    manifest_of,
    places,
    whole,
)

if TYPE_CHECKING:
    from requests import Response

_SLACK = 1 << 20
_SILENCE_S = 30  # after which a server does not answer
_PATIENCE_S, _SLOWEST, _UNKNOWN = 600, 10_000, 4_000_000_000  # seconds, bytes a second, bytes


_ZIP_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def fetch(spec: str | Manifest, progress: bool = True) -> Path:
    """Fetch a known data set into the cache folder, unless it is at hand.

    It appears in its place whole or not at all. The files that a broken fetch had completed wait
    beside that place for the next one. Two fetches at once do no harm.

    Parameters
    ----------
    spec
        The name of the data set, or its manifest.
    progress
        Whether to show a progress bar on standard error.

    Returns
    -------
    Path
        The folder of its images.

    Raises
    ------
    DatasetError
        Where it is unknown or cannot be fetched, or what came is not what was published.
    """
    m = whole(manifest_of(spec))
    target = cache_folder() / m.name
    try:
        load_known(m)
        return home_of(m)
    except (DatasetError, UnavailableError) as error:
        if m.package or any(place.is_dir() for place in places(m) if place != target):
            raise  # only the folder in the cache is ours to mend
        damaged = isinstance(error, DatasetError)
    staging = target.with_name(f"{m.name}.part")
    try:
        if damaged:
            shutil.rmtree(staging, ignore_errors=True)
            target.rename(staging)  # what is good in it need not come again
        staging.mkdir(parents=True, exist_ok=True)
        _fetch_into(staging, m, progress).rename(target)
    except (DatasetError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        try:
            listed_images(m, target)  # complete all the same: another fetch was faster
        except DatasetError:
            raise _explained(error, m, staging) from error
    shutil.rmtree(staging, ignore_errors=True)
    return target


class _Allowance:
    """How much a server may send, and how long: not far more than was promised."""

    def __init__(self, m: Manifest):
        self._left = 2 * m.bytes + _SLACK if m.bytes else math.inf
        self._end = time.monotonic() + _PATIENCE_S + (m.bytes or _UNKNOWN) / _SLOWEST

    def take(self, size: int) -> None:
        """Some bytes have come."""
        self._left -= size
        if self._left < 0:
            raise DatasetError("the server sends more than twice of what was published")
        if time.monotonic() > self._end:
            raise DatasetError(f"the server sends less than {_SLOWEST / 1000:.0f} kB a second")


def _downloader(
    allowance: _Allowance, arrived: Callable[[int], None]
) -> Callable[[str, str, object], None]:
    """What pooch has fetch a file; its own waits for a whole chunk, however slowly that comes."""
    import requests
    import urllib3

    def download(url: str, path: str, _puppy: object) -> None:
        hooks = {"response": _stay_outside}
        with (
            Path(path).open("wb") as file,
            requests.get(url, stream=True, timeout=_SILENCE_S, hooks=hooks) as response,
        ):
            response.raise_for_status()
            try:
                while piece := response.raw.read1(1 << 18, decode_content=True):
                    allowance.take(len(piece))
                    file.write(piece)
                    arrived(len(piece))
            except urllib3.exceptions.ReadTimeoutError as error:
                raise requests.Timeout(error, request=response.request) from error
            except urllib3.exceptions.HTTPError as error:
                raise requests.ConnectionError(error, request=response.request) from error

    return download


def _stay_outside(response: "Response", *_: object, **__: object) -> None:
    """Refuse to be sent on from a server elsewhere to an address of this machine or its network."""
    if not response.is_redirect or _is_inside(response.url):
        return
    url = urljoin(response.url, response.headers["location"])
    if _is_inside(url):
        raise DatasetError(f"{response.url} sends on to {url}, which is an address within")


def _is_inside(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False  # nor will it be found to fetch from
    addresses = [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]
    return any(not address.is_global for address in addresses)


def _fetch_into(staging: Path, m: Manifest, progress: bool) -> Path:
    """Fetch what is not yet in the staging folder; return the folder of the images."""
    import pooch  # type: ignore[import-untyped]
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    pooch.get_logger().setLevel("WARNING")  # its lines would tear the progress bar
    files = m.files or {"archive.zip": m.archive_sha256}
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=not progress)) as bars:
        bars.print(f"Fetching {m.archive or m.address}")
        there = (path for name in files if (path := staging / name).exists())
        done = sum(path.stat().st_size for path in there)
        bar = bars.add_task(m.name, total=m.bytes or None, completed=done)
        download = _downloader(_Allowance(m), lambda size: bars.advance(bar, size))
        for name, sha256 in files.items():
            url = m.archive or m.address + quote(name)
            pooch.retrieve(url, sha256, name, staging, downloader=download)
    folder = staging
    if m.archive:
        folder = staging / uuid.uuid4().hex
        _unpack(staging / "archive.zip", folder)
    listed_images(m, folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the images of a ZIP file into a new folder, and nothing outside it."""
    with zipfile.ZipFile(archive) as opened:
        members = [(PurePosixPath(info.filename), info) for info in opened.infolist()]
        for path, info in members:
            if info.flag_bits & 1 or info.compress_type not in _ZIP_KINDS:
                raise DatasetError(f"{archive}: {info.filename!r} is encrypted or oddly compressed")
            inside = (folder / path).resolve().is_relative_to(folder.resolve())
            if not inside or ".." in path.parts or stat.S_ISLNK(info.external_attr >> 16):
                raise DatasetError(f"{archive}: {info.filename!r} leads out of the archive")
        images = [
            (path, info)
            for path, info in members
            if path.suffix.lower() in SUFFIXES
            and not info.is_dir()
            and not any(part.startswith(".") for part in path.parts)
        ]
        if sum(info.file_size for _, info in images) > 10 * archive.stat().st_size:
            raise DatasetError(f"{archive}: unpacks to more than ten times its size")
        tops = {path.parts[0] if len(path.parts) > 1 else "" for path, _ in images}
        paths = [path for path, _ in images]
        if len({*paths}) < len(paths) or {*paths} & {up for path in paths for up in path.parents}:
            raise DatasetError(f"{archive}: holds two files in one place")
        for path, info in images:
            target = folder / (path.relative_to(*tops) if len(tops) == 1 else path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(info) as source, target.open("xb") as sink:
                shutil.copyfileobj(source, sink)


def _explained(error: Exception, m: Manifest, staging: Path) -> DatasetError:
    """Say why a data set could not be fetched, and what to do."""
    import requests

    remedy = f"Try again, or put the images into $LIC_BENCH_DATA/{m.name} by hand."
    if isinstance(error, requests.RequestException):
        url = getattr(error.request, "url", m.archive or m.address)
        if error.response is not None:
            reason = f"the server answers {error.response.status_code} {error.response.reason}"
        elif isinstance(error, requests.Timeout):
            reason = "the server does not answer"
        else:
            reason = "there is no connection, or it broke off"
    elif isinstance(error, OSError):
        url, reason = str(staging), error.strerror or str(error)
        remedy = "Make room there, or set LIC_BENCH_CACHE to another folder."
    else:  # a checksum or an archive
        url, reason = m.archive or m.address, re.split(r"\n| Deleted ", str(error))[0]
    return DatasetError(f"{m.name} cannot be fetched: {url}: {reason.rstrip('.')}.\n{remedy}")
