"""The modulated autoencoder against its paper, and its training and streams on a small scale."""

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("numba")

from forgery import forged  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

from lic_bench import BitstreamError, SpecError, UnavailableError  # noqa: E402
from lic_bench.codecs.modulated_autoencoder.codec import ModulatedAutoencoder  # noqa: E402
from lic_bench.codecs.modulated_autoencoder.exact import (  # noqa: E402
    MOST_STEPS,
    step_of_tradeoff,
    tradeoff_of,
)
from lic_bench.codecs.modulated_autoencoder.inference import Model  # noqa: E402
from lic_bench.codecs.modulated_autoencoder.model import (  # noqa: E402
    TRADEOFFS,
    Settings,
    nearest,
)
from lic_bench.codecs.modulated_autoencoder.model import (  # noqa: E402
    ModulatedAutoencoder as Network,
)
from lic_bench.codecs.modulated_autoencoder.start import start  # noqa: E402
from lic_bench.codecs.modulated_autoencoder.training import (  # noqa: E402
    Plan,
    Session,
    plan_for,
)
from lic_bench.codecs.modulated_autoencoder.weights import weights_file  # noqa: E402
from lic_bench.learned.data import Photographs  # noqa: E402
from lic_bench.learned.options import TrainingOptions  # noqa: E402
from lic_bench.learned.training import Clock, Recipe  # noqa: E402

SMALL = Settings(16, 24, 8)
SIZES = ((1, 1), (17, 63), (64, 64), (100, 130))


