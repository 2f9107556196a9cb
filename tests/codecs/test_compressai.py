"""CompressAI's models as a codec, beside CompressAI itself called directly.

What needs no published weights is tested on tiny networks with random ones: what is tested is how
images, strings and bytes go in and out, not how well the networks compress.
"""

import hashlib
import os
import pickle
import subprocess
import sys
import urllib.error
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lic_bench
from lic_bench import BitstreamError, Image, Registry, SpecError, UnavailableError

if find_spec("compressai") is None or find_spec("torch") is None:
    pytest.skip("CompressAI is not installed", allow_module_level=True)

import torch

from lic_bench.codec.points import parse_points
from lic_bench.codecs.compressai import inference
from lic_bench.codecs.compressai.bitstream import unpack
from lic_bench.codecs.compressai.codec import CompressAI
from lic_bench.codecs.compressai.inference import STEPS, import_compressai
from lic_bench.codecs.compressai.weights import published
from lic_bench.plugins.weights import Weights

compressai = import_compressai()

ARCHITECTURES = (
    "bmshj2018-factorized",
    "bmshj2018-factorized-relu",
    "bmshj2018-hyperprior",
    "bmshj2018-hyperprior-vbr",
    "mbt2018-mean",
    "mbt2018-mean-vbr",
    "mbt2018",
    "mbt2018-vbr",
    "cheng2020-anchor",
    "cheng2020-attn",
)
SIZES = ((1, 1), (1, 7), (17, 31), (64, 64), (257, 129))
WEIGHTS_2 = "bmshj2018-factorized-prior-2-87279a02.pth.tar"


def tiny(architecture: str, seed: int = 0) -> Any:
    """A network of 8 channels whose latents are not all zero."""
    torch.manual_seed(seed)
    cls = compressai.registry.MODELS[architecture]
    if architecture in ("bmshj2018-hyperprior-vbr", "mbt2018-mean-vbr"):
        net = cls(8, 12, vr_entbttlnck=True)
    else:
        net = cls(8) if architecture.startswith("cheng") else cls(8, 12)
    with torch.no_grad():
        [*_, last] = (layer for layer in net.g_a if isinstance(layer, torch.nn.Conv2d))
        last.weight *= 50
    return net.eval()


def save(state: object, path: Path) -> str:
    torch.save(state, path)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A checkpoint of each architecture, not yet updated, as training leaves it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: save(tiny(name).state_dict(), folder / f"{name}.pth") for name in ARCHITECTURES}


def noise(height: int, width: int, seed: int = 1) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def direct(net: Any, image: Image, **options: Any) -> tuple[list[bytes], Image]:
    """What CompressAI's evaluation does with an image: its strings, and 8-bit pixels."""
    x = torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None].contiguous()
    padding, crop = compressai.ops.compute_padding(*image.shape[:2], min_div=64)
    with torch.no_grad():
        coded = net.compress(torch.nn.functional.pad(x, padding), **options)
        decoded = net.decompress(coded["strings"], coded["shape"], **options)["x_hat"]
    pixels = pixels_of(torch.nn.functional.pad(decoded, crop))
    return [strings[0] for strings in coded["strings"]], pixels


def pixels_of(x: torch.Tensor) -> Image:
    pixels: Image = (x[0].permute(1, 2, 0) * 255).clamp(0, 255).round().numpy().astype(np.uint8)
    return pixels


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_strings_and_pixels_are_compressais_own(architecture: str, files: dict[str, str]) -> None:
    codec = CompressAI(architecture, checkpoint=files[architecture])
    net, point, options = tiny(architecture), None, {}
    net.update()
    if architecture.endswith("-vbr"):
        point, options = 3, {"inputscale": torch.tensor(1 / STEPS[2])}
        net.update(force=True, scale=options["inputscale"])
    for height, width in SIZES:
        image = noise(height, width)
        before = image.copy()
        strings, pixels = direct(net, image, **options)
        stream = codec.encode(image, point)
        assert stream.endswith(b"".join(strings))
        header = len(stream) - len(b"".join(strings))
        wide = (height > 127) + (width > 127)
        assert header == 15 + wide + (0 if len(strings) == 1 else 1 + (len(strings[0]) > 127))
        decoded = CompressAI(architecture, checkpoint=files[architecture]).decode(stream)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, pixels)
        assert (image == before).all()
    assert pixels.std() > 1


