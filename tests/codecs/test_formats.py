"""The modern formats: what is particular to each, and their curves beside published ones."""

import importlib.util
import io
import re
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image as PillowImage
from scipy.interpolate import PchipInterpolator

import lic_bench
from lic_bench import BitstreamError, Codec, Image, Registry, SpecError, image_metrics
from lic_bench.codecs import jpegxl, ycbcr

MODULES = {"hevc": "av", "heif": "pillow_heif", "jpegxl": "pillow_jxl", "vvc": "imageio_ffmpeg"}
FORMATS = ("webp", "avif", *MODULES)
PUBLISHED = pd.read_csv(Path(__file__).parents[1] / "data" / "published_formats.csv", comment="#")


def codec_of(spec: str) -> Codec:
    entry = Registry().entry(spec.partition(":")[0])
    if entry.problem is not None:
        pytest.skip(entry.problem)
    return Registry().codec(spec)


def psnr(image: Image, decoded: Image) -> float:
    return float(image_metrics(image, decoded)["psnr_rgb_db"] or 0)


@pytest.mark.slow
def test_hevcs_curve_is_bpgs(kodak: Path, tmp_path: Path) -> None:
    """WebP's beside its published one: see checks/test_verify.py."""
    codec_of("hevc")
    table = lic_bench.run(["hevc"], ["kodak"], out=tmp_path, points={"hevc": ["45", "33"]})
    assert table["error"].isna().all()
    ours = lic_bench.aggregate(table)
    assert (ours["images"] == 24).all()
    theirs = PUBLISHED[PUBLISHED["codec"] == "bpg_444_x265_ycbcr"]
    at_our_rates = PchipInterpolator(theirs["bpp"], theirs["psnr_rgb_db"], extrapolate=False)
    differences = ours["psnr_rgb_db"] - at_our_rates(ours["bpp"])
    assert (differences.abs() < 0.1).all(), differences


@pytest.mark.parametrize("name", MODULES)
def test_without_its_library_a_codec_is_listed_with_the_remedy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda module: None if module in MODULES.values() else find(module),
    )
    problem = Registry().entry(name).problem
    assert problem is not None
    assert f"pip install 'lic-bench[{name}]'" in problem


@pytest.mark.parametrize("name", FORMATS)
def test_versions_are_known(name: str) -> None:
    versions = codec_of(name).versions()
    assert len(versions) >= (1 if name == "jpegxl" else 2)
    assert all(re.search(r"\d", version) for version in versions.values()), versions


@pytest.mark.parametrize("name", FORMATS)
def test_a_point_out_of_range_is_refused(name: str) -> None:
    for point in (-1, 101, None):
        with pytest.raises(SpecError, match=name):
            codec_of(name).check_point(point)


@pytest.mark.parametrize(
    "spec", ["webp:method=7", "avif:speed=11", "avif:tune=vmaf", "jpegxl:effort=0", "heif:tune=x"]
)
def test_an_option_out_of_range_is_refused(spec: str) -> None:
    codec_of(spec.partition(":")[0])
    with pytest.raises(SpecError):
        codec_of(spec)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("small", "large"),
    [
        ("webp:method=6", "webp:method=0"),
        ("avif:subsampling=4:2:0", "avif:subsampling=4:4:4"),
        ("heif:subsampling=4:2:0", "heif:subsampling=4:4:4"),
    ],
)
def test_an_option_reaches_the_encoder(small: str, large: str, photo: Image) -> None:
    point, part = codec_of(small).points[-1], np.ascontiguousarray(photo[60:160, 100:228])
    assert len(codec_of(small).encode(part, point)) < len(codec_of(large).encode(part, point))


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["avif", "heif"])
def test_the_tune_for_psnr_serves_psnr(spec: str, photo: Image) -> None:
    """At the same rate, for which the other tune's curve is interpolated."""
    ours, other = (codec_of(f"{spec}:tune={tune}") for tune in ("psnr", "ssim"))
    stream = ours.encode(photo, ours.points[3])
    streams = [other.encode(photo, point) for point in other.points[2:5]]
    rates = np.log([len(one) for one in streams])
    quality = [psnr(photo, other.decode(one)) for one in streams]
    at_our_rate = PchipInterpolator(rates, quality, extrapolate=False)(np.log(len(stream)))
    assert psnr(photo, ours.decode(stream)) > at_our_rate


