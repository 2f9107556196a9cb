"""Bitstreams that were made up: whatever their checksum says, they are refused or cost a little."""

import io
import re
import struct
import subprocess
import sys
import tracemalloc
from importlib.util import find_spec
from pathlib import Path

import hostile_streams as hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from lic_bench import BitstreamError, Codec, Image, Registry

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
FLAT = np.full((64, 64, 3), 128, np.uint8)
SIDES = st.one_of(st.integers(0, 200), st.sampled_from(hostile.NUMBERS))
PAYLOADS = st.one_of(st.binary(max_size=400), st.sampled_from([bytes(400), b"\xff" * 400]))


def codec_of(spec: str, plugins: tuple[Path, ...] = ()) -> Codec:
    registry = Registry(plugins)
    entry = registry.entry(spec.partition(":")[0])
    if entry.problem is not None:
        pytest.skip(entry.problem)
    return registry.codec(spec)


def decoded(codec: Codec, stream: bytes) -> Image | None:
    """The picture of a stream, or nothing where it is refused."""
    try:
        image = codec.decode(stream)
    except BitstreamError as error:
        assert len(str(error)) < 500
        return None
    assert image.dtype == np.uint8
    assert image.size > 0
    return image


@pytest.mark.slow
def test_no_decoder_crashes_hangs_or_takes_more_than_its_bound(tmp_path: Path) -> None:
    names = (
        "none,cae-pca,compressive-autoencoder,content-weighted,entropy-autoencoder pair,"
        "modulated-autoencoder,nctu,recurrent,"
        "compressai mbt2018-mean,programs,jpeg2000,hevc,vvc"
    )
    command = [sys.executable, str(FUZZ), "--streams", "15", "--keep", str(tmp_path)]
    command += ["--only", names]  # the others' streams go through Pillow, as any image does
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "content-weighted" in done.stdout


def test_the_fuzz_sees_what_goes_wrong(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    plugin = tmp_path / "bad.py"
    plugin.write_text(
        "import os, time\nfrom lic_bench import Codec\nimport numpy as np\n"
        "class Bad(Codec):\n"
        "    name = 'bad'\n"
        "    def encode(self, image, point): return b'good'\n"
        "    def decode(self, stream):\n"
        "        if stream == b'crash': os.abort()\n"
        "        if stream == b'hang': time.sleep(1000)\n"
        "        if stream == b'raise': raise KeyError(7)\n"
        "        if stream == b'memory': return np.ones((1, 700_000_000, 3), np.uint8)\n"
        "        if stream == b'spent': np.ones(400_000_000, np.uint8)\n"
        "        return np.zeros((1, 0 if stream == b'empty' else 1, 3), np.uint8)\n"
    )
    sys.path.insert(0, str(FUZZ.parent))
    try:
        import fuzz
    finally:
        sys.path.remove(str(FUZZ.parent))
    quick = hostile.Target("bad", "bad", (plugin,), claim=lambda stream: 0, seconds=3)
    found = {}
    for stream in (b"good", b"raise", b"memory", b"spent", b"empty", b"crash", b"hang"):
        child = fuzz._Child(quick)
        child._started = stream == b"hang"  # it has no two minutes to start, then
        found[stream] = child.decode(stream)
        child.close()
    assert {stream: verdict for stream, (verdict, _, _) in found.items()} == {
        b"good": "decoded",
        b"raise": "raised",
        b"memory": "raised",
        b"spent": "decoded",
        b"empty": "raised",
        b"crash": "crashed",
        b"hang": "hung",
    }
    assert "Unable to allocate" in found[b"memory"][1]
    assert found[b"spent"][2] == pytest.approx(400e6, rel=0.1)


@settings(max_examples=60, deadline=None)
@given(width=SIDES, height=SIDES, payload=PAYLOADS)
def test_raw_samples(width: int, height: int, payload: bytes) -> None:
    stream = struct.pack("<II", width, height) + payload
    image = decoded(codec_of("none"), stream)
    assert (image is not None) == (3 * width * height == len(payload) > 0)


@settings(max_examples=40, deadline=None)
@given(
    version=st.sampled_from([1, 1, 1, 0, 2, 255]),
    width=SIDES,
    height=SIDES,
    point=st.sampled_from([0, 3, 7, 8, 255]),
    payload=PAYLOADS,
)
def test_content_weighted(
    version: int, width: int, height: int, point: int, payload: bytes
) -> None:
    codec = codec_of("content-weighted")
    good = codec.encode(FLAT, 1)
    stream = hostile.content_weighted(
        good, version=version, width=width, height=height, point=point, payload=payload
    )
    image = decoded(codec, stream)
    assert image is None or (image.shape[:2] == (height, width) and (version, point < 8) == (1, 1))


def test_the_payload_of_another_image_is_refused_though_its_checksum_is_right() -> None:
    codec = codec_of("content-weighted")
    photo = hostile.images()[0]
    stream = codec.encode(photo, 3)
    assert hostile.content_weighted(stream) == stream
    for length in range(18, len(stream), 40):
        with pytest.raises(BitstreamError):
            codec.decode(hostile.content_weighted(stream, payload=stream[18:length]))
    with pytest.raises(BitstreamError):
        codec.decode(hostile.content_weighted(stream, width=11585, height=11585))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, hostile.Target]:
    if find_spec("compressai") is None or find_spec("torch") is None:
        pytest.skip("CompressAI is not installed")
    made = hostile.targets(tmp_path_factory.mktemp("networks"))
    return {one.name.split()[1]: one for one in made if one.name.startswith("compressai")}


