"""Every codec keeps the contract; and the contract finds out those that do not."""

import re
import textwrap
from functools import cache
from pathlib import Path

import pytest
from command import command

from lic_bench import Registry, UnavailableError
from lic_bench.checks import contract
from lic_bench.checks.contract import CHECKS, Check, ContractError, Subject, title

EXAMPLES = tuple(sorted((Path(__file__).parents[2] / "examples").glob("*.toml")))
SLOW = (
    "avif", "cae-pca", "compressai", "compressive-autoencoder", "content-weighted",
    "entropy-autoencoder", "heif", "hevc", "modulated-autoencoder", "nctu", "recurrent", "vvc",
)  # fmt: skip


@cache
def registry() -> Registry:
    return Registry(EXAMPLES)


@cache
def subject(name: str) -> Subject:
    """The codec at those of its points that can be used here."""
    entry = registry().entry(name)
    if entry.problem is not None:
        pytest.skip(f"{name} cannot be used here: {entry.problem}")
    codec, points, reason = registry().codec(name), [], None
    for point in codec.points:
        try:
            codec.check_point(point)
        except UnavailableError as error:
            reason = error
        else:
            points.append(point)
    if not points:
        pytest.skip(str(reason))
    return Subject(name, EXAMPLES, tuple(points))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in registry().names()],
)
def test_every_codec_keeps_the_contract(name: str, check: Check) -> None:
    check(subject(name))


GOOD = """
import ctypes, os, signal, struct, subprocess, sys, time, zlib
import numpy as np
from lic_bench import BitstreamError, Codec, SpecError

def pack(image, step):
    body = struct.pack("<HHB", image.shape[1], image.shape[0], step)
    body += zlib.compress((image // step).tobytes())
    return struct.pack("<I", zlib.crc32(body)) + body

def unpack(stream):
    if len(stream) < 9 or zlib.crc32(stream[4:]) != struct.unpack_from("<I", stream)[0]:
        raise BitstreamError("damaged")
    width, height, step = struct.unpack_from("<HHB", stream, 4)
    values = np.frombuffer(zlib.decompress(stream[9:]), np.uint8).reshape(height, width, 3)
    return np.minimum(values.astype(int) * step + step // 2, 255).astype(np.uint8)

class Good:
    name = "mine"
    points = (64, 16, 4)
    def encode(self, image, point):
        return pack(image, point)
    def decode(self, stream):
        return unpack(stream)
"""

ON_DAMAGE = """
def decode(self, stream):
    try:
        return unpack(stream)
    except BitstreamError:
        {}
"""