@pytest.mark.parametrize("architecture", ["bmshj2018-hyperprior-vbr", "mbt2018-vbr"])
def test_a_variable_rate_model_takes_any_order_of_points(
    architecture: str, files: dict[str, str], photo: Image
) -> None:
    codec = CompressAI(architecture, checkpoint=files[architecture])
    image = photo[:64, :96]
    streams = {point: codec.encode(image, point) for point in (1, 8, 4)}
    assert len(streams[1]) < len(streams[4]) < len(streams[8])
    for point in (8, 1, 4):
        scale = torch.tensor(1 / STEPS[point - 1])
        net = tiny(architecture)
        net.update(force=True, scale=scale)
        strings, pixels = direct(net, image, inputscale=scale)
        assert streams[point].endswith(b"".join(strings))
        np.testing.assert_array_equal(codec.decode(streams[point]), pixels)


def test_what_a_training_saves_is_read(tmp_path: Path) -> None:
    # As examples/train.py of CompressAI does, with a network that was trained on several GPUs.
    net = tiny("mbt2018-mean")
    adam = torch.optim.Adam(net.parameters(), lr=1e-4)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, "min")
    loss = net(torch.rand(1, 3, 64, 64))["x_hat"].square().mean()
    loss.backward()
    adam.step()
    scheduler.step(loss.item())
    state = net.state_dict()
    saved = {
        "epoch": 3,
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "loss": loss,
        "optimizer": adam.state_dict(),
        "aux_optimizer": adam.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
    }
    trained = CompressAI("mbt2018-mean", checkpoint=save(saved, tmp_path / "checkpoint.pth.tar"))
    assert trained.points == (None,)
    trained.check_point(None)
    net.update()
    _, pixels = direct(net, noise(30, 50))
    np.testing.assert_array_equal(trained.decode(trained.encode(noise(30, 50), None)), pixels)


def test_tables_that_a_file_holds_are_used_as_they_are(tmp_path: Path) -> None:
    net = tiny("bmshj2018-factorized")
    net.update()
    with torch.no_grad():  # the shared weights are like that: new tables would be worse ones
        for bias in net.entropy_bottleneck.biases:
            bias += 0.3
    codec = CompressAI(checkpoint=save(net.state_dict(), tmp_path / "weights.pth"))
    [string], pixels = direct(net, noise(64, 64))
    stream = codec.encode(noise(64, 64), None)
    assert stream.endswith(string)
    np.testing.assert_array_equal(codec.decode(stream), pixels)


