"""What the tests of the report share: odd names, an odd codec."""

SCRIPT = "<script>window.owned = 1<script>.png"
NAMES = (SCRIPT, "<img src=x onerror='window.owned = 1'>.png", "plain & simple.png")

# A codec that no browser knows, that shows where its bits go, and that fails at one of its points.
# Its decoder sleeps where a file says so.
PLUGIN = """
import time
from pathlib import Path
import numpy as np
from lic_bench import Codec

class Coarse(Codec):
    name = "coarse"
    point_unit = "step"
    points = (100, 80, 60, 40, 20)
    def encode(self, image, point):
        if point == 250:
            raise ValueError("</script><script>window.owned = 1</script>")
        import zlib
        height, width, _ = image.shape
        levels = (image // point).astype(np.uint8)
        return bytes([point]) + b"%d %d " % (width, height) + zlib.compress(levels.tobytes())
    def decode(self, stream):
        import zlib
        if Path(__file__).with_name("sleepy").exists():
            time.sleep(600)
        width, height, rest = stream[1:].split(b" ", 2)
        levels = np.frombuffer(zlib.decompress(rest), np.uint8)
        image = levels.astype(int) * stream[0] + stream[0] // 2
        return image.clip(0, 255).astype(np.uint8).reshape(int(height), int(width), 3)
    def importance_map(self, image, point):
        return np.full_like(image, (200, 60, 20))
"""

RATES = "0.5,1.5"
