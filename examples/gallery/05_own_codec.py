"""A codec of one's own, in Python: two methods, measured beside JPEG."""

import struct
import zlib

import numpy as np

import lic_bench
from lic_bench import BitstreamError, Codec, Image

HEADER = struct.Struct("<HHB")


class Steps(Codec):
    """Differences of neighbours, in steps of so many grey levels, through zlib."""

    name = "steps"
    points = (64, 32, 16, 8)
    point_unit = "step"

    def encode(self, image: Image, point: int) -> bytes:
        levels = (image.astype(np.int16) + point // 2) // point
        differences = np.diff(levels, axis=1, prepend=0).astype(np.int8)
        height, width, _ = image.shape
        return HEADER.pack(height, width, point) + zlib.compress(differences.tobytes(), 9)

    def decode(self, stream: bytes) -> Image:
        try:
            height, width, step = HEADER.unpack_from(stream)
            raw = zlib.decompress(stream[HEADER.size :])
            differences = np.frombuffer(raw, np.int8).reshape(height, width, 3)
        except (struct.error, zlib.error, ValueError) as error:
            raise BitstreamError("not a stream of steps, or a damaged one") from error
        levels = np.cumsum(differences, axis=1, dtype=np.int16)
        return np.clip(levels * step, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    points = {"jpeg": [40, 80, 90, 95]}
    table = lic_bench.run([Steps, "jpeg"], "sample", images=2, points=points, out="results/own")
    print(lic_bench.bd_rates(table, anchor="jpeg")[["codec", "points", "bd_rate_percent"]])
