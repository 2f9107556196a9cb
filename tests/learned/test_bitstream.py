import tracemalloc

import numpy as np
import pytest

from lic_bench import BitstreamError, SpecError
from lic_bench.learned.bitstream import Format, Header, pack, unpack

FORM = Format(b"TEST", 1, b"\x01\x02\x03\x04", 6)


@pytest.mark.parametrize("header", [Header(1, 1, 0), Header(768, 512, 3), Header(65535, 2, 5)])
def test_round_trip(header):
    assert unpack(FORM, pack(FORM, header, b"payload")) == (header, b"payload")


def test_overhead_is_18_bytes():
    assert len(pack(FORM, Header(768, 512, 0), b"")) == 18


def test_every_truncation_and_every_flipped_bit_is_found():
    stream = pack(FORM, Header(33, 21, 2), bytes(range(40)))
    for size in range(len(stream)):
        with pytest.raises(BitstreamError):
            unpack(FORM, stream[:size])
    for bit in range(8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            unpack(FORM, bytes(damaged))


def test_random_bytes_are_refused():
    rng = np.random.default_rng(0)
    for _ in range(300):
        with pytest.raises(BitstreamError):
            unpack(FORM, rng.bytes(rng.integers(200)))


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (Format(b"ELSE", 1, FORM.weights, 6), "begins with"),
        (Format(b"TEST", 2, FORM.weights, 6), "version"),
        (Format(b"TEST", 1, b"abcd", 6), "other weights"),
    ],
)
def test_streams_of_others_are_refused(form, words):
    with pytest.raises(BitstreamError, match=words):
        unpack(FORM, pack(form, Header(8, 8, 0), b""))


def test_absurd_headers_are_refused_at_once():
    generous = Format(FORM.magic, FORM.version, FORM.weights, 255)
    with pytest.raises(BitstreamError, match="no sense"):
        unpack(FORM, pack(generous, Header(8, 8, 200), b""))
    with pytest.raises(SpecError, match="tiles"):
        pack(FORM, Header(65535, 65535, 0), b"")
    # The checksum of such a header can be right all the same.
    import struct
    import zlib

    head = struct.pack("<4sB4sHHB", FORM.magic, 1, FORM.weights, 65535, 65535, 0)
    stream = head + struct.pack("<I", zlib.crc32(head))
    tracemalloc.start()
    with pytest.raises(BitstreamError, match="no sense"):
        unpack(FORM, stream)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
