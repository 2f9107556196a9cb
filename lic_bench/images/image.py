"""Reading and writing images: what the bench means by "an image".

An image is a uint8 array, height x width x 3, whose samples are taken as sRGB. Files become such
arrays by the rules below. What 8-bit RGB cannot hold is refused with an `ImageError` that says how
to convert the file; nothing is squashed in silence.

- Formats: PNG, JPEG, WebP, BMP, TIFF, and PPM with its kin; HEIF (.heic) where pillow-heif is
  installed. The content decides, not the suffix.
- Grey and 1-bit images are replicated to three channels; palettes are expanded; samples of fewer
  than 8 bits are scaled to 0..255.
- Transparency, in whatever form, is dropped where every pixel is opaque, and refused elsewhere.
- More than 8 bits a sample are refused; so are CMYK, YCCK, Lab, HSV and YCbCr samples that the
  format itself does not turn into RGB, as JPEG does.
- The EXIF orientation is applied. ICC profiles are ignored.
- Files with several frames or pages are refused, and JPEGs with more than 100 scans.
- Files that are empty, damaged or cut short are refused; so are images of more than twice
  `PIL.Image.MAX_IMAGE_PIXELS` (179 million pixels), against decompression bombs.
"""

import io
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from lic_bench.errors import ImageError
from lic_bench.files import atomic_write
from lic_bench.printable import printable

Image: TypeAlias = NDArray[np.uint8]
"""Height x width x 3, sRGB."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
_MODES = ("1", "L", "P", "RGB", "LA", "PA", "RGBA")
_WRITERS = {".png": "PNG", ".ppm": "PPM", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
# Each scan of a progressive JPEG costs as much as a whole image; encoders write ten or so.
_START_OF_SCAN, _SCANS = b"\xff\xda", 100
# A PNG may give its orientation behind the pixels, in a chunk eXIf or a text with such a keyword.
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_EXIF = (b"Raw profile type", b"XML:com.adobe.xmp")
_KEYWORD = 80


def read_image(source: str | Path | bytes, name: str | None = None) -> Image:
    """Read an image file, or the bytes of one.

    Parameters
    ----------
    source
        A path, or the content of a file.
    name
        What errors call the image; by default its path.

    Returns
    -------
    Image
        A new, C-contiguous, writable array.

    Raises
    ------
    ImageError
        Where the file cannot be read, or is refused by the rules of this module.
    """
    source = Path(source) if isinstance(source, str) else source
    with _opened(source, name := _shown(source, name)) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            if upright.getchannel("A").getextrema() != (255, 255):
                raise _refusal(name, "has transparent pixels", "-background white -alpha remove")
        return np.array(upright.convert("RGB"))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the array that `read_image` would return, in pixels.

    Reads the header alone, so damage and transparent pixels further on go unnoticed.

    Raises
    ------
    ImageError
        Where the file cannot be read, or its header is refused.
    """
    with _opened(path, _shown(path)) as image:
        width, height = image.size
        # Pillow turns the size of a TIFF itself, and decodes a PNG to look behind its pixels.
        final = image.format == "TIFF" or (image.format == "PNG" and not _has_png_exif(path))
        if not final and image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8):
            return height, width
        return width, height


@cache
def _formats() -> tuple[str, ...]:
    """What is read here: HEIF too, where pillow-heif is installed."""
    if find_spec("pillow_heif") is None:
        return _FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
    return (*_FORMATS, "HEIF")


def _has_png_exif(path: Path) -> bool:
    """Whether a chunk of a PNG, wherever it stands, may hold an orientation."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind == b"eXIf":
                return True
            text = file.read(min(length, _KEYWORD)) if kind in _PNG_TEXTS else b""
            if text.startswith(_PNG_EXIF):
                return True
            file.seek(length - len(text) + 4, io.SEEK_CUR)
    return False


def write_image(path: str | Path, image: Image) -> None:
    """Write an image without loss, in the format of the suffix: .png, .ppm, .bmp or .tif.

    The file appears whole or not at all; one that stood there before is replaced in one step.

    Raises
    ------
    ImageError
        Where the suffix is unknown.
    OutputError
        Where the file cannot be written: a full disk, a read-only folder.
    ValueError
        Where the array is no image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"expected uint8, height x width x 3, not {image.dtype}, {image.shape}")
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        endings = ", ".join(_WRITERS)
        raise ImageError(f"{_shown(path)}: lossless images end in {endings}; use one of these")
    with atomic_write(path) as part:
        PIL.Image.fromarray(image).save(part, _WRITERS[suffix])


@contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator[ImageFile]:
    """Open an image whose header passes; whatever Pillow raises becomes an `ImageError`."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
            if stream.seek(0, io.SEEK_END) == 0:
                raise ImageError(f"{name}: is empty; fetch or export it again")
            with PIL.Image.open(stream, formats=_formats()) as image:
                _check_header(image, name)
                if image.format == "JPEG":
                    stream.seek(0)
                    if stream.read().count(_START_OF_SCAN) > _SCANS:
                        raise ImageError(f"{name}: has more than {_SCANS} scans; export it again")
                yield image
    except ImageError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: is no image or a damaged one; images are {', '.join(_FORMATS)} files"
        ) from error
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: has too many pixels; cut it into tiles") from error
    # A damaged file makes Pillow raise nearly anything: SyntaxError, struct.error, KeyError ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name}: cannot be read, or is damaged ({reason})") from error


def _check_header(image: ImageFile, name: str) -> None:
    """Refuse what can be seen before the pixels are decoded."""
    if getattr(image, "is_animated", False):  # n_frames would look for them all
        raise _refusal(name, "holds several frames", "-delete 1--1")
    # Once decoded, 16-bit RGB is called "RGB": only the description of the raw data tells.
    raw = image.tile[0].args if image.tile else None
    bits = image.tag_v2.get(BITSPERSAMPLE, (1,)) if isinstance(image, TiffImageFile) else (1,)
    if (
        image.mode.startswith(("I", "F"))
        or (image.format == "PNG" and str(raw).endswith(";16B"))
        or (image.format == "PPM" and isinstance(raw, tuple) and raw[1] > 255)
        or max(bits) > 8
        or image.info.get("bit_depth", 8) > 8  # HEIF's
    ):
        raise _refusal(name, "has more than 8 bits a sample", "-depth 8")
    if image.mode not in _MODES:
        raise _refusal(name, f"holds {image.mode} samples, not RGB", "-colorspace sRGB")
    # Pillow compares this transparent grey, of 2 or 4 bits, with samples scaled to 8.
    if raw in ("L;2", "L;4") and "transparency" in image.info:
        raise _refusal(name, "declares a transparent grey", "-background white -alpha remove")


def _refusal(name: str, what: str, options: str) -> ImageError:
    return ImageError(
        f"{name}: {what}, which 8-bit RGB cannot hold.\n"
        f"Convert it first: magick {shlex.quote(name)} {options} out.png"
    )


def _shown(source: Path | bytes, name: str | None = None) -> str:
    """Return the name of an image, on one line and fit for a terminal."""
    return printable(name or ("image" if isinstance(source, bytes) else str(source)))
