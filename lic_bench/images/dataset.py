"""Where images come from: known data sets, fetched and checked, and folders of one's own.

A known data set has a manifest in `datasets/`: its address, size and SHA-256. Its images lie in
the first of these folders that exists:

1. ``$LIC_BENCH_DATA/NAME``, for data sets already at hand;
2. ``$LIC_BENCH_CACHE/datasets/NAME``, where `fetch` puts them (in the user's cache folder if that
   variable is not set).

A manifest may also ask for another data set's images with a border cut off: that one is fetched.

Any other folder of images is a data set too. Images are found at every depth; hidden files and
folders are left out, and links to folders are not followed.
"""

import difflib
import hashlib
import math
import os
import re
import shutil
import stat
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources, util
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

import msgspec

from lic_bench.errors import DatasetError, ImageError, UnavailableError
from lic_bench.printable import printable

if TYPE_CHECKING:  # rich takes its time, and most commands need no progress bar from here
    from pooch import HTTPDownloader  # type: ignore[import-untyped]
    from rich.progress import Progress, TaskID

    from lic_bench.images.image import Image

_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)


_LARGEST_FILE = 1 << 31
_SLACK = 1 << 20
_ZIP_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class ImageFile:
    """An image of a data set; one that cannot be read has an `error`, and a size of 0 x 0."""

    name: str
    """The path below the data set's folder, with ``/`` between its parts; printable: what would
    steer a terminal is an escape such as ``\\n``, and a backslash is two."""
    path: Path
    """Absolute."""
    sha256: str
    """Of the file's bytes, in hexadecimal; empty where they cannot be read."""
    width: int
    height: int
    """The size in pixels, upright, without what is cut off."""
    error: str | None = None
    cut: int = 0
    """How many pixels are cut off at each of the four sides."""

    @property
    def content(self) -> str:
        """What decides on its pixels: the file's SHA-256, and what is cut off."""
        return f"{self.sha256} cut {self.cut}" if self.cut else self.sha256

    @property
    def key(self) -> str:
        """What its measurements are kept under: equal images are measured once."""
        # But an error names a file: it is that file's alone.
        return self.content if self.error is None else f"{self.content} {_text(str(self.path))}"

    def cropped(self, image: "Image") -> "Image":
        """Cut the border off the file's pixels: uint8, height x width x 3."""
        height, width, _ = image.shape
        cut = self.cut
        return image[cut : height - cut, cut : width - cut].copy() if cut else image