def plugin(folder: Path, methods: str = "pass") -> Path:
    path = folder / "mine.py"
    body = textwrap.indent(textwrap.dedent(methods).strip(), "    ")
    path.write_text(f"{GOOD}\nclass Mine(Good, Codec):\n{body}\n")
    return path


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_codec_passes(check: Check, tmp_path: Path) -> None:
    check(Subject("mine", (plugin(tmp_path),)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "methods", "message"),
    [
        # The shape, the type.
        (
            contract.keeps_size_and_type,
            "def decode(self, stream): return unpack(stream).transpose(1, 0, 2)",
            r"an array of \(1, 7, 3\), not \(7, 1, 3\)",
        ),
        (
            contract.keeps_size_and_type,
            "def decode(self, stream): return unpack(stream) / 255",
            "decode returned float64 of",
        ),
        (
            contract.keeps_size_and_type,
            "def decode(self, stream): return unpack(stream)[..., 0]",
            r"decode returned uint8 of shape \(1, 1\)",
        ),
        (
            contract.keeps_size_and_type,
            "def decode(self, stream): return unpack(stream).tolist()",
            "decode returned list",
        ),
        (
            contract.keeps_size_and_type,
            "def encode(self, image, point): return bytearray(pack(image, point))",
            "encode returned bytearray, not bytes",
        ),
        (
            contract.keeps_size_and_type,
            "def encode(self, image, point): raise SpecError('far too small')",
            "64x64.*refused: far too small",
        ),
        (
            contract.keeps_size_and_type,
            "def encode(self, image, point): return 1 // 0",
            "encoding 1x1: ZeroDivisionError: integer division",
        ),
        (
            contract.keeps_size_and_type,
            "def encode(self, image, point): os.abort()",
            "encoding 1x1: the process died of SIGABRT",
        ),
        (
            contract.keeps_size_and_type,
            "def decode(self, stream): raise BitstreamError('I do not know it')",
            "a good stream is refused: I do not know it",
        ),
        # The image.
        (
            contract.leaves_the_image_alone,
            "def encode(self, image, point): image[0, 0] ^= 1; return pack(image, point)",
            "other samples after",
        ),
        (
            contract.leaves_the_image_alone,
            "def encode(self, image, point): raise SpecError('not this one')",
            "encoding at 64 is refused: not this one",
        ),
        # Determinism.
        (
            contract.is_deterministic,
            "def versions(self): return {'process': str(os.getpid())}",
            "two processes tell of different versions: process [0-9]+ -> [0-9]+",
        ),
        (
            contract.is_deterministic,
            """
            def encode(self, image, point): return os.urandom(8) + pack(image, point)
            def decode(self, stream): return unpack(stream[8:])
            """,
            "two streams of one image differ at 64",
        ),
        (
            contract.is_deterministic,
            """
            def encode(self, image, point):
                return hash("salted").to_bytes(8, signed=True) + pack(image, point)
            def decode(self, stream): return unpack(stream[8:])
            """,
            "two processes make different streams at 64",
        ),
        # The bytes.
        (
            contract.bytes_suffice,
            """
            shapes = {}
            def encode(self, image, point):
                self.shapes["last"] = image.shape
                return zlib.compress(image.tobytes())
            def decode(self, stream):
                image = np.frombuffer(zlib.decompress(stream), np.uint8)
                return image.reshape(self.shapes["last"])
            """,
            "decoding: KeyError: 'last'",
        ),
        (
            contract.bytes_suffice,
            """
            def decode(self, stream):
                image = unpack(stream)
                image[0, 0] = int.from_bytes(os.getpid().to_bytes(4)) % 251
                return image
            """,
            "two processes decode one stream differently at 64",
        ),
        # The curve.
        (
            contract.rate_and_quality_rise,
            "points = (4, 16, 64)",
            "the rate does not rise from 4 to 16: [0-9]+ and [0-9]+ bytes",
        ),
        (
            contract.rate_and_quality_rise,
            """
            points = (1, 2, 3)
            def encode(self, image, point):
                stream = pack(image, 4**point)
                return struct.pack("<I", len(stream)) + stream + bytes(point * 100_000)
            def decode(self, stream):
                return unpack(stream[4 : 4 + struct.unpack_from("<I", stream)[0]])
            """,
            "the PSNR does not rise from 1 to 2: .* dB",
        ),
        # The range of points.
        (
            contract.rate_rises_along_the_range,
            "point_range = (4, 64)",
            "the rate does not rise along the range: .* bytes at 4, .* at 64",
        ),
        (
            contract.rate_rises_along_the_range,
            """
            point_range = (64, 1)
            def check_point(self, point):
                if point not in self.points:
                    raise SpecError("no such step")
            """,
            "an end of the range is refused: no such step",
        ),
        # Damage.
        (
            contract.survives_truncation,
            ON_DAMAGE.format("return np.zeros((9, 9, 3), np.uint8)"),
            r"24 of 24 decoded to another size; the first .* bytes decoded to \(9, 9, 3\)",
        ),
        (
            contract.survives_flipped_bits,
            ON_DAMAGE.format("return np.zeros((9, 9, 3), np.uint8)"),
            "64 of 64 decoded to another size; a stream with bit . of byte .* flipped",
        ),
        (
            contract.survives_truncation,
            ON_DAMAGE.format("raise ValueError('what is this')"),
            "the first 1 of .* bytes: ValueError: what is this .only BitstreamError is "
            r"allowed; mine\.py:\d+, in decode",
        ),
        (
            contract.survives_truncation,
            ON_DAMAGE.format("raise SpecError('what is this')"),
            "SpecError: what is this .only BitstreamError is allowed",
        ),
        (
            contract.survives_truncation,
            ON_DAMAGE.format("os.abort()"),
            "decoding the first 1 of .* bytes: the process died of SIGABRT",
        ),
        (
            contract.survives_flipped_bits,
            ON_DAMAGE.format("ctypes.string_at(0)"),
            "decoding a stream with bit . of byte [0-9]+ flipped: the process died of SIGSEGV",
        ),
        (contract.survives_truncation, ON_DAMAGE.format("sys.exit(3)"), "SystemExit: 3"),
        (
            contract.survives_truncation,
            ON_DAMAGE.format("os._exit(3)"),
            "the process ended with exit code 3",
        ),
        (
            contract.survives_truncation,
            ON_DAMAGE.format("return np.zeros((1 << 20, 1 << 20, 3), np.uint8)"),
            "MemoryError|took more than .* GB",
        ),
        (
            contract.refuses_foreign_streams,
            ON_DAMAGE.format("return np.zeros((48, 64, 3), np.uint8)"),
            "no bytes decoded to an image; a BitstreamError is due",
        ),
    ],
)
def test_a_bad_codec_is_found_out(check: Check, methods: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=message):
        check(Subject("mine", (plugin(tmp_path, methods),)))


