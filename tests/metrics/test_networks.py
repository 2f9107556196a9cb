"""LPIPS and DISTS: the networks beside torchvision's, and where their weights come from.

What needs no published weights is tested with random ones; beside the authors' packages:
test_reference_scores.py.
"""

import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lic_bench import Image, SpecError, UnavailableError
from lic_bench.checks import metric_contract
from lic_bench.checks.metric_contract import CHECKS, Subject
from lic_bench.execution.figures import References, asked
from lic_bench.metric.base import Comparison, scores_of
from lic_bench.metric.registry import MetricRegistry, metrics
from lic_bench.plugins.identity import identity

if find_spec("torch") is None:
    pytest.skip("torch is not installed", allow_module_level=True)

import torch

from lic_bench.metrics.backbones import _STAGES, Name, Network, _load, heads
from lic_bench.metrics.dists import Dists, _pool
from lic_bench.metrics.lpips import Lpips


def parameters(name: Name) -> dict[str, torch.Tensor]:
    """Random weights that keep the size of what goes through."""
    generator = torch.Generator().manual_seed(3)
    made = {}
    for one in (one for stage in _STAGES[name] for one in stage):
        shape = (one.outputs, one.inputs, one.side, one.side)
        deviation = (2 / (one.inputs * one.side**2)) ** 0.5
        made[f"features.{one.layer}.weight"] = deviation * torch.randn(shape, generator=generator)
        made[f"features.{one.layer}.bias"] = 0.1 * torch.randn(one.outputs, generator=generator)
    return made


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights of AlexNet, with the classifier's as published files have them."""
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({**parameters("alexnet"), "classifier.1.bias": torch.zeros(2)}, path)
    return path


@pytest.mark.parametrize(
    ("name", "places"), [("alexnet", (1, 4, 7, 9, 11)), ("vgg16", (3, 8, 15, 22, 29))]
)
def test_the_networks_are_torchvisions(name: Name, places: tuple[int, ...]) -> None:
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from lic_bench.plugins.torchvision import import_with_torchvision

    models: Any = import_with_torchvision("torchvision.models")
    layers = (
        models.alexnet(weights=None).features
        if name == "alexnet"
        else models.vgg.make_layers(models.vgg.cfgs["D"], batch_norm=False)
    )
    ours = parameters(name)
    layers.load_state_dict({key.removeprefix("features."): value for key, value in ours.items()})
    image = torch.randn((1, 3, 101, 85), generator=torch.Generator().manual_seed(1))
    expected, x = [], image
    with torch.inference_mode():
        for index, layer in enumerate(layers):
            x = layer(x.clone())  # what is rectified is changed in its place
            if index in places:
                expected.append(x.clone())
        found = list(Network(name, ours).features(image.clone()))
    assert len(found) == 5
    for theirs, stage in zip(expected, found, strict=True):
        torch.testing.assert_close(stage, theirs)


