"""Where images come from: known data sets, and folders of one's own.

A known data set has a manifest in `datasets/`, which may also ask for another data set's images
with a border cut off. Any other folder of images is a data set too. Images are found at every
depth; hidden files and folders are left out, and links to folders are not followed.
"""

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lic_bench.errors import DatasetError, ImageError, plain
from lic_bench.images.manifest import (
    Manifest,
    content,
    home_of,
    images_below,
    listed_images,
    manifest_of,
    manifests,
    remedy,
    suffixes,
    unknown_dataset,
    unread_below,
    whole,
)
from lic_bench.printable import printable

if TYPE_CHECKING:
    from lic_bench.images.image import Image

_LARGEST_FILE = 1 << 31


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
        return content(self.sha256, self.cut)

    @property
    def key(self) -> str:
        """What its measurements are kept under: equal images are measured once."""
        # But an error names a file: it is that file's alone.
        return self.content if self.error is None else f"{self.content} {_text(str(self.path))}"

    def read(self) -> "Image":
        """Read its pixels: uint8, height x width x 3, known to be those that were hashed.

        Raises
        ------
        ImageError
            Where it cannot be read, or was altered since it was found.
        """
        from lic_bench.images.image import read_image

        if self.error is not None:
            raise ImageError(self.error)
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ImageError(f"{self.path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ImageError(f"{self.path} was altered during the run; repeat the command")
        return self.cropped(read_image(content, str(self.path)))

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
    folder: Path | None = None
    """Where they lie, without links; of an image alone, its file. Nothing for a known data set."""
    unread: tuple[str, ...] = ()
    """Images in the folder that are not read, each with the reason."""

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of the images, in hexadecimal."""
        lines = sorted(f"{image.name}\0{image.content}\n" for image in self.images)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


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
    if isinstance(spec, str) and spec not in manifests() and not _exists(spec):
        meant = [name for name in manifests() if plain(name) == plain(spec)]
        spec = meant[0] if len(meant) == 1 else spec
    if isinstance(spec, Manifest) or spec in manifests():
        m = manifest_of(spec)
        uncut = load_known(whole(m)).images
        return Dataset(m.name, tuple(_cut(image, m.cut) for image in uncut))
    name, given = "", spec
    if not _exists(spec) and re.match(r"[^=/\\]+=", spec):
        name, _, given = spec.partition("=")
    if not _exists(given):
        if some := re.fullmatch(r"(.+)-(\d+)of(\d+)", spec):
            whole_set = load_dataset(some[1])
            if len(whole_set.images) == int(some[3]) and int(some[2]) > 0:
                return some_of(whole_set, int(some[2]))
        raise unknown_dataset(spec)
    path = Path(given).absolute()
    if path.is_file():
        alone = _dataset(name or path.stem, path.parent, [path])
        return replace(alone, folder=path.resolve())
    images = images_below(path)
    unread = tuple(
        f"{_text(other.relative_to(path).as_posix())}: {why}"
        for other, why in sorted(unread_below(path).items())
    )
    if not images:
        there = f" ({unread[0]})" if unread else ""
        raise DatasetError(
            f"{given}: holds no images{there}; their names end in {', '.join(suffixes())}"
        )
    # A link to a folder gives its own name, but ".." the name of what it stands for.
    name = name or (path.name if path.name != ".." else path.resolve().name)
    return replace(_dataset(name, path, images), folder=path.resolve(), unread=unread)


def some_of(dataset: Dataset, number: int) -> Dataset:
    """So many images of a data set, at even distances: a data set called ``kodak-4of24``.

    `load_dataset` finds it by that name. A whole data set stays what it is.
    """
    there = len(dataset.images)
    if number >= there:
        return dataset
    chosen = sorted({round(i * (there - 1) / max(number - 1, 1)) for i in range(number)})
    images = tuple(dataset.images[i] for i in chosen)
    return replace(dataset, name=f"{dataset.name}-{number}of{there}", images=images)


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


def _cut(image: ImageFile, cut: int) -> ImageFile:
    if image.error is not None or not cut:
        return image
    width, height = image.width - 2 * cut, image.height - 2 * cut
    if min(width, height) < 1:
        error = f"{image.path}: is too small for {cut} pixels to be cut off at each side"
        return replace(image, width=0, height=0, error=error, cut=cut)
    return replace(image, width=width, height=height, cut=cut)


def _exists(path: str) -> bool:
    with suppress(OSError, ValueError):  # too long, or with a NUL
        return path != "" and Path(path).exists()
    return False


def load_known(m: Manifest) -> Dataset:
    """Load a known data set that lies here whole, its checksums compared with the manifest's."""
    home = home_of(m)
    dataset = _dataset(m.name, home, listed_images(m, home))
    for image in dataset.images:
        if image.sha256 != m.files.get(image.name, image.sha256):
            raise DatasetError(
                f"{image.path} is not the published image: its SHA-256 is {image.sha256 or '?'}, "
                f"not {m.files[image.name]}.\n{remedy(m, home)}"
            )
    return dataset


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
