"""The neural codec in examples/ is a codec like any other."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lic_bench import BitstreamError, Codec, Image, Registry, SpecError, UnavailableError
from lic_bench.checks.contract import CHECKS, Subject, examine
from lic_bench.plugins.files import load_plugin

for library in ("torch", "constriction", "safetensors"):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed", allow_module_level=True)

EXAMPLES = Path(__file__).parents[2] / "examples"
PLUGIN = EXAMPLES / "torch_codec.py"


@pytest.fixture(scope="module")
def spec(photo: Image, large_photo: Image, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The codec with checkpoints of some seconds' training."""
    import torch

    folder = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    load_plugin(EXAMPLES / "torch_network.py").train([photo, large_photo], folder, steps=45)
    torch.set_num_threads(threads)
    return f"tiny-net:weights={folder}/lambda-{{point}}.safetensors"


def fresh(spec: str) -> Codec:
    return Registry([PLUGIN]).codec(spec)


@pytest.mark.slow
def test_it_keeps_the_contract(spec: str) -> None:
    outcomes = list(examine(Subject(spec, (PLUGIN,))))
    assert len(outcomes) == len(CHECKS)
    assert [outcome for outcome in outcomes if not outcome.passed] == []


def test_its_points_are_those_of_the_checkpoints(spec: str, photo: Image) -> None:
    codec = fresh(spec)
    assert codec.points == (0.002, 0.01, 0.05)
    with pytest.raises(SpecError, match=r"no checkpoint for 0\.02"):
        codec.encode(photo, 0.02)
    single = fresh(spec.replace("{point}", "0.01"))
    assert single.points == (None,)
    assert single.encode(photo, None) == codec.encode(photo, 0.01)


def test_streams_of_a_batch_decode_alone_and_together(spec: str, photo: Image) -> None:
    images = [np.ascontiguousarray(photo[top : top + 90, 10:111]) for top in (0, 50, 100)]
    streams = fresh(spec).encode_batch(images, 0.05)
    for image, stream, together in zip(
        images, streams, fresh(spec).decode_batch(streams), strict=True
    ):
        alone = fresh(spec).decode(stream)
        assert alone.shape == image.shape
        assert np.abs(alone.astype(int) - together).max() <= 1  # threads may add in another order
        assert np.abs(alone.astype(int) - image).mean() < 40


def test_a_stream_goes_to_its_own_checkpoint_or_to_none(spec: str, photo: Image) -> None:
    stream = fresh(spec).encode(photo[:64, :64], 0.01)
    alone = spec.replace("{point}", "0.01")
    assert (fresh(alone).decode(stream) == fresh(spec).decode(stream)).all()
    with pytest.raises(BitstreamError, match="other weights"):
        fresh(spec.replace("{point}", "0.05")).decode(stream)


def test_weights_are_loaded_once(spec: str, noise: Image) -> None:
    codec = fresh(spec)
    package = type(codec).__module__.partition(".")[0]
    assert f"{package}.torch_network" not in sys.modules
    for _ in range(2):
        codec.decode(codec.encode(noise, 0.01))
        codec.encode(noise, 0.05)
    assert sys.modules[f"{package}.torch_network"].load.cache_info().misses == 2


def test_what_holds_no_weights_is_refused(noise: Image, tmp_path: Path) -> None:
    (tmp_path / "1.safetensors").write_text("hello")
    with pytest.raises(UnavailableError, match=r"1\.safetensors holds no weights of tiny-net"):
        fresh(f"tiny-net:weights={tmp_path}").encode(noise, 1)


def test_listing_it_does_not_import_torch(spec: str) -> None:
    code = f"""
import sys
from pathlib import Path
from lic_bench import Registry
Registry([Path({str(PLUGIN)!r})]).codec({spec!r}).versions()
assert not {{"torch", "constriction", "safetensors"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