@pytest.mark.parametrize(
    ("spec", "subsampled"), [("avif:subsampling=4:2:0", True), ("avif:subsampling=4:4:4", False)]
)
def test_avif_is_subsampled_as_asked(spec: str, subsampled: bool, photo: Image) -> None:
    stream = codec_of(spec).encode(np.ascontiguousarray(photo[60:124, 100:196]), 50)
    # av1C: marker and version, profile and level, then flags (AV1-ISOBMFF, 2.3.3).
    flags = stream[stream.index(b"av1C") + 6]
    assert bool(flags & 0b1000) == bool(flags & 0b100) == subsampled


def test_heif_is_the_same_whatever_was_encoded_before(photo: Image) -> None:
    first = codec_of("heif").encode(photo, 20)
    codec_of("heif:subsampling=4:2:0,preset=fast").encode(photo, 20)
    assert codec_of("heif").encode(photo, 20) == first


@pytest.mark.slow
def test_heif_is_hevc_but_for_the_container_and_eight_bits(photo: Image) -> None:
    container = 300
    hevcs = [codec_of("hevc").encode(photo, qp) for qp in (38, 35, 32, 29, 26)]
    quality = [psnr(photo, codec_of("hevc").decode(stream)) for stream in hevcs]
    rates = np.log([len(stream) for stream in hevcs])
    for point in (32, 44):
        stream = codec_of("heif").encode(photo, point)
        ours = psnr(photo, codec_of("heif").decode(stream))
        hevc = PchipInterpolator(rates, quality, extrapolate=False)(np.log(len(stream) - container))
        assert ours == pytest.approx(hevc, abs=0.15)


# Where formats say their size, for sizes beyond what is decoded.
def _huge_webp(stream: bytes) -> bytes:
    return stream[:26] + struct.pack("<HH", 0x3FFF, 0x3FFF) + stream[30:]


def _huge_box(stream: bytes) -> bytes:
    at = stream.index(b"ispe") + 8
    return stream[:at] + struct.pack(">II", 16000, 16000) + stream[at + 8 :]


def _huge_jxl(stream: bytes) -> bytes:
    # Not small; 30 bits of height less one; the ratio 1:1.
    size = (0b11 << 1) | (15999 << 3) | (1 << 33)
    return stream[:2] + size.to_bytes(5, "little") + stream[7:]


@pytest.mark.parametrize(
    ("name", "altered"),
    [("webp", _huge_webp), ("avif", _huge_box), ("heif", _huge_box), ("jpegxl", _huge_jxl)],
)
def test_a_huge_size_is_refused_before_it_costs_memory(
    name: str, altered: object, photo: Image
) -> None:
    psutil = pytest.importorskip("psutil")
    codec = codec_of(name)
    stream = codec.encode(photo, codec.points[2])
    codec.decode(stream)
    before = psutil.Process().memory_info().rss
    with pytest.raises(BitstreamError, match=r"decode|claims|no single picture"):
        codec.decode(altered(stream))  # type: ignore[operator]
    assert psutil.Process().memory_info().rss - before < 100e6


@pytest.mark.parametrize(
    "size", [(8, 8), (256, 256), (40, 30), (300, 200), (320, 180), (1, 600), (513, 300), (24, 16)]
)
def test_the_size_in_jpegxls_header_is_read(size: tuple[int, int], photo: Image) -> None:
    width, height = size
    image = cv2.resize(photo, size)
    stream = codec_of("jpegxl").encode(image, 50)
    assert jpegxl._size(stream) == (height, width)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("webp", "lossless"),
        ("webp", "alpha"),
        *((name, kind) for name in ("avif", "heif", "jpegxl") for kind in ("alpha", "grey")),
    ],
)
def test_other_kinds_of_pictures_are_refused(name: str, kind: str) -> None:
    codec_of(name)
    if name == "heif":
        import pillow_heif

        pillow_heif.register_heif_opener()
    elif name == "jpegxl":
        import pillow_jxl  # noqa: F401 - registers itself
    picture = PillowImage.new({"alpha": "RGBA", "grey": "L"}.get(kind, "RGB"), (64, 64))
    stream = io.BytesIO()
    formats = {"webp": "WEBP", "avif": "AVIF", "heif": "HEIF", "jpegxl": "JXL"}
    picture.save(stream, formats[name], lossless=kind == "lossless")
    with pytest.raises(BitstreamError):
        codec_of(name).decode(stream.getvalue())