@dataclass(frozen=True)
class Dataset:
    """Images under one name, in the natural order of their own names: img2 before img10."""

    name: str
    images: tuple[ImageFile, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of the images, in hexadecimal."""
        lines = sorted(f"{image.name}\0{image.content}\n" for image in self.images)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a published data set.

    Its images come one by one (`address` and `files`), in a ZIP file (`archive`), with an installed
    Python package (`package`, `folder` and `files`), or are another data set's, cropped (`of` and
    `cut`).
    """

    name: str
    summary: str
    licence: str
    source: str
    """The page that describes the data set."""
    images: int
    """How many there are."""
    bytes: int = 0
    """What `fetch` transfers."""
    files: dict[str, str] = {}
    """The SHA-256 of each image."""
    address: str = ""
    """What stands before the name of each file."""
    archive: str = ""
    """Where the ZIP file is; where all of it lies in one folder, that folder is left out."""
    archive_sha256: str = ""
    package: str = ""
    folder: str = ""
    of: str = ""
    """The known data set that these are crops of."""
    cut: int = 0
    """How many pixels are cut off at each of the four sides."""

    def __post_init__(self) -> None:
        """Refuse names that lead out of the folder of their data set.

        Raises
        ------
        DatasetError
            With the name.
        """
        for text in (self.name, self.folder or ".", *self.files):
            path = PurePosixPath(text)
            if not text or path.is_absolute() or ".." in path.parts or "\0" in text:
                raise DatasetError(
                    f"the manifest of {self.name!r}: {text!r} leads out of its folder"
                )
        if "/" in self.name or (self.package and not self.package.isidentifier()):
            raise DatasetError(
                f"the manifest of {self.name!r}: its name or package is no plain name"
            )


@dataclass(frozen=True)
class KnownDataset:
    """A line in the list of known data sets."""

    name: str
    summary: str
    licence: str
    images: int
    bytes: int
    """What fetching it transfers."""
    path: Path | None
    """Where it lies, if it is all there; checksums are left to `load_dataset`."""
    problem: str | None
    """Why it cannot be used, and the remedy: two lines."""


def known_datasets() -> list[KnownDataset]:
    """List the known data sets by name, each with its place or its problem; opens no image."""
    listing = []
    for _, m in sorted(_manifests().items()):
        path, problem, size = None, None, _whole(m).bytes
        try:
            path = _home(_whole(m))
        except (DatasetError, UnavailableError) as error:
            problem = str(error)
        listing.append(KnownDataset(m.name, m.summary, m.licence, m.images, size, path, problem))
    return listing


def load_dataset(spec: str | Manifest) -> Dataset:
    """Find the images of a data set, their sizes and their SHA-256.

    Parameters
    ----------
    spec
        The name of a known data set (which goes before a folder of that name: write ``./kodak``
        for the folder); or the path of a folder of images, or of one image, called after it; or
        ``NAME=PATH`` to call it otherwise.

    Raises
    ------
    DatasetError
        Where it is unknown, empty or incomplete, or differs from its manifest.
    UnavailableError
        Where it is known, but not at hand.
    """
    if isinstance(spec, Manifest) or spec in _manifests():
        m = _manifest(spec)
        whole = _load_known(_whole(m))
        return Dataset(m.name, tuple(_cut(image, m.cut) for image in whole.images))
    name, given = "", spec
    if not _exists(spec) and re.match(r"[^=/\\]+=", spec):
        name, _, given = spec.partition("=")
    if not _exists(given):
        raise _unknown(spec)
    path = Path(given).absolute()
    if path.is_file():
        return _dataset(name or path.stem, path.parent, [path])
    images = _walk(path)
    if not images:
        raise DatasetError(f"{given}: holds no images; their names end in {', '.join(_SUFFIXES)}")
    # A link to a folder gives its own name, but ".." the name of what it stands for.
    return _dataset(name or (path.name if path.name != ".." else path.resolve().name), path, images)


def load_named(name: str) -> Dataset:
    """Find a data set under a name that a store or a file tells: it may come from anybody.

    So it is looked for among the known ones and in the current folder, and never along a path.

    Raises
    ------
    DatasetError
        As `load_dataset`, and for a path.
    UnavailableError
        As `load_dataset`.
    """
    if Path(name).name != name or name == ".." or "=" in name:
        raise DatasetError(f"name its folder: --dataset {name}")
    return load_dataset(name)


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
    m = _whole(_manifest(spec))
    target = _cache() / m.name
    try:
        _load_known(m)
        return _home(m)
    except (DatasetError, UnavailableError) as error:
        if m.package or any(place.is_dir() for place in _places(m) if place != target):
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
            _images(m, target)  # complete all the same: another fetch was faster
        except DatasetError:
            raise _explained(error, m, staging) from error
    shutil.rmtree(staging, ignore_errors=True)
    return target


@cache
def _manifests() -> dict[str, Manifest]:
    folder = resources.files("lic_bench.datasets")
    texts = (file.read_bytes() for file in folder.iterdir() if file.name.endswith(".toml"))
    return {m.name: m for m in (msgspec.toml.decode(text, type=Manifest) for text in texts)}


def _manifest(spec: str | Manifest) -> Manifest:
    if isinstance(spec, Manifest):
        return spec
    if spec not in _manifests():
        raise _unknown(spec)
    return _manifests()[spec]


def _whole(m: Manifest) -> Manifest:
    """The data set whose files hold the images: another one where these are crops."""
    return _manifest(m.of) if m.of else m


def _cut(image: ImageFile, cut: int) -> ImageFile:
    if image.error is not None or not cut:
        return image
    width, height = image.width - 2 * cut, image.height - 2 * cut
    if min(width, height) < 1:
        error = f"{image.path}: is too small for {cut} pixels to be cut off at each side"
        return replace(image, width=0, height=0, error=error, cut=cut)
    return replace(image, width=width, height=height, cut=cut)


def _unknown(spec: str) -> DatasetError:
    near = difflib.get_close_matches(spec, _manifests(), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return DatasetError(
        f"{spec!r} is neither a known data set nor a folder or image that exists{hint}\n"
        "`lic-bench datasets` lists the known ones; give a folder of images by its path."
    )


def _exists(path: str) -> bool:
    with suppress(OSError, ValueError):  # too long, or with a NUL
        return path != "" and Path(path).exists()
    return False


def _cache() -> Path:
    from platformdirs import user_cache_dir

    folder = os.environ.get("LIC_BENCH_CACHE") or user_cache_dir("lic-bench")
    return Path(folder, "datasets").absolute()


def _places(m: Manifest) -> list[Path]:
    """List the folders where a known data set may lie."""
    if m.package:
        package = util.find_spec(m.package)  # not imported, which may take a second
        return [Path(package.origin).parent / m.folder] if package and package.origin else []
    data = os.environ.get("LIC_BENCH_DATA")
    return [*([Path(data, m.name)] if data else []), _cache() / m.name]


def _home(m: Manifest) -> Path:
    """Find the folder of a known data set, and see that no image is missing."""
    places = _places(m)
    home = next((place.absolute() for place in places if place.is_dir()), None)
    if home is None:
        looked = " or ".join(str(place.parent) for place in places) or f"a package {m.package}"
        raise UnavailableError(f"{m.name} is not at hand: not in {looked}.\n{_remedy(m)}")
    _images(m, home)
    return home


def _images(m: Manifest, folder: Path) -> list[Path]:
    """List the images of a known data set, all of which must be in the folder."""
    images = [folder / name for name in m.files] or (_walk(folder) if folder.is_dir() else [])
    missing = [image.name for image in images if not image.is_file()]
    found = len(images) - len(missing)
    if found != m.images:
        without = f", without {', '.join(missing[:3])}" if missing else ""
        raise DatasetError(
            f"{m.name} should have {m.images} images, but {folder} holds {found}{without}.\n"
            f"{_remedy(m, folder)}"
        )
    return images


def _remedy(m: Manifest, folder: Path | None = None) -> str:
    if m.package:
        return f"Install the Python package {m.package} anew."
    fetching = f"`lic-bench datasets fetch {m.name}` ({m.bytes / 1e6:.0f} MB)"
    if folder:
        return f"Mend that folder, or remove it and run {fetching}."
    return f"Run {fetching}, or set LIC_BENCH_DATA to the folder that holds it."


def _load_known(m: Manifest) -> Dataset:
    home = _home(m)
    dataset = _dataset(m.name, home, _images(m, home))
    for image in dataset.images:
        if image.sha256 != m.files.get(image.name, image.sha256):
            raise DatasetError(
                f"{image.path} is not the published image: its SHA-256 is {image.sha256 or '?'}, "
                f"not {m.files[image.name]}.\n{_remedy(m, home)}"
            )
    return dataset


def _walk(root: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise DatasetError(
            f"{error.filename}: cannot be listed ({error.strerror}); make it readable"
        ) from error

    images = []
    try:
        for folder, folders, files in os.walk(root, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            visible = (Path(folder, name) for name in files if not name.startswith("."))
            images += [path for path in visible if path.suffix.lower() in _SUFFIXES]
    except RecursionError:
        raise DatasetError(
            f"{root}: its folders lie too deep in one another; give the one that holds the images"
        ) from None
    return images


def _dataset(name: str, root: Path, paths: Iterable[Path]) -> Dataset:
    def natural(image: ImageFile) -> tuple[list[str | int], str]:
        parts = re.split(r"(\d+)", image.name.casefold())
        return [int(part) if i % 2 else part for i, part in enumerate(parts)], image.name

    return Dataset(_text(name), tuple(sorted((_image_file(p, root) for p in paths), key=natural)))


def _image_file(path: Path, root: Path) -> ImageFile:
    from lic_bench.images.image import image_size

    name, sha256, shown = _text(path.relative_to(root).as_posix()), "", printable(str(path))
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise ImageError(f"{shown}: is not a file, or a link that leads nowhere; remove it")
        if path.stat().st_size > _LARGEST_FILE:  # it may be sparse, and take no room
            raise ImageError(
                f"{shown}: has more than 2 GiB, as no image of ours; cut it into tiles"
            )
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return ImageFile(name, path, sha256, *image_size(path))
    except OSError as error:
        reason = f"{shown}: cannot be read ({error.strerror}); make it readable"
        return ImageFile(name, path, sha256, 0, 0, reason)
    except ImageError as error:
        return ImageFile(name, path, sha256, 0, 0, str(error))


def _text(name: str) -> str:
    """Make text of a file name, which may hold any character and, on some systems, any bytes."""
    # Two names stay two.
    return printable(name.replace("\\", "\\\\"))


class _Allowance:
    """A file that takes what a server sends, as long as that is not far more than was promised."""

    def __init__(self, m: Manifest):
        self._left = 2 * m.bytes + _SLACK if m.bytes else math.inf
        self._file: IO[bytes]

    def wrap(self, download: "HTTPDownloader") -> Callable[[str, str, object], None]:
        """Have a downloader of pooch write here, and from here into its file."""

        def limited(url: str, path: str, puppy: object) -> None:
            with Path(path).open("w+b") as self._file:
                download(url, self, puppy)

        return limited

    def write(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise DatasetError("the server sends more than twice of what was published")
        self._file.write(piece)

    def flush(self) -> None:
        self._file.flush()


class _Bar:
    """What pooch asks of a progress bar; several files advance one bar of rich."""

    def __init__(self, bars: "Progress", task: "TaskID"):
        self._bars, self._task, self._seen = bars, task, 0
        self.total = 0

    def update(self, size: int) -> None:
        self._bars.advance(self._task, size)
        self._seen += size

    def reset(self) -> None:
        self.update(-self._seen)

    def close(self) -> None:
        self._seen = 0


def _fetch_into(staging: Path, m: Manifest, progress: bool) -> Path:
    """Fetch what is not yet in the staging folder; return the folder of the images."""
    import pooch
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    pooch.get_logger().setLevel("WARNING")  # its lines would tear the progress bar
    files = m.files or {"archive.zip": m.archive_sha256}
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=not progress)) as bars:
        bars.print(f"Fetching {m.archive or m.address}")
        there = (path for name in files if (path := staging / name).exists())
        done = sum(path.stat().st_size for path in there)
        bar = _Bar(bars, bars.add_task(m.name, total=m.bytes or None, completed=done))
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 18)
        allowance = _Allowance(m)
        for name, sha256 in files.items():
            url = m.archive or m.address + quote(name)
            pooch.retrieve(url, sha256, name, staging, downloader=allowance.wrap(downloader))
    folder = staging
    if m.archive:
        folder = staging / uuid.uuid4().hex
        _unpack(staging / "archive.zip", folder)
    _images(m, folder)
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
            if path.suffix.lower() in _SUFFIXES
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
