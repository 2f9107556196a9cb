"""Known data sets: one manifest each, with address, size and SHA-256; and where they lie.

Images of a known data set lie in the first of these folders that exists:

1. ``$LIC_BENCH_DATA/NAME``, for data sets already at hand;
2. ``$LIC_BENCH_CACHE/datasets/NAME``, where `fetch` puts them (in the user's cache folder if that
   variable is not set).
"""

import difflib
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib import resources, util
from pathlib import Path, PurePosixPath

import msgspec

from lic_bench.errors import DatasetError, UnavailableError

SUFFIXES = (
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
"""Of the images that are always read."""
HEIF = (".heic", ".heif")
"""Of those that are read where pillow-heif is installed."""
_OTHERS = (
    *HEIF,
    *(".gif", ".avif", ".jxl", ".jp2", ".svg", ".exr", ".hdr", ".psd", ".pfm"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)


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
    for _, m in sorted(manifests().items()):
        path, problem, size = None, None, whole(m).bytes
        try:
            path = home_of(whole(m))
        except (DatasetError, UnavailableError) as error:
            problem = str(error)
        listing.append(KnownDataset(m.name, m.summary, m.licence, m.images, size, path, problem))
    return listing


@cache
def manifests() -> dict[str, Manifest]:
    """Every known manifest, by name."""
    folder = resources.files("lic_bench.datasets")
    texts = (file.read_bytes() for file in folder.iterdir() if file.name.endswith(".toml"))
    return {m.name: m for m in (msgspec.toml.decode(text, type=Manifest) for text in texts)}


def manifest_of(spec: str | Manifest) -> Manifest:
    """The manifest of a known data set, by its name."""
    if isinstance(spec, Manifest):
        return spec
    if spec not in manifests():
        raise unknown_dataset(spec)
    return manifests()[spec]


def whole(m: Manifest) -> Manifest:
    """The data set whose files hold the images: another one where these are crops."""
    return manifest_of(m.of) if m.of else m


def content(sha256: str, cut: int) -> str:
    """What decides on an image's pixels: its file's SHA-256, and how much is cut off each side."""
    return f"{sha256} cut {cut}" if cut else sha256


def contents(m: Manifest) -> set[str]:
    """The `content` of each image; nothing where the manifest does not list them."""
    return {content(sha256, m.cut) for sha256 in whole(m).files.values()}


def unknown_dataset(spec: str) -> DatasetError:
    """The error for a data set that is neither known nor a path."""
    near = difflib.get_close_matches(spec, manifests(), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return DatasetError(
        f"{spec!r} is neither a known data set nor a folder or image that exists{hint}\n"
        "`lic-bench datasets` lists the known ones; give a folder of images by its path."
    )


def cache_folder() -> Path:
    """Where fetched data sets lie."""
    from platformdirs import user_cache_dir

    folder = os.environ.get("LIC_BENCH_CACHE") or user_cache_dir("lic-bench")
    return Path(folder, "datasets").absolute()


def places(m: Manifest) -> list[Path]:
    """List the folders where a known data set may lie."""
    if m.package:
        package = util.find_spec(m.package)  # not imported, which may take a second
        return [Path(package.origin).parent / m.folder] if package and package.origin else []
    data = os.environ.get("LIC_BENCH_DATA")
    return [*([Path(data, m.name)] if data else []), cache_folder() / m.name]


def home_of(m: Manifest) -> Path:
    """Find the folder of a known data set, and see that no image is missing."""
    candidates = places(m)
    home = next((place.absolute() for place in candidates if place.is_dir()), None)
    if home is None:
        looked = " or ".join(str(place.parent) for place in candidates) or f"a package {m.package}"
        raise UnavailableError(f"{m.name} is not at hand: not in {looked}.\n{remedy(m)}")
    listed_images(m, home)
    return home


def listed_images(m: Manifest, folder: Path) -> list[Path]:
    """List the images of a known data set, all of which must be in the folder."""
    images = [folder / name for name in m.files]
    if not images and folder.is_dir():
        images = images_below(folder)
    missing = [image.name for image in images if not image.is_file()]
    present = len(images) - len(missing)
    if present != m.images:
        without = f", without {', '.join(missing[:3])}" if missing else ""
        raise DatasetError(
            f"{m.name} should have {m.images} images, but {folder} holds {present}{without}.\n"
            f"{remedy(m, folder)}"
        )
    return images


def remedy(m: Manifest, folder: Path | None = None) -> str:
    """What to do where a data set, or part of it in this folder, is missing."""
    if m.package:
        return f"Install the Python package {m.package} anew."
    fetching = f"`lic-bench fetch {m.name}` ({m.bytes / 1e6:.0f} MB)"
    if folder:
        return f"Mend that folder, or remove it and run {fetching}."
    return f"Run {fetching}, or set LIC_BENCH_DATA to the folder that holds it."


def suffixes() -> tuple[str, ...]:
    """Of the images that are read here."""
    return (*SUFFIXES, *HEIF) if util.find_spec("pillow_heif") else SUFFIXES


def unread_below(root: Path) -> dict[Path, str]:
    """The images in a folder that are not read, and why."""
    reasons = {}
    for path in images_below(root, set(_OTHERS) - set(suffixes())):
        reasons[path] = f"{path.suffix} is not read; convert it to PNG"
        if path.suffix.lower() in HEIF:
            reasons[path] = f"{path.suffix} needs pillow-heif: pip install 'lic-bench[heif]'"
    return reasons


def images_below(root: Path, wanted: Collection[str] = ()) -> list[Path]:
    """List the images in a folder, at every depth; hidden ones are left out.

    Parameters
    ----------
    wanted
        Their suffixes; by default of those that are read here.
    """
    wanted = wanted or suffixes()

    def refuse(error: OSError) -> None:
        raise DatasetError(
            f"{error.filename}: cannot be listed ({error.strerror}); make it readable"
        ) from error

    images = []
    try:
        for folder, folders, files in os.walk(root, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            visible = (Path(folder, name) for name in files if not name.startswith("."))
            images += [path for path in visible if path.suffix.lower() in wanted]
    except RecursionError:
        raise DatasetError(
            f"{root}: its folders lie too deep in one another; give the one that holds the images"
        ) from None
    return images
