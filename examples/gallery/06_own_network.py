"""A transform that is trained, with a checkpoint for each operating point: one curve of them all.

`examples/torch_codec.py` is the same with a network in torch and a range coder.
"""

import struct
import zlib
from pathlib import Path

import numpy as np

import lic_bench
from lic_bench import BitstreamError, Codec, Image, find_checkpoints

SIDE = 8
HEADER = struct.Struct("<HHH")


def blocks_of(image: Image) -> np.ndarray:
    """The blocks of an image, filled up at its edges: (blocks, samples of a block)."""
    height, width, _ = image.shape
    padding = ((0, -height % SIDE), (0, -width % SIDE), (0, 0))
    whole = np.pad(image, padding, mode="edge").astype(np.float64) - 128
    rows, columns = whole.shape[0] // SIDE, whole.shape[1] // SIDE
    return whole.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2).reshape(rows * columns, -1)


def train(images: list[Image], folder: Path) -> None:
    """Find the transform that decorrelates blocks, and leave a checkpoint for each level."""
    samples = np.concatenate([blocks_of(image) for image in images])
    _, basis = np.linalg.eigh(samples.T @ samples)
    folder.mkdir(parents=True, exist_ok=True)
    for level, step in enumerate((160, 80, 40, 20), start=1):
        np.savez(folder / f"level-{level}.npz", basis=basis[:, ::-1].copy(), step=step)


class Learned(Codec):
    """A learned transform of blocks, quantised evenly, through zlib."""

    name = "learned"
    point_unit = "level"

    def __init__(self, weights: str) -> None:
        self.checkpoints = find_checkpoints(weights, (".npz",))
        self.points = tuple(self.checkpoints)

    def weights(self, point: object) -> tuple[np.ndarray, int]:
        with np.load(self.checkpoints[point]) as file:
            return file["basis"], int(file["step"])

    def encode(self, image: Image, point: object) -> bytes:
        basis, step = self.weights(point)
        codes = np.rint(blocks_of(image) @ basis / step).astype(np.int16)
        height, width, _ = image.shape
        return HEADER.pack(height, width, int(point)) + zlib.compress(codes.T.tobytes(), 9)

    def decode(self, stream: bytes) -> Image:
        try:
            height, width, point = HEADER.unpack_from(stream)
            basis, step = self.weights(point)
            codes = np.frombuffer(zlib.decompress(stream[HEADER.size :]), np.int16)
            codes = codes.reshape(3 * SIDE * SIDE, -1).T
        except (struct.error, zlib.error, ValueError, KeyError) as error:
            raise BitstreamError("not a stream of this codec, or a damaged one") from error
        rows, columns = -(-height // SIDE), -(-width // SIDE)
        blocks = (codes @ basis.T * step).reshape(rows, columns, SIDE, SIDE, 3)
        whole = blocks.swapaxes(1, 2).reshape(rows * SIDE, columns * SIDE, 3)
        return np.clip(np.rint(whole[:height, :width] + 128), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    photographs = [image.read() for image in lic_bench.load_dataset("sample").images[2:]]
    train(photographs, Path("runs"))
    mine = Learned("runs/level-{point}.npz")
    points = {"jpeg": [10, 30, 60, 85]}
    table = lic_bench.run([mine, "jpeg"], "sample", images=2, points=points, out="results/network")
    print(lic_bench.bd_rates(table, anchor="jpeg")[["codec", "points", "bd_rate_percent"]])