def test_a_codec_that_refuses_small_images_passes_and_that_is_told(tmp_path: Path) -> None:
    path = plugin(
        tmp_path,
        """
        def encode(self, image, point):
            if min(image.shape[:2]) < 32:
                raise SpecError("at least 32 pixels a side")
            return pack(image, point)
        """,
    )
    note = contract.keeps_size_and_type(Subject("mine", (path,)))
    assert note == "1x1, 1x7, 7x1, 17x31 refused: at least 32 pixels a side"


@pytest.mark.slow
def test_a_codec_that_hangs_is_stopped(tmp_path: Path) -> None:
    path = plugin(tmp_path, ON_DAMAGE.format("time.sleep(1000)"))
    with pytest.raises(ContractError, match=r"first 1 of .* bytes: took longer than 8 s"):
        contract.survives_truncation(Subject("mine", (path,), time_limit_s=8))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is watched in /proc")
@pytest.mark.parametrize(
    "code",
    [
        "return [b'x' * 2**26 for _ in range(1000)]",
        # A program that it calls counts, too.
        "subprocess.run([sys.executable, '-c', "
        "'import time; x = [bytes([1]) * 2**26 for _ in range(8)]; time.sleep(1000)'])",
    ],
)
def test_a_codec_that_eats_memory_is_stopped(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "MEMORY_TOLERANCE_GB", 0.3)
    path = plugin(tmp_path, ON_DAMAGE.format(code))
    with pytest.raises(ContractError, match=r"took more than .* GB of memory"):
        contract.survives_truncation(Subject("mine", (path,), time_limit_s=30))


def test_the_command_checks_the_codecs_of_a_file(tmp_path: Path) -> None:
    done = command("check", plugin(tmp_path))
    assert done.stdout.count("pass") == len(CHECKS)
    for check in CHECKS:
        assert title(check) in done.stdout


def test_the_command_tells_what_is_wrong(tmp_path: Path) -> None:
    path = plugin(tmp_path, ON_DAMAGE.format("os.abort()"))
    done = command("check", path, "--points", "16,4", code=1)
    assert (done.stdout.count("pass"), done.stdout.count("FAIL")) == (6, 3)
    assert "SIGABRT" in done.stdout
    assert "2 operating points" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what to check: a file such as my_codec.py, or --codecs"),
        (["absent.py"], "there is no plugin file .*absent.py"),
        (["absent.toml"], "there is no plugin file .*absent.toml"),
        (["--codecs", "jepg"], "no codec 'jepg'"),
        (["--codecs", "jpeg", "--points", "101"], "101 is no quality"),
    ],
)
def test_the_command_refuses_what_cannot_be_checked(arguments: list[str], message: str) -> None:
    assert re.search(message, command("check", *arguments, code=2).stderr)


def test_a_spec_with_options_is_checked() -> None:
    done = command("check", "--codecs", "jpeg:subsampling=4:4:4", "--points", "20,80")
    assert "jpeg:subsampling=4:4:4" in done.stdout
