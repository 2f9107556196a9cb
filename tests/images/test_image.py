"""Images: the rules of `lic_bench.images.image`, each on files that other programs wrote."""

import io
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lic_bench.errors import ImageError, OutputError
from lic_bench.images.image import image_size, read_image, write_image

RNG = np.random.default_rng(1)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[..., 0]
OPAQUE = np.full((5, 7, 1), 255, np.uint8)
VEILED = np.where(np.arange(35).reshape(5, 7, 1) == 17, 254, OPAQUE).astype(np.uint8)


def saved(image, format, **options):
    """The bytes of a file that Pillow writes."""
    if isinstance(image, np.ndarray):
        image = PIL.Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png(colour, depth, rows, *chunks, late=()):
    """A PNG of one filtered row for each of `rows`, for what Pillow does not write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 7, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), *late, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def rows(samples):
    return [row.tobytes() for row in samples]


def refused(data, *words):
    """The text of the refusal, which names the file and a remedy in one or two lines."""
    with pytest.raises(ImageError) as error:
        read_image(data, "a b.png")
    text = str(error.value)
    assert text.startswith("a b.png: ")
    assert text.count("\n") <= 1
    assert all(word in text for word in words), text
    return text


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_is_read_as_it_is(tmp_path, format):
    path = tmp_path / "wrong suffix.dat"
    path.write_bytes(saved(RGB, format))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert np.array_equal(image, RGB)
    assert image_size(path) == (7, 5)


def test_lossy_formats_are_read():
    for format in "JPEG", "WEBP":
        assert read_image(saved(RGB, format)).shape == RGB.shape
    assert np.array_equal(read_image(saved(RGB, "WEBP", lossless=True)), RGB)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "JPEG"])
def test_grey_is_replicated(format):
    image = read_image(saved(GREY, format, **({"quality": 100} if format == "JPEG" else {})))
    assert np.abs(image.astype(int) - GREY[..., None]).max() <= (2 if format == "JPEG" else 0)
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_one_bit_becomes_black_and_white(format):
    image = read_image(saved(PIL.Image.fromarray(GREY > 127), format))
    assert np.array_equal(image, np.where(GREY[..., None] > 127, 255, 0).repeat(3, 2))


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_palette_is_expanded(format):
    palette = PIL.Image.fromarray(RGB).quantize(8)
    assert np.array_equal(read_image(saved(palette, format)), np.array(palette.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("colours", [RGB, GREY[..., None]], ids=["rgb", "grey"])
def test_alpha_is_dropped_where_opaque_and_refused_elsewhere(format, colours):
    options = {"lossless": True} if format == "WEBP" else {}
    opaque = saved(np.concatenate([colours, OPAQUE], 2), format, **options)
    assert np.array_equal(read_image(opaque), np.broadcast_to(colours, RGB.shape))
    veiled = saved(np.concatenate([colours, VEILED], 2), format, **options)
    refused(veiled, "transparent", "magick 'a b.png' -background white -alpha remove out.png")


def test_transparent_colours_and_palette_entries():
    unused = tuple(int(c) for c in RGB[0, 0] ^ 1)
    assert np.array_equal(read_image(saved(RGB, "PNG", transparency=unused)), RGB)
    refused(saved(RGB, "PNG", transparency=tuple(int(c) for c in RGB[0, 0])), "transparent")
    refused(saved(GREY, "PNG", transparency=int(GREY[0, 0])), "transparent")
    palette = PIL.Image.fromarray(RGB).quantize(8)
    refused(saved(palette, "PNG", transparency=palette.getpixel((0, 0))), "transparent")
    refused(saved(palette, "PNG", transparency=b"\x80" * 8), "transparent")
    opaque = read_image(saved(palette, "PNG", transparency=b"\xff" * 8))
    assert np.array_equal(opaque, np.array(palette.convert("RGB")))
    bits = saved(PIL.Image.fromarray(GREY > 127), "PNG", transparency=1)
    refused(bits, "transparent")
    for depth in 2, 4:
        refused(png(0, depth, [b"\xff" * 4], (b"tRNS", b"\0\3")), "transparent")


def test_few_bits_are_scaled():
    image = read_image(png(0, 4, [bytes([0x05, 0xAF, 0xFF, 0xF0])]))
    assert image[0, :, 0].tolist() == [0, 85, 170, 255, 255, 255, 255]
    assert read_image(b"P5 2 1 15 \x00\x0f")[0, :, 0].tolist() == [0, 255]


DEEP = RNG.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
BIG = DEEP.astype(">u2")


def tiff(samples, **options):
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


DEEP_FILES = {
    "png-rgb": png(2, 16, rows(BIG[..., :3])),
    "png-grey": png(0, 16, rows(BIG[..., 0])),
    "png-la": png(4, 16, rows(BIG[..., :2])),
    "png-rgba": png(6, 16, rows(BIG)),
    "png-rgb-trns": png(2, 16, rows(BIG[..., :3]), (b"tRNS", b"\0\1\0\2\0\3")),
    "ppm": b"P6 7 5 65535\n" + BIG[..., :3].tobytes(),
    "pgm": b"P5 7 5 65535\n" + BIG[..., 0].tobytes(),
    "ppm10": b"P6 7 5 1023\n" + (BIG[..., :3] & 1023).astype(">u2").tobytes(),
    "pgm10": b"P5 7 5 1023\n" + (BIG[..., 0] & 1023).astype(">u2").tobytes(),
    "ppm-plain": b"P3 1 1 65535\n1 2 65535",
    "pfm": b"Pf 1 1 -1\n" + struct.pack("<f", 0.5),
    "tiff-rgb": tiff(DEEP[..., :3], photometric="rgb"),
    "tiff-grey": tiff(DEEP[..., 0], photometric="minisblack"),
    "tiff-rgba": tiff(DEEP, photometric="rgb", extrasamples=["unassalpha"]),
    "tiff-int32": tiff(DEEP[..., 0].astype(np.int32)),
    "tiff-float": tiff(DEEP[..., 0].astype(np.float32)),
}


@pytest.mark.parametrize(
    "data",
    DEEP_FILES.values(),
    ids=DEEP_FILES,
)
def test_more_than_8_bits_are_refused(data, tmp_path):
    refused(data, "more than 8 bits", "-depth 8 out.png")
    (tmp_path / "deep").write_bytes(data)
    with pytest.raises(ImageError, match="more than 8 bits"):
        image_size(tmp_path / "deep")


@pytest.mark.parametrize(
    ("mode", "format"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("LAB", "TIFF"), ("YCbCr", "TIFF")]
)
def test_other_colour_spaces_are_refused(mode, format):
    refused(saved(PIL.Image.new(mode, (7, 5)), format), mode, "-colorspace sRGB")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format, orientation, tmp_path):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :16] = 255  # a white corner
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    path.write_bytes(saved(stored, format, exif=exif))
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation]
    image = read_image(path)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 3
    assert image.flags.c_contiguous
    assert image_size(path) == (image.shape[1], image.shape[0])


def test_orientation_behind_the_pixels_of_a_png(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "late.png"
    path.write_bytes(png(2, 8, rows(RGB), late=[(b"eXIf", exif.tobytes()[6:])]))
    assert np.array_equal(read_image(path), np.rot90(RGB, -1))
    assert image_size(path) == (5, 7)


def test_size_does_not_decode(tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(saved(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), "PNG")[:2000])
    assert image_size(path) == (64, 64)


@pytest.mark.parametrize("format", ["TIFF", "PNG", "WEBP"])
def test_several_frames_are_refused(format):
    other = PIL.Image.fromarray(255 - RGB)
    data = saved(RGB, format, save_all=True, append_images=[other])
    refused(data, "several frames", "-delete 1--1")


def test_several_pictures_in_a_jpeg_are_refused():
    data = saved(RGB, "MPO", save_all=True, append_images=[PIL.Image.fromarray(255 - RGB)])
    refused(data, "several frames")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM"])
def test_files_cut_short_are_refused(format):
    data = saved(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), format)
    for length in 1, 10, 30, len(data) // 2, len(data) * 9 // 10:
        refused(data[:length])


def test_files_that_are_no_images(tmp_path):
    refused(b"", "is empty")
    refused(b"%PDF-1.7 not an image", "no image")
    refused(saved(RGB, "GIF"), "no image")
    refused(png(2, 8, []), "a b.png")
    for path in tmp_path / "missing.png", tmp_path:
        with pytest.raises(ImageError, match=str(path)):
            read_image(path)
        with pytest.raises(ImageError, match=str(path)):
            image_size(path)


def test_decompression_bombs_are_refused():
    refused(b"P6 20000 20000 255\n", "too many pixels")


def test_unprintable_names_stay_on_one_line(tmp_path):
    path = tmp_path / "two\nlines.png"
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"two\\nlines") as error:
        read_image(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".ppm", ".bmp", ".tif", ".tiff"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (13, 7)])
def test_write_then_read(tmp_path, suffix, shape):
    path = tmp_path / f"Käse\nund Brot{suffix}"
    image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    write_image(path, image[:, ::-1])
    assert np.array_equal(read_image(path), image[:, ::-1])
    assert image_size(path) == (shape[1], shape[0])
    assert list(tmp_path.iterdir()) == [path]


@settings(deadline=None)  # other work may share the machine
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_round_trip(tmp_path_factory, image):
    path = tmp_path_factory.getbasetemp() / "round.png"
    write_image(path, image)
    assert np.array_equal(read_image(path), image)
    assert np.array_equal(read_image(path.read_bytes()), image)


@settings(deadline=None)  # other work may share the machine
@given(st.integers(0, 400), st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP"]))
def test_damage_raises_nothing_but_image_errors(place, value, format):
    data = bytearray(saved(RGB, format))
    data[place % len(data)] = value
    try:
        assert read_image(bytes(data)).shape[2] == 3
    except ImageError as error:
        assert str(error).count("\n") <= 1


def test_write_refuses(tmp_path):
    for name in "x.jpg", "x.gif", "x":
        with pytest.raises(ImageError, match=r"\.png"):
            write_image(tmp_path / name, RGB)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Not a directory"):
        write_image(tmp_path / "file" / "x.png", RGB)
    with pytest.raises(OutputError, match="No such file"):
        write_image(tmp_path / "nowhere" / "x.png", RGB)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="not a regular file"):
        write_image(tmp_path / "folder.png", RGB)
    for array in RGB[..., 0], RGB.astype(np.int64), np.zeros((0, 4, 3), np.uint8):
        with pytest.raises(ValueError, match="expected uint8"):
            write_image(tmp_path / "x.png", array)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_a_full_disk_leaves_the_old_image(tmp_path):
    path = tmp_path / "image.png"
    write_image(path, RGB)
    # A limit on the size of files fails in mid-write, as a full disk does, for root as well.
    code = (
        "import resource, sys, numpy as np; from pathlib import Path\n"
        "from lic_bench.images.image import write_image\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        "noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)\n"
        "write_image(Path(sys.argv[1]), noise)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "OutputError" in done.stderr
    assert "File too large" in done.stderr
    assert np.array_equal(read_image(path), RGB)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not shutil.which("magick"), reason="ImageMagick is not installed")
def test_the_remedies_work(tmp_path):
    remedies = {
        "deep.png": png(2, 16, rows(BIG[..., :3])),
        "veiled.png": saved(np.concatenate([RGB, VEILED], 2), "PNG"),
        "print.jpg": saved(PIL.Image.new("CMYK", (7, 5)), "JPEG"),
        "pages.tif": saved(
            RGB, "TIFF", save_all=True, append_images=[PIL.Image.new("RGB", (7, 5))]
        ),
    }
    for name, data in remedies.items():
        path: Path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ImageError) as error:
            read_image(path)
        command = str(error.value).splitlines()[1].removeprefix("Convert it first: ")
        subprocess.run(command, shell=True, cwd=tmp_path, check=True)  # noqa: S602
        assert read_image(tmp_path / "out.png").shape == RGB.shape