def test_ycbcr_is_jfifs_with_two_bits_more() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    jfif = np.moveaxis(np.array(PillowImage.fromarray(image).convert("YCbCr")), 2, 0)
    for plane, middle, theirs in zip(
        ycbcr.from_rgb(image), (0, 128, 128), jfif.astype(float), strict=True
    ):
        ours = (plane - 4 * middle) * 255 / 1023 + middle
        assert np.abs(ours - theirs).max() < 1.01  # Pillow truncates where it rounds


def test_ten_bits_of_ycbcr_lose_nothing_of_eight_of_rgb() -> None:
    levels = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, -1, 3)
    planes = [ycbcr.samples(plane).astype(np.float32) for plane in ycbcr.from_rgb(image)]
    assert (ycbcr.to_rgb(*planes) == image).all()


def test_hevc_is_a_bare_bitstream_without_signature(photo: Image) -> None:
    stream = codec_of("hevc").encode(photo, 40)
    units = [unit[0] >> 1 & 63 for unit in re.split(b"\0?\0\0\1", stream)[1:]]
    # Parameter sets of video, sequence and picture, and one IDR picture (H.265, table 7-1).
    assert units[:3] == [32, 33, 34]
    assert units[3:] in ([19], [20])
    assert b"x265" not in stream


@pytest.mark.parametrize("size", [(300, 451), (31, 17), (9, 300), (1, 1)])
def test_hevc_says_size_matrix_and_range_to_every_decoder(
    size: tuple[int, int], photo: Image, tmp_path: Path
) -> None:
    """The ffmpeg program gives our picture, up to a rounding, from what the stream says alone."""
    exe = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    image = np.ascontiguousarray(photo[: size[0], : size[1]])
    stream = codec_of("hevc").encode(image, 35)
    (tmp_path / "stream.265").write_bytes(stream)
    exact = ["-sws_flags", "accurate_rnd+full_chroma_int+full_chroma_inp"]
    subprocess.run(
        [exe, "-loglevel", "error", "-i", "stream.265", *exact, "-pix_fmt", "rgb24", "theirs.png"],
        cwd=tmp_path,
        check=True,
    )
    theirs = np.array(PillowImage.open(tmp_path / "theirs.png"))
    ours = codec_of("hevc").decode(stream)
    assert ours.shape == image.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_hevc_beats_jpeg_by_far(photo: Image) -> None:
    stream = codec_of("hevc").encode(photo, 35)
    jpeg = [codec_of("jpeg").encode(photo, point) for point in (20, 30, 40, 50, 60, 70)]
    quality = [psnr(photo, codec_of("jpeg").decode(one)) for one in jpeg]
    as_jpeg = np.interp(psnr(photo, codec_of("hevc").decode(stream)), quality, [*map(len, jpeg)])
    assert len(stream) < 0.7 * as_jpeg


def test_vvcs_chroma_is_resized_as_opencv_does(photo: Image) -> None:
    plane = photo[:300, :450, 1].astype(np.float32)
    half = ycbcr.halved(plane)
    assert np.allclose(half, cv2.resize(plane, (225, 150), interpolation=cv2.INTER_AREA), atol=0.01)
    twice = ycbcr.doubled(half)
    assert np.allclose(
        twice, cv2.resize(half, (450, 300), interpolation=cv2.INTER_LINEAR), atol=0.01
    )


@pytest.mark.slow
def test_vvc_is_better_than_hevc_at_low_rate(photo: Image) -> None:
    vvcs = codec_of("vvc").encode(photo, 42)
    hevcs = [codec_of("hevc").encode(photo, qp) for qp in (46, 42, 38)]
    quality = [psnr(photo, codec_of("hevc").decode(one)) for one in hevcs]
    as_hevc = np.interp(psnr(photo, codec_of("vvc").decode(vvcs)), quality, [*map(len, hevcs)])
    assert len(vvcs) < as_hevc


def test_vvc_leaves_no_files(photo: Image, tmp_path: Path) -> None:
    codec_of("vvc")
    code = """
import numpy as np
from lic_bench import Registry
codec = Registry().codec("vvc:preset=faster")
codec.decode(codec.encode(np.zeros((20, 30, 3), np.uint8), 40))
"""
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []


def test_what_vvenc_cannot_hold_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(SpecError, match="choose a higher QP"):
        codec_of("vvc:preset=faster").encode(noise, 5)