def waves(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    shade = 128 + 70 * np.sin((x * rng.normal() + y * rng.normal()) / 9)
    image = shade[..., None] * (1, 0.8, 0.6) + rng.normal(0, 6, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


def photographs(count=20):
    return Photographs(
        [torch.from_numpy(waves(96, 112, seed)) for seed in range(count)],
        [str(seed) for seed in range(count)],
    )


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A network that has only begun: for its streams, not for its quality."""
    torch.manual_seed(0)
    net = Network(SMALL)
    start(
        net,
        torch.stack([torch.from_numpy(waves(128, 128, s)) for s in range(8)])
        .permute(0, 3, 1, 2)
        .float(),
    )
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    path.write_bytes(weights_file(net, {}))
    return path


def test_the_default_is_the_papers_network():
    net = Network(Settings())
    convolutions = parameters(net.analysis) + parameters(net.synthesis)
    norms = parameters(net.norms) + parameters(net.inverse_norms)
    steering = parameters(net.modulation) + parameters(net.demodulation)
    # 3.78 M, 0.22 M and 0.06 M: 1.5 % more than a network for one lambda has.
    assert convolutions == (243 + 2 * 25 * 192) * 192 * 2 + 2 * 192 + 2 * 192 + 3
    assert norms == 6 * (192 * 192 + 192)
    assert steering == 6 * (2 * 50 + 51 * 192)
    assert steering / (convolutions + norms) == pytest.approx(0.015, abs=0.0005)
    tradeoff = torch.tensor([64.0, 4096.0])
    y = net.encode(torch.zeros(2, 3, 64, 96), tradeoff)
    assert y.shape == (2, 192, 4, 6)
    assert net.decode(y, tradeoff).shape == (2, 3, 64, 96)


def test_modulation_comes_before_gdn_and_demodulation_after_its_inverse():
    torch.manual_seed(0)
    net = Network(SMALL)
    tradeoff = torch.tensor([300.0])
    x = torch.rand(1, 3, 32, 32) * 255
    y = x / 255
    for conv, factors, norm in zip(net.analysis, net.modulation, net.norms, strict=True):
        y = norm(conv(y) * factors(tradeoff))
    torch.testing.assert_close(net.encode(x, tradeoff), y)
    z = y
    for norm, factors, conv in zip(net.inverse_norms, net.demodulation, net.synthesis, strict=True):
        z = conv(norm(z) * factors(tradeoff))
    torch.testing.assert_close(net.decode(y, tradeoff), 255 * z)


def test_bottleneck_scaling_and_a_network_for_one_lambda_are_steered_less():
    for steering, count in (("bottleneck", 2), ("none", 0)):
        net = Network(Settings(16, 24, 0, steering))
        assert len(net.modulation) + len(net.demodulation) == count
        y = net.encode(torch.rand(1, 3, 32, 32), torch.tensor([64.0]))
        same = torch.equal(y, net.encode(torch.rand(1, 3, 32, 32) * 0, torch.tensor([64.0])))
        assert not same
        assert net.decode(y, torch.tensor([64.0])).shape == (1, 3, 32, 32)


def test_lambdas_of_streams():
    assert [tradeoff_of(step_of_tradeoff(x)) for x in TRADEOFFS] == list(TRADEOFFS)
    assert step_of_tradeoff(4096.0) == MOST_STEPS
    for tradeoff in (65.0, 300.0, 1234.5):
        assert tradeoff_of(step_of_tradeoff(tradeoff)) == pytest.approx(tradeoff, rel=0.009)
    assert nearest(torch.tensor([64.0, 90.0, 91.0, 3000.0])).tolist() == [0, 0, 1, 6]


def test_it_starts_as_an_orthogonal_transform():
    torch.manual_seed(0)
    x = torch.stack([torch.from_numpy(waves(64, 64, s)) for s in range(6)])
    x = x.permute(0, 3, 1, 2).float()
    net = Network(Settings(48, 160))
    start(net, x)
    tradeoff = torch.full((6,), 4096.0)
    error = (net.decode(net.encode(x, tradeoff), tradeoff) - x).square().mean()
    assert float(error.detach()) < 0.2 * float(x.var())
    coarse, fine = (net.encode(x, torch.full((6,), t)).square().mean() for t in (64.0, 4096.0))
    assert float((fine / coarse).sqrt().detach()) == pytest.approx(8, rel=0.2)  # root of 4096 / 64


def session(out, steps, **changes):
    plan = Plan(SMALL, Recipe("fast", 1e-3, 4, 64), **changes)
    return Session(plan, steps, photographs(), out, torch.device("cpu"))


@pytest.mark.slow
def test_a_training_in_pieces_takes_the_same_steps(tmp_path):
    steps = (("prior", 3), ("all", 4))
    whole = session(tmp_path / "whole", steps)
    whole.run(Clock(None), lambda _: None)
    assert whole.finished
    piece = session(tmp_path / "pieces", steps)
    for _ in range(2):
        piece.trainer.advance(lambda step: piece.loss("prior", step))
    piece.save()
    again = session(tmp_path / "pieces", steps)
    assert again.share() == pytest.approx(2 / 7)
    again.run(Clock(None), lambda _: None)
    for key, value in whole.module.state_dict().items():
        torch.testing.assert_close(again.module.state_dict()[key], value)
    with pytest.raises(SpecError, match="seed"):
        session(tmp_path / "pieces", steps, seed=1)


@pytest.mark.slow
def test_it_learns_a_single_crop(tmp_path):
    """From random weights, by the paper's recipe at a higher rate."""
    plan = Plan(SMALL, Recipe("paper", 3e-3, 2, 64), tradeoffs=(2048.0,))
    images = Photographs([torch.from_numpy(waves(64, 64))] * 18, [str(k) for k in range(18)])
    run = Session(plan, (("all", 150),), images, tmp_path, torch.device("cpu"))
    first = float(run.loss("all", 0)[0].detach())
    run.run(Clock(None), lambda _: None)
    assert float(run.loss("all", 0)[0].detach()) < 0.4 * first


@pytest.mark.parametrize("prior", ["hyperprior", "factorised"])
def test_streams_are_what_the_network_makes(weights, prior):
    model = Model(weights, prior, "cpu")
    codec = ModulatedAutoencoder(prior=prior, weights=str(weights))
    for size in SIZES:
        image = waves(*size)
        for point in (64.0, 300.0, 4096.0):
            stream = codec.encode(image, point)
            step = step_of_tradeoff(point)
            estimated = model.estimate(image, step)
            assert 8 * (len(stream) - 18) == pytest.approx(estimated, rel=0.01, abs=24)
            found = codec.decode(stream)
            assert found.shape == image.shape
            x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            side = 64 if prior == "hyperprior" else 16
            x = torch.nn.functional.pad(x, (0, -size[1] % side, 0, -size[0] % side), "replicate")
            tradeoff = torch.tensor([tradeoff_of(step)])
            with torch.no_grad():
                y = model.net.encode(x, tradeoff).round()
                shown = model.net.decode(y, tradeoff).round().clamp(0, 255)
            shown = shown[0].permute(1, 2, 0).numpy()[: size[0], : size[1]]
            # The decoder's whole numbers against floating point.
            assert np.abs(shown - found).max() <= 1
            assert np.abs(shown - found).mean() < 0.05  # one in twenty rounds the other way


def test_tiles_leave_no_seams(weights, monkeypatch):
    codec = ModulatedAutoencoder(weights=str(weights))
    image = waves(256, 320)
    stream = codec.encode(image, 1024.0)
    whole = codec.decode(stream)
    monkeypatch.setattr("lic_bench.codecs.modulated_autoencoder.inference._TILE", 4)
    monkeypatch.setattr("lic_bench.codecs.modulated_autoencoder.inference._MARGIN", 3)
    np.testing.assert_array_equal(codec.decode(stream), whole)


def test_damaged_streams_are_refused(weights):
    codec = ModulatedAutoencoder(weights=str(weights))
    stream = codec.encode(waves(70, 90), 512.0)
    for length in range(0, len(stream), 7):
        with pytest.raises(BitstreamError):
            codec.decode(stream[:length])
    other = ModulatedAutoencoder(prior="factorised", weights=str(weights))
    with pytest.raises(BitstreamError, match="begins with"):
        other.decode(stream)


@pytest.mark.parametrize("network", ["modulation.2", "demodulation.1", "hyperprior.scale"])
@pytest.mark.parametrize("log", [1e3, -1e3])
def test_a_modulation_beyond_all_floats_is_refused_or_coded(weights, tmp_path, network, log):
    """Exp of 1000 is no number: an encoder's latents may be none, a decoder's factors must be."""
    tensors = load_file(weights)
    tensors[f"net.{network}.out.bias"][:] = log
    metadata = safe_open(weights, "np").metadata()
    save_file(tensors, tmp_path / "w.safetensors", metadata)
    codec = ModulatedAutoencoder(weights=str(tmp_path / "w.safetensors"))
    image = waves(64, 64)
    if network == "modulation.2":
        assert codec.decode(codec.encode(image, 512.0)).shape == image.shape
    else:
        with pytest.raises(UnavailableError, match="too strong"):
            codec.encode(image, 512.0)


@pytest.mark.parametrize("prior", ["hyperprior", "factorised"])
def test_streams_made_up_under_a_right_checksum_are_refused_or_decoded(weights, prior):
    codec = ModulatedAutoencoder(prior=prior, weights=str(weights))
    stream = codec.encode(waves(70, 90), 512.0)
    assert forged(stream, stream[18:]) == stream
    rng = random.Random(0)  # noqa: S311
    for _ in range(60):
        damaged = bytearray(stream[18:])
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        fill = bytes([rng.choice((0, 1, 128, 255))])
        payload = rng.choice((bytes(damaged), rng.randbytes(rng.randrange(400)), 200 * fill))
        width, height = rng.choice(((90, 70), (1, 1), (200, 16)))
        made = forged(stream, payload, width=width, height=height, point=rng.randrange(241))
        with suppress(BitstreamError):
            assert codec.decode(made).shape == (height, width, 3)
    for payload in (b"", stream[18:], bytes(100)):
        with pytest.raises(BitstreamError):
            codec.decode(forged(stream, payload, width=11585, height=11585))
    with pytest.raises(BitstreamError, match="makes no sense"):
        codec.decode(forged(stream, stream[18:], point=241))


def test_lambdas_outside_the_range_are_refused(weights):
    codec = ModulatedAutoencoder(weights=str(weights))
    for point in (63.0, 5000.0, "512", True):
        with pytest.raises(SpecError):
            codec.check_point(point)


def test_without_weights_it_is_not_ready(monkeypatch, tmp_path):
    monkeypatch.setattr(ModulatedAutoencoder, "files", (tmp_path / "none.safetensors",))
    assert "reinstall lic-bench" in ModulatedAutoencoder.unavailable()


def test_weights_of_others_are_refused(tmp_path, weights):
    content = weights.read_bytes()
    with pytest.raises(SpecError, match="no such file"):
        ModulatedAutoencoder(weights=str(tmp_path / "missing"))
    for name, bad in (("noise", b"\x00" * 64), ("cut", content[:-64]), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(bad)
        with pytest.raises(UnavailableError, match=name):
            ModulatedAutoencoder(weights=str(path)).encode(waves(16, 16), 64.0)


def test_what_the_recipes_are():
    options = TrainingOptions((Path("a"),), Path("b"))
    plan, steps = plan_for(options)
    assert (plan.settings, steps) == (Settings(hyper=128), (("all", 1_200_000),))
    fast, stages = plan_for(TrainingOptions((Path("a"),), Path("b"), recipe="fast", steps=100))
    assert fast.fast and sum(count for _, count in stages) == 100
    with pytest.raises(SpecError, match="--target-bpp"):
        plan_for(TrainingOptions((Path("a"),), Path("b"), target_bpp=(0.2,)))