@settings(max_examples=40, deadline=None)
@given(data=st.data(), width=SIDES, height=SIDES)
@pytest.mark.parametrize("architecture", ["bmshj2018-factorized", "mbt2018-mean"])
def test_compressai(
    architecture: str,
    data: st.DataObject,
    width: int,
    height: int,
    networks: dict[str, hostile.Target],
) -> None:
    codec = codec_of(networks[architecture].spec)
    good = codec.encode(FLAT, None)
    strings = [data.draw(PAYLOADS) for _ in range(1 if architecture.endswith("factorized") else 2)]
    lengths = [data.draw(st.sampled_from([len(one), 0, 1 << 34])) for one in strings[:-1]]
    point = data.draw(st.sampled_from([0, 0, 0, 1, 1 << 34]))
    stream = hostile.compressai(good, [width, height, point, *lengths], b"".join(strings))
    image = decoded(codec, stream)
    assert image is None or (image.shape[:2] == (height, width) and point == 0)


def test_compressais_strings_must_be_long_enough_for_their_size(
    networks: dict[str, hostile.Target],
) -> None:
    """Or a few bytes would be answered with gigabytes."""
    for target in networks.values():
        codec = codec_of(target.spec)
        good = codec.encode(FLAT, None)
        numbers, strings = hostile._numbers(good, 2 if "factorized" in target.name else 3)
        assert hostile.compressai(good, numbers, strings) == good
        stream = hostile.compressai(good, [11585, 11585, *numbers[2:]], strings)
        tracemalloc.start()
        with pytest.raises(BitstreamError, match="too few for the size"):
            codec.decode(stream)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


class Reader:
    """CompressAI's entropy decoder in Python: what it decodes, and how many words it reads for it.

    Behind the end of the string it reads zeros.
    """

    def __init__(self, string: bytes) -> None:
        self.words = [*struct.unpack(f"<{len(string) // 4}I", string[: len(string) // 4 * 4])]
        self.read = 0
        low, high = self._word(), self._word()
        self.state = high << 32 | low

    def _word(self) -> int:
        self.read += 1
        return self.words[self.read - 1] if self.read <= len(self.words) else 0

    def _refill(self) -> None:
        if self.state < 1 << 31:
            self.state = self.state << 32 | self._word()

    def _bits(self) -> int:
        value = self.state & 15
        self.state >>= 4
        self._refill()
        return value

    def symbol(self, cdf: list[int], offset: int) -> int:
        frequency = self.state & 0xFFFF
        value = next(i for i, edge in enumerate(cdf[1:]) if edge > frequency)
        self.state = (cdf[value + 1] - cdf[value]) * (self.state >> 16) + frequency - cdf[value]
        self._refill()
        most = len(cdf) - 2
        if value == most:  # spelled out
            count = nibble = self._bits()
            while nibble == 15:
                nibble = self._bits()
                count += nibble
            raw = sum(self._bits() << 4 * j for j in range(count))
            value = -(raw >> 1) - 1 if raw & 1 else (raw >> 1) + most
        return value + offset


CDFS = ([0, 30000, 60000, 65535, 65536], [0, 1, 65536], [0, 65000, 65536])


def test_the_reader_is_compressais(networks: dict[str, hostile.Target]) -> None:
    ans = pytest.importorskip("compressai.ans")
    rng = np.random.default_rng(0)
    for cdf in CDFS:
        symbols = rng.integers(-3, 6, 200).tolist()
        arguments = ([0] * 200, [cdf], [len(cdf)], [-1])
        string = ans.RansEncoder().encode_with_indexes(symbols, *arguments)
        reader = Reader(string)
        assert [reader.symbol(cdf, -1) for _ in symbols] == symbols
        assert ans.RansDecoder().decode_with_indexes(string, *arguments) == symbols
        assert reader.read == len(reader.words)


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"\xff" * 4, b"\xff" * 64, bytes(8)])),
        max_size=8,
    ),
    cdf=st.sampled_from(CDFS),
    symbols=st.integers(1, 200),
)
def test_no_string_is_read_beyond_its_padding(
    pieces: list[bytes], cdf: list[int], symbols: int
) -> None:
    for name in ("torch", "compressai"):
        if find_spec(name) is None:
            pytest.skip("CompressAI is not installed")
    from lic_bench.codecs.compressai.inference import _padded, import_compressai

    import_compressai()
    string = b"".join(pieces)
    reader = Reader(string)
    for _ in range(symbols):
        reader.symbol(cdf, 0)
    assert 4 * reader.read <= len(_padded(string, symbols))