@pytest.mark.parametrize("architecture", ["bmshj2018-factorized", "mbt2018-mean", "mbt2018"])
def test_a_stream_made_in_a_batch_decodes_alone(architecture: str, files: dict[str, str]) -> None:
    codec = CompressAI(architecture, checkpoint=files[architecture])
    images = [noise(64, 128, seed) for seed in range(3)]
    net = tiny(architecture)
    net.update()
    for image, stream in zip(images, codec.encode_batch(images, None), strict=True):
        strings = unpack(stream, 1 if "factorized" in architecture else 2).strings
        shape = (64 // net.downsampling_factor, 128 // net.downsampling_factor)
        with torch.no_grad():
            found = net.decompress([[string] for string in strings], shape)["x_hat"]
        np.testing.assert_array_equal(codec.decode(stream), pixels_of(found))
        # A batch may round a latent otherwise, no more.
        assert len(stream) == pytest.approx(len(codec.encode(image, None)), abs=8)


def test_streams_decode_together_whatever_their_sizes_and_points(files: dict[str, str]) -> None:
    codec = CompressAI("mbt2018-mean-vbr", checkpoint=files["mbt2018-mean-vbr"])
    streams = [
        codec.encode(noise(70, 40), 8),
        codec.encode(noise(20, 90), 8),
        codec.encode(noise(70, 40, 2), 8),
        codec.encode(noise(70, 40), 1),
        codec.encode(noise(70, 40), 8),
    ]
    together = codec.decode_batch(streams)
    for stream, image in zip(streams, together, strict=True):
        alone = codec.decode(stream)
        assert image.shape == alone.shape
        assert np.abs(image.astype(int) - alone).max() <= 1
    assert (together[0] != together[3]).any()
    assert codec.decode_batch([]) == []


@pytest.mark.parametrize("architecture", ["bmshj2018-factorized", "mbt2018-mean"])
def test_damaged_streams_are_refused_before_a_network_runs(
    architecture: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = CompressAI(architecture, checkpoint=files[architecture])
    stream = codec.encode(noise(17, 31), None)
    monkeypatch.setattr(inference, "load_model", lambda *_: pytest.fail("the network was loaded"))
    for length in range(len(stream)):
        with pytest.raises(BitstreamError):
            codec.decode(stream[:length])
    for position in range(len(stream)):
        for bit in range(8):
            damaged = bytearray(stream)
            damaged[position] ^= 1 << bit
            with pytest.raises(BitstreamError):
                codec.decode(bytes(damaged))
    for foreign in (b"", b"\0", b"hello", bytes(1000), b"LICw" + stream[4:], stream + b"\0"):
        with pytest.raises(BitstreamError):
            codec.decode(foreign)


def test_a_stream_made_with_other_weights_is_refused(tmp_path: Path) -> None:
    paths = [
        save(tiny("bmshj2018-factorized", seed).state_dict(), tmp_path / f"{seed}.pth")
        for seed in range(2)
    ]
    stream = CompressAI(checkpoint=paths[0]).encode(noise(8, 8), None)
    with pytest.raises(BitstreamError, match="other weights"):
        CompressAI(checkpoint=paths[1]).decode(stream)


def test_a_curve_from_many_checkpoints(tmp_path: Path) -> None:
    nets = {}
    for rate, seed in ((0.1, 0), (0.013, 1), (0.0035, 2)):
        nets[rate] = tiny("bmshj2018-factorized", seed)
        save({"state_dict": nets[rate].state_dict()}, tmp_path / f"lambda-{rate}.pth.tar")
    spec = f"compressai:checkpoint={tmp_path}/lambda-{{point}}.pth.tar"
    codec = Registry().codec(spec)
    assert codec.points == (0.0035, 0.013, 0.1)
    assert parse_points(codec, ["0.1", "0.0035"]) == [0.1, 0.0035]
    with pytest.raises(SpecError, match=r"0\.5 is no checkpoint: 0\.0035, 0\.013, 0\.1"):
        parse_points(codec, ["0.5"])
    streams = {rate: codec.encode(noise(40, 70), rate) for rate in codec.points}
    for rate, net in nets.items():
        net.update()
        [string], pixels = direct(net, noise(40, 70))
        assert streams[rate].endswith(string)
        np.testing.assert_array_equal(Registry().codec(spec).decode(streams[rate]), pixels)
    # Without one of them, its stream is refused, whichever stands in its place now.
    (tmp_path / "lambda-0.013.pth.tar").unlink()
    assert Registry().codec(spec).decode(streams[0.0035]).shape == (40, 70, 3)
    with pytest.raises(BitstreamError, match="other weights"):
        Registry().codec(spec).decode(streams[0.013])
    with pytest.raises(SpecError, match="one checkpoint for all of its points"):
        Registry().codec(spec.replace(":", ":model=mbt2018-vbr,", 1))


def test_weights_written_anew_under_the_same_name_are_loaded_anew(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    codec = CompressAI(checkpoint=save(tiny("bmshj2018-factorized", 0).state_dict(), path))
    before, identity = codec.encode(noise(64, 64), None), codec.versions()
    save(tiny("bmshj2018-factorized", 1).state_dict(), path)
    os.utime(path, (1, 1))
    assert codec.versions() != identity
    assert codec.encode(noise(64, 64), None) != before


class Malice:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_files_that_hold_no_weights_are_refused_and_nothing_in_them_runs(tmp_path: Path) -> None:
    path, victim = tmp_path / "file.pth", tmp_path / "victim"
    for content in (b"", b"hello", bytes(1000), pickle.dumps(Malice(victim), 2)):
        path.write_bytes(content)
        with pytest.raises(UnavailableError, match=r"file\.pth holds no weights"):
            CompressAI(checkpoint=str(path)).check_point(None)
    state = tiny("bmshj2018-factorized").state_dict()
    for saved in ({"state_dict": state, "more": Malice(victim)}, [1, 2], {"loss": 3.0}):
        with pytest.raises(UnavailableError, match=r"file\.pth holds no"):
            CompressAI(checkpoint=save(saved, path)).check_point(None)
    assert not victim.exists()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_of_another_architecture_are_refused(
    architecture: str, files: dict[str, str]
) -> None:
    for other in ARCHITECTURES:
        codec = CompressAI(architecture, checkpoint=files[other])
        if architecture == other:
            codec.check_point(codec.points[0])
        else:
            with pytest.raises(UnavailableError, match=f"{other}.* no weights of {architecture};"):
                codec.check_point(codec.points[0])


def test_options_that_cannot_be_are_refused() -> None:
    for spec, told in {
        "compressai:checkpoint=nowhere.pth": "there is no file",
        "compressai:model=bmshj2018-factorized-relu": "no published weights",
        "compressai:model=mbt2018-vbr,metric=ms-ssim": "no published weights",
        "compressai:model=vgg": "bmshj2018-hyperprior",
    }.items():
        with pytest.raises(SpecError, match=told):
            Registry().codec(spec)
    for point in (0, 9, 2.5, None, "2"):
        with pytest.raises(SpecError, match="no quality: 1, 2, 3, 4, 5, 6, 7, 8"):
            Registry().codec("compressai").check_point(point)


def test_the_published_weights_are_those_of_compressais_zoo() -> None:
    zoo = compressai.zoo
    fixed, variable = zoo.image.model_urls, zoo.image_vbr.model_urls
    theirs = {
        (model, metric): list(urls.values()) if model in fixed else [urls]
        for model, metrics in (fixed | variable).items()
        for metric, urls in metrics.items()
    }
    ours = {
        (model, metric): [one.url for one in published(model, metric)]
        for model in ARCHITECTURES
        for metric in ("mse", "ms-ssim")
        if published(model, metric)
    }
    assert ours == theirs
    for model, metric in ours:
        points = Registry().codec(f"compressai:model={model},metric={metric}").points
        assert len(points) == (8 if model in variable else len(ours[model, metric]))


def test_the_cache_is_torch_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TORCH_HOME", "~/here"), ("XDG_CACHE_HOME", "/there"), ("HOME", "/x")):
        for other in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(other, raising=False)
        monkeypatch.setenv(name, value)
        [one] = published("mbt2018-vbr", "mse")
        assert one.path.parent == Path(torch.hub.get_dir()) / "checkpoints"


def test_weights_are_fetched_once_and_checked(tmp_path: Path) -> None:
    source = tmp_path / "source.pth.tar"
    source.write_bytes(b"some weights")
    digest = hashlib.sha256(b"some weights").hexdigest()[:8]
    good = Weights(tmp_path / "cache" / f"good-1-{digest}.pth.tar", source.as_uri(), digest)
    assert good.digest() == digest
    good.fetch()
    assert good.path.read_bytes() == b"some weights"
    source.unlink()
    good.fetch()
    assert good.digest() == digest
    source.write_bytes(b"other weights")
    bad = Weights(tmp_path / "cache" / "bad-1-00000000.pth.tar", source.as_uri(), "00000000")
    with pytest.raises(UnavailableError, match="hash"):
        bad.fetch()
    assert not bad.path.exists()


def test_without_weights_and_network_a_run_tells_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    codec = Registry().codec("compressai")
    with pytest.raises(UnavailableError) as told:
        codec.check_point(3)
    [file] = (one for one in published("bmshj2018-factorized", "mse") if "prior-3" in one.url)
    first, second = str(told.value).splitlines()
    for word in (file.url, str(tmp_path / "hub" / "checkpoints"), "no network"):
        assert word in first
    for one in published("bmshj2018-factorized", "mse"):
        assert one.path.name in second
    assert "At hand" not in second
    before = codec.versions()
    cached = tmp_path / "hub" / "checkpoints" / WEIGHTS_2
    net = tiny("bmshj2018-factorized")
    net.update()
    save(net.state_dict(), cached)
    codec.check_point(2)
    with pytest.raises(UnavailableError, match=r"At hand: --points 2\."):
        codec.check_point(3)
    # The file is not what its name says: it is used, but not under that name.
    digest = hashlib.sha256(cached.read_bytes()).hexdigest()[:8]
    assert codec.versions()["weights"] == before["weights"].replace("87279a02", digest)
    assert unpack(codec.encode(noise(8, 8), 2), 1).weights.hex() == digest


def test_a_run_measures_and_another_process_decodes(
    files: dict[str, str], tmp_path: Path, photo: Image
) -> None:
    lic_bench.write_image(tmp_path / "photo.png", photo)
    spec = f"compressai:model=mbt2018-mean,checkpoint={files['mbt2018-mean']}"
    [row] = lic_bench.run([spec], [str(tmp_path / "photo.png")], out=tmp_path).to_dict("records")
    net = tiny("mbt2018-mean")
    net.update()
    strings, pixels = direct(net, photo)
    assert row["error"] is None
    assert row["bytes"] == len(b"".join(strings)) + 20
    assert row["psnr_rgb_db"] == pytest.approx(
        lic_bench.image_metrics(photo, pixels)["psnr_rgb_db"]
    )
    (tmp_path / "stream").write_bytes(Registry().codec(spec).encode(photo, None))
    command = [sys.executable, "-m", "lic_bench", "decode", "-c", spec, "stream", "back.png"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    back = lic_bench.read_image(tmp_path / "back.png")
    # The bits are exact; sums of its network are not, with another number of threads.
    np.testing.assert_allclose(back, pixels.astype(int), rtol=0, atol=1)


def test_listing_the_codec_imports_neither_torch_nor_compressai(tmp_path: Path) -> None:
    code = """
import sys
from lic_bench import Registry
codec = Registry().codec("compressai")
codec.versions()
assert not {"torch", "compressai"} & set(sys.modules)
"""
    environment = os.environ | {"TORCH_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize(("body", "declared"), [("", False), ("raise RuntimeError(TEXT)", True)])
def test_operators_are_declared_only_where_torchvision_lacks_them(
    tmp_path: Path, body: str, declared: bool
) -> None:
    text = repr("operator torchvision::nms does not exist")
    (tmp_path / "torchvision.py").write_text(body.replace("TEXT", text))
    (tmp_path / "compressai.py").touch()
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import torch
from lic_bench.codecs.compressai.inference import import_compressai
assert import_compressai().__file__ == {str(tmp_path / "compressai.py")!r}
assert hasattr(torch.ops.torchvision, "nms") is {declared}
assert hasattr(torch.ops.torchvision, "qnms") is {declared}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_the_published_weights_give_the_published_figures_on_kodak(
    kodak: Path, tmp_path: Path
) -> None:
    [_, quality_2, *_] = published("bmshj2018-factorized", "mse")
    if not quality_2.at_hand():
        pytest.skip(f"{quality_2.path} is not there")
    table = lic_bench.run(["compressai"], ["kodak"], out=tmp_path, points={"": ["2"]})
    assert len(table) == 24
    assert table["error"].isna().all()
    pixels = table["width"] * table["height"]
    # CompressAI counts the strings, without what they need to be decoded.
    assert (8 * (table["bytes"] - 17) / pixels).mean() == pytest.approx(0.18853, rel=0.005)
    assert table["psnr_rgb_db"].mean() == pytest.approx(28.21, abs=0.01)
