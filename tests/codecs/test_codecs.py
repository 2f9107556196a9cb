"""What holds for every codec that comes with lic-bench."""

import io
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from lic_bench import BitstreamError, Codec, Image, Registry, SpecError, image_metrics

CODECS = ("jpeg", "jpeg:subsampling=4:4:4", "jpeg2000", "none")
SIZES = ((1, 1), (1, 7), (7, 1), (17, 31), (64, 64), (257, 129))


def codec_of(spec: str) -> Codec:
    return Registry().codec(spec)


@pytest.mark.parametrize("spec", CODECS)
@pytest.mark.parametrize("size", SIZES)
def test_round_trip_keeps_size_and_type(spec: str, size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = image.copy()
    for point in (codec_of(spec).points[0], codec_of(spec).points[-1]):
        stream = codec_of(spec).encode(image, point)
        decoded = codec_of(spec).decode(stream)
        assert isinstance(stream, bytes)
        assert (decoded.dtype, decoded.shape) == (np.uint8, image.shape)
    assert (image == before).all()


@pytest.mark.parametrize("spec", CODECS)
def test_bytes_are_deterministic(spec: str, photo: Image) -> None:
    point = codec_of(spec).points[0]
    assert codec_of(spec).encode(photo, point) == codec_of(spec).encode(photo, point)


@pytest.mark.parametrize("spec", CODECS)
@pytest.mark.slow
def test_rate_and_quality_rise_with_the_points(spec: str, large_photo: Image) -> None:
    codec = codec_of(spec)
    streams = [codec.encode(large_photo, point) for point in codec.points]
    found = [image_metrics(large_photo, codec.decode(stream)) for stream in streams]
    for a, b in pairwise(streams):
        assert len(a) < len(b)
    for x, y in pairwise(found):
        assert x["psnr_rgb_db"] < y["psnr_rgb_db"]
        assert x["ms_ssim_rgb"] < y["ms_ssim_rgb"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("spec", CODECS)
def test_damage_is_an_error_or_an_image(spec: str, noise: Image, data: st.DataObject) -> None:
    codec = codec_of(spec)
    stream = bytearray(codec.encode(noise, codec.points[0]))
    for position in data.draw(st.lists(st.integers(0, len(stream) - 1), max_size=4)):
        stream[position] ^= data.draw(st.integers(1, 255))
    cut = stream[: data.draw(st.integers(0, len(stream)))]
    try:
        decoded = codec_of(spec).decode(bytes(cut))
    except BitstreamError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3


@pytest.mark.parametrize("spec", CODECS)
@pytest.mark.parametrize("stream", [b"", b"\0", b"hello", bytes(1000)])
def test_what_is_no_stream_is_refused(spec: str, stream: bytes) -> None:
    with pytest.raises(BitstreamError):
        codec_of(spec).decode(stream)


def test_the_stream_of_another_kind_of_image_is_refused() -> None:
    for kind, options, spec in (("JPEG", {}, "jpeg"), ("JPEG2000", {"no_jp2": True}, "jpeg2000")):
        grey = io.BytesIO()
        PillowImage.new("L", (16, 16)).save(grey, kind, **options)
        with pytest.raises(BitstreamError, match="holds"):
            codec_of(spec).decode(grey.getvalue())


@pytest.mark.parametrize(
    ("spec", "point"), [("jpeg", 0), ("jpeg", 101), ("jpeg2000", 0.5), ("jpeg2000", -1)]
)
def test_a_point_out_of_range_is_refused(spec: str, point: float, noise: Image) -> None:
    with pytest.raises(SpecError, match=spec):
        codec_of(spec).encode(noise, point)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_is_subsampled_as_asked(subsampling: str, photo: Image) -> None:
    from PIL import JpegImagePlugin

    stream = codec_of(f"jpeg:subsampling={subsampling}").encode(photo, 50)
    with PillowImage.open(io.BytesIO(stream)) as picture:
        assert JpegImagePlugin.get_sampling(picture) == ["4:4:4", "4:2:2", "4:2:0"].index(
            subsampling
        )


def unsigned(codestream: bytes) -> bytes:
    """A codestream without the version that signs it: the system's OpenJPEG may be another."""
    return re.sub(rb"OpenJPEG version [0-9.]+", b"", codestream)


@pytest.mark.parametrize("ratio", [192, 48, 12])
@pytest.mark.parametrize("size", [(300, 451), (300, 300), (33, 32), (5, 3), (1, 1)])
def test_glymurs_and_pillows_codestreams_are_equal(
    photo: Image, ratio: int, size: tuple[int, int]
) -> None:
    image = np.ascontiguousarray(photo[: size[0], : size[1]])
    stream = codec_of("jpeg2000").encode(image, ratio)
    pillows = io.BytesIO()
    PillowImage.fromarray(image).save(
        pillows,
        "JPEG2000",
        no_jp2=True,
        mct=1,
        irreversible=True,
        quality_mode="rates",
        quality_layers=[ratio],
    )
    assert unsigned(stream) == unsigned(pillows.getvalue())


def test_jpeg2000_is_irreversible_with_colour_transform(photo: Image, tmp_path: Path) -> None:
    path = tmp_path / "stream.j2k"
    path.write_bytes(codec_of("jpeg2000").encode(photo, 20))
    import glymur  # not before the codec, which may have to find it a library

    [cod] = [s for s in glymur.Jp2k(path).get_codestream().segment if s.marker_id == "COD"]
    assert cod.mct == 1
    assert cod.xform == glymur.core.WAVELET_XFORM_9X7_IRREVERSIBLE


def test_jpeg2000_works_where_glymur_was_imported_without_a_library() -> None:
    code = """
import glymur
import numpy as np
from lic_bench import Registry
codec = Registry().codec("jpeg2000")
image = np.full((40, 40, 3), 77, np.uint8)
assert (codec.decode(codec.encode(image, 2)) == image).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_none_loses_nothing(photo: Image) -> None:
    assert (codec_of("none").decode(codec_of("none").encode(photo, None)) == photo).all()