# Formats of others, in ways that cost more than what their headers say


def test_jpeg_2000_of_other_kinds_is_refused() -> None:
    """Precincts of 2x2 pixels cost 1.6 kB of memory for each pixel."""
    codec = codec_of("jpeg2000")
    good = codec.encode(FLAT, 64.0)
    at = good.index(b"\xff\x52")
    before, cod, after = good[:at], good[at : at + 14], good[at + 14 :]
    precincts = cod[:3] + bytes([18, 1]) + cod[5:] + b"\x11" * 6
    layers = cod[:6] + b"\xff\xff" + cod[8:]
    blocks = cod[:10] + b"\0\0" + cod[12:]
    for other in (precincts, layers, blocks, cod + b"\xff\x53" + cod[2:]):
        assert decoded(codec, before + other + after) is None
    tile = good.index(b"\xff\x90")
    assert good[tile + 12 : tile + 14] == b"\xff\x93"
    assert decoded(codec, good[: tile + 12] + precincts + good[tile + 12 :]) is None
    assert decoded(codec, good[:-2] + good[tile:]) is None
    assert decoded(codec, good) is not None


@pytest.mark.parametrize("spec", ["hevc:preset=ultrafast", "vvc:preset=faster"])
@pytest.mark.parametrize("pictures", [2, 500])
def test_one_picture_is_decoded_and_no_more_are_kept(spec: str, pictures: int) -> None:
    codec = codec_of(spec)
    good = codec.encode(FLAT, codec.points[0])
    assert decoded(codec, good + (pictures - 1) * good[spec.startswith("vvc") :]) is None


def test_a_jpeg_of_many_scans_is_refused() -> None:
    codec = codec_of("jpeg")
    stream = io.BytesIO()
    PillowImage.fromarray(FLAT).save(stream, "JPEG", progressive=True)
    assert decoded(codec, stream.getvalue()) is None
    good = codec.encode(FLAT, 50)
    scan = good[good.index(b"\xff\xda") : -2]
    assert decoded(codec, good[:-2] + 1000 * scan + good[-2:]) is None
    frame = good.index(b"\xff\xc0") + 5
    huge = good[:frame] + struct.pack(">HH", 11600, 11600) + good[frame + 4 :]
    assert decoded(codec, huge) is None


@pytest.mark.parametrize("quality", [1, 20, 50, 95, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_every_jpeg_of_ours_passes(quality: int, subsampling: str, photo: Image) -> None:
    codec = codec_of(f"jpeg:subsampling={subsampling}")
    for image in (photo, photo[:1, :1], photo[:17, :200]):
        stream = codec.encode(np.ascontiguousarray(image), quality)
        picture = decoded(codec, stream)
        assert picture is not None
        assert np.array_equal(picture, np.array(PillowImage.open(io.BytesIO(stream))))


def test_a_film_in_jpeg_xl_is_refused() -> None:
    codec = codec_of("jpegxl")
    import pillow_jxl  # noqa: F401 - registers itself

    stream = io.BytesIO()
    PillowImage.fromarray(FLAT).save(stream, "JXL", lossless=True)
    content = stream.getvalue()
    bare = content[content.index(b"\xff\x0a") :]
    assert decoded(codec, bare) is None


@pytest.mark.parametrize(
    "text", ["5 ", " 5", "+5", "5_0", "05", "5.0", "\u0665", "5e0", "5\n", "1e400", "nan"]
)
def test_a_point_reaches_a_program_as_it_was_written_or_not_at_all(
    text: str, tmp_path: Path
) -> None:
    copy = hostile.programs(tmp_path)
    codec = codec_of(copy.spec, copy.plugins)
    good = codec.encode(FLAT, 2)
    assert good[4:6] == b"\x012"
    point = text.encode()
    assert decoded(codec, good[:4] + bytes([len(point)]) + point + good[6:]) is None
    assert re.fullmatch(rb"\x40\0\x40\0\x012.*", good, re.DOTALL)
    assert np.array_equal(decoded(codec, good), FLAT)