def test_the_pooling_of_dists_is_a_norm_under_a_window() -> None:
    x = np.random.default_rng(0).normal(size=(2, 6, 7))
    window = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]) / 4
    wide = np.pad(x**2, ((0, 0), (1, 1), (1, 1)))
    expected = [
        [
            [np.sqrt((wide[c, i : i + 3, j : j + 3] * window).sum()) for j in range(0, 7, 2)]
            for i in range(0, 6, 2)
        ]
        for c in range(2)
    ]
    found = _pool(torch.from_numpy(x)[None])[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture
def pair(photo: Image) -> tuple[Image, Image]:
    image = photo[60:124, 40:120]
    noise = np.random.default_rng(0).normal(0, 20, image.shape)
    return image, np.clip(image + noise, 0, 255).astype(np.uint8)


def stages(network: Network, image: Image, mean: Any, deviation: Any, *pool: Any) -> list[Any]:
    """The features of an image whose samples are from 0 to 1: of each stage, C x H x W."""
    x = torch.from_numpy((image / 255 - mean) / deviation).float().permute(2, 0, 1)[None]
    with torch.inference_mode():
        return [stage[0].double().numpy() for stage in network.features(x, *pool)]


def test_lpips_is_the_sum_of_equation_1(pair: tuple[Image, Image]) -> None:
    network, metric = Network("alexnet", parameters("alexnet")), Lpips()
    metric._backbone.network = lambda device: network  # type: ignore[method-assign]
    # Of samples in 0 to 1, what the paper's program subtracts from those in -1 to 1.
    mean, deviation = (np.array([0.97, 0.912, 0.812]) / 2, np.array([0.458, 0.448, 0.45]) / 2)
    first, second = (stages(network, image, mean, deviation) for image in pair)
    expected = 0.0
    for number, (x, y) in enumerate(zip(first, second, strict=True)):
        x, y = (z / np.sqrt((z**2).sum(0) + 1e-10) for z in (x, y))
        weight = heads()[f"lpips_alex_{number}"]
        expected += float((((x - y) ** 2) * weight[:, None, None]).sum(0).mean())
    assert metric.prepare(pair[0])(pair[1]) == pytest.approx(expected, rel=1e-4)


def test_dists_is_that_of_equations_4_to_6(pair: tuple[Image, Image]) -> None:
    network, metric = Network("vgg16", parameters("vgg16")), Dists()
    metric._backbone.network = lambda device: network  # type: ignore[method-assign]
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    first, second = (
        [image.transpose(2, 0, 1) / 255, *stages(network, image, mean, deviation, _pool)]
        for image in pair
    )
    texture, structure = [], []
    for x, y in zip(first, second, strict=True):
        for a, b in zip(x.reshape(len(x), -1), y.reshape(len(y), -1), strict=True):
            (var_a, cov), (_, var_b) = np.cov(a, b, bias=True)
            texture.append(
                (2 * a.mean() * b.mean() + 1e-6) / (a.mean() ** 2 + b.mean() ** 2 + 1e-6)
            )
            structure.append((2 * cov + 1e-6) / (var_a + var_b + 1e-6))
    alpha, beta = (heads()[f"dists_{name}"].astype(float) for name in ("alpha", "beta"))
    alike = (alpha @ np.array(texture) + beta @ np.array(structure)) / (alpha.sum() + beta.sum())
    assert metric.prepare(pair[0])(pair[1]) == pytest.approx(1 - float(alike), abs=1e-5)


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights of VGG16."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save(parameters("vgg16"), path)
    return path


@pytest.mark.slow
def test_lpips_keeps_the_contract(alexnet: Path) -> None:
    for check in CHECKS:
        check(Subject(f"lpips:weights={alexnet}"))


class Here:
    """What stands for the process of a metric: this one, where torch and the network are already.

    That another process gives the same is checked of LPIPS by AlexNet, whose code is shared.
    """

    def __init__(self, subject: Subject) -> None:
        metric = subject.metric()
        self.scores, self._asked = scores_of(metric), asked({subject.spec: metric})

    def figures(self, reference: Image, distorted: Image) -> dict[str, float | None]:
        found = References(reference).figures(self._asked, distorted)
        assert not found.errors
        return found.values

    def close(self) -> None:
        pass


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in the processes that metrics run in."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["lpips_vgg", "dists"])
def test_the_metrics_of_vgg16_keep_the_contract(
    name: str, vgg16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_contract, "_Process", Here)
    monkeypatch.setattr(metric_contract, "_SIDE", 64)
    for check in CHECKS:
        check(Subject(f"{name}:weights={vgg16}"))


def test_the_identity_holds_the_weights_wherever_they_lie(alexnet: Path, tmp_path: Path) -> None:
    there = tmp_path / "alexnet.pth"
    there.write_bytes(alexnet.read_bytes())
    own = identity(Lpips(str(alexnet)))
    assert identity(Lpips(str(there))) == own
    torch.save({**parameters("alexnet"), "more": torch.zeros(3)}, there)
    assert identity(Lpips(str(there))) != own
    assert "7be5be791159472b" in identity(Lpips())  # where nothing is at hand, too


def refuse(*_: object, **__: object) -> None:
    raise urllib.error.URLError("no network")


def test_without_weights_and_network_it_says_what_to_do_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name, file in (("lpips", "alexnet-owt-7be5be79.pth"), ("dists", "vgg16-397923af.pth")):
        with pytest.raises(UnavailableError) as told:
            metrics([name])
        for word in (f"https://download.pytorch.org/models/{file}", "no network", str(tmp_path)):
            assert word in str(told.value)
    # A file that is not what its name says.
    cache = tmp_path / "hub" / "checkpoints"
    (cache / "alexnet-owt-7be5be79.pth").write_bytes(b"half of it")
    with pytest.raises(UnavailableError, match=r"is not what https.*holds.*delete it"):
        metrics(["lpips"])


def test_files_that_are_no_weights_are_refused(alexnet: Path, tmp_path: Path, noise: Image) -> None:
    with pytest.raises(SpecError, match="there is no file of weights nowhere"):
        MetricRegistry().metric("lpips:weights=nowhere")
    path = tmp_path / "bad.pth"
    for content in (b"", b"no weights", alexnet.read_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(UnavailableError, match=r"bad\.pth holds no weights \("):
            metrics([f"lpips:weights={path}"])
    with pytest.raises(UnavailableError, match=r"no weights of vgg16: features\.0\.weight is"):
        metrics([f"dists:weights={alexnet}"])
    torch.save([torch.zeros(3)], path)
    with pytest.raises(UnavailableError, match="no weights by name"):
        metrics([f"lpips:weights={path}"])
    broken = parameters("alexnet")
    broken["features.8.bias"] = torch.full((256,), float("nan"))
    torch.save(broken, path)
    with pytest.raises(UnavailableError, match=r"no number, in features\.8\.bias"):
        metrics([f"lpips:weights={path}"])


def test_a_reference_serves_several_pictures(alexnet: Path, noise: Image) -> None:
    image = np.tile(noise, (2, 2, 1))
    others = [np.roll(image, 3, axis=0), image // 2]
    metric = Lpips(str(alexnet))
    compare = Comparison(metric, image).compare
    together = [compare(one)["lpips"] for one in (*others, image)]
    alone = [Comparison(metric, image).compare(one)["lpips"] for one in others]
    assert together == [*alone, 0]
    assert all(value and value > 0 for value in alone)


def test_listing_them_imports_no_torch() -> None:
    code = """
import sys
from lic_bench.metric.registry import MetricRegistry
from lic_bench.plugins.identity import identity
for name in ("lpips", "dists"):
    identity(MetricRegistry().metric(name))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_network_is_loaded_once(alexnet: Path) -> None:
    _load.cache_clear()
    for _ in range(3):
        metrics([f"lpips:weights={alexnet}"])
    assert _load.cache_info().misses == 1
