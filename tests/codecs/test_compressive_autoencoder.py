"""The compressive autoencoder against its paper, and its training and streams on a small scale."""

import random
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("numba")

from forgery import forged  # noqa: E402
from torch.distributions import Categorical, MixtureSameFamily, Normal  # noqa: E402
from torch.nn.functional import pad  # noqa: E402

from lic_bench import BitstreamError, SpecError, UnavailableError  # noqa: E402
from lic_bench.codecs.compressive_autoencoder import inference, training  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.codec import CompressiveAutoencoder  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.inference import Model  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.model import (  # noqa: E402
    LATENTS,
    Mixtures,
    Settings,
    reflected,
    worth_of,
)
from lic_bench.codecs.compressive_autoencoder.model import (  # noqa: E402
    CompressiveAutoencoder as Network,
)
from lic_bench.codecs.compressive_autoencoder.start import normalise, start  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.training import (  # noqa: E402
    ROUNDINGS,
    STEPS,
    Plan,
    Session,
    clipped,
    plan_for,
)
from lic_bench.codecs.compressive_autoencoder.weights import (  # noqa: E402
    counted,
    histogram_tables,
    weights_file,
)
from lic_bench.learned.data import Photographs  # noqa: E402
from lic_bench.learned.options import TrainingOptions  # noqa: E402
from lic_bench.learned.tables import WHOLE  # noqa: E402
from lic_bench.learned.training import Clock, Recipe  # noqa: E402

FAST = Settings(16, linear=True, rates=len(STEPS))
PLAIN = Settings(16, rates=len(STEPS))
CPU = torch.device("cpu")


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    shade = 128 + 70 * np.sin((x * rng.normal() + y * rng.normal()) / 9)
    image = shade[..., None] * (1, 0.8, 0.6) + rng.normal(0, 6, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


def batch(count=8, side=64):
    crops = [torch.from_numpy(picture(side, side, seed)) for seed in range(count)]
    return torch.stack(crops).permute(0, 3, 1, 2).float()


def begun(settings):
    """A network that has only begun: for its streams, not for its quality."""
    torch.manual_seed(0)
    net = Network(settings)
    normalise(net, batch())
    if settings.linear:
        start(net, batch(), torch.tensor(STEPS))
        with torch.no_grad():  # as after some training
            for half in (net.encoder, net.decoder):
                list(half.parameters())[-2].mul_(10)
    net.load_state_dict({key: x.half().float() for key, x in net.state_dict().items()})
    return net


def mixtures_of(net):
    mixtures, y = Mixtures(net.settings.rates), net.analyse(batch()).detach()
    rates = torch.arange(net.settings.rates)
    found = [net.scaled(y, k.expand(len(y))).square().mean((0, 2, 3)).sqrt() for k in rates]
    mixtures.set_deviations(torch.stack(found).detach())
    return mixtures


@pytest.fixture(scope="module", params=[FAST, PLAIN], ids=["linear", "plain"])
def weights(request, tmp_path_factory) -> Path:
    net = begun(request.param)
    counts = counted(net, mixtures_of(net), [batch()])
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    path.write_bytes(weights_file(net, counts, {}))
    return path


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_the_default_is_the_papers_network():
    net = Network(Settings())
    blocks = 3 * 2 * (9 * 128 * 128 + 128)
    assert parameters(net.encoder) == (
        (25 * 3 * 64 + 64) + (25 * 64 * 128 + 128) + blocks + (25 * 128 * 96 + 96)
    )
    assert parameters(net.decoder) == (
        (9 * 96 * 512 + 512) + blocks + (9 * 128 * 256 + 256) + (9 * 64 * 12 + 12)
    )
    rate = torch.tensor([0, 0])
    y = net.encode(torch.zeros(2, 3, 40, 24), rate)
    assert y.shape == (2, 96, 5, 3)  # 96 coefficients of each 8x8, by valid convolutions
    assert net.decode(y, rate).shape == (2, 3, 40, 24)


def test_images_go_on_as_their_mirror_image_however_small():
    for height, width in ((1, 1), (5, 40), (80, 64)):
        x = torch.rand(1, 3, height, width)
        wanted = np.pad(x.numpy(), ((0, 0), (0, 0), (34, 35), (34, 35)), mode="symmetric")
        np.testing.assert_array_equal(reflected(x).numpy(), wanted)


def test_scales_multiply_before_rounding_and_divide_after():
    net = begun(PLAIN)
    x, rate = batch(2), torch.tensor([1, 1])
    plain = net.encode(x, rate)
    with torch.no_grad():
        net.log_scale[1, 5] += np.log(2)
    doubled = net.encode(x, rate)
    torch.testing.assert_close(doubled[:, 5], 2 * plain[:, 5])
    torch.testing.assert_close(doubled[:, 6], plain[:, 6])
    # Without rounding the picture stays as it was.
    torch.testing.assert_close(net.decode(doubled, rate), net.decode(plain, torch.tensor([0, 0])))


def test_gradients_of_roundings_and_clipping_are_those_of_the_identity():
    torch.manual_seed(0)
    y = torch.tensor([-1.7, -0.2, 0.5, 3.3]).repeat(20_000, 1).requires_grad_()
    for name, rounding in ROUNDINGS.items():
        found = rounding(y)
        found.sum().backward()
        assert torch.equal(y.grad, torch.ones_like(y))
        y.grad = None
        mean = found.detach().mean(0)
        if name == "straight-through":
            assert torch.equal(found[0].detach(), torch.tensor([-2.0, 0.0, 0.0, 3.0]))
        else:  # right in the mean
            torch.testing.assert_close(mean, y[0].detach(), atol=0.01, rtol=0)
        if name == "stochastic":
            assert bool((found == found.round()).all())
            assert bool(((found - y).abs() < 1).all())
        if name == "noise":
            assert float((found - y).abs().max().detach()) <= 0.5
    x = torch.tensor([-10.0, 100.0, 300.0], requires_grad=True)
    shown = clipped(x)
    assert shown.tolist() == [0.0, 100.0, 255.0]
    shown.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_mixtures_are_those_of_torch():
    torch.manual_seed(0)
    mixtures, rate = Mixtures(3), torch.tensor([2, 0])
    with torch.no_grad():
        mixtures.weight.normal_()
        mixtures.log_deviation.normal_()
    v = 3 * torch.randn(2, LATENTS, 2, 2)
    reference = MixtureSameFamily(
        Categorical(logits=mixtures.weight[rate][:, :, None, None].expand(-1, -1, 2, 2, -1)),
        Normal(0.0, mixtures.log_deviation[rate].exp()[:, :, None, None].expand(-1, -1, 2, 2, -1)),
    )
    wanted = -reference.log_prob(v) / np.log(2)
    torch.testing.assert_close(mixtures.density_bits(v, rate), wanted)
    mass = reference.cdf(v.double() + 0.5) - reference.cdf(v.double() - 0.5)
    sure = mass > 1e-4  # of less the difference of two cumulative functions keeps no digits
    found = mixtures.bits(v, rate)[sure]
    torch.testing.assert_close(found, -mass[sure].log2().float(), atol=2e-3, rtol=0)


def test_the_density_of_noise_bounds_the_bits():
    """Jensen: -log2 of the mass is at most the mean of -log2 of the density (section 2.2)."""
    torch.manual_seed(0)
    mixtures, rate = Mixtures(1), torch.zeros(500, dtype=torch.long)
    z = torch.randint(-3, 4, (1, LATENTS, 1, 1)).float().expand(500, -1, -1, -1)
    bound = mixtures.density_bits(z + torch.rand_like(z) - 0.5, rate).mean(0)
    assert bool((bound >= mixtures.bits(z, rate)[0] - 0.02).all())
    fixed = mixtures.density_bits(z[:1], rate[:1], fixed=True)
    assert not fixed.requires_grad


def test_it_starts_as_an_orthonormal_transform():
    torch.manual_seed(0)
    net = Network(Settings(16, linear=True, rates=len(STEPS)))
    x = batch()
    normalise(net, x)
    start(net, x, torch.tensor(STEPS))
    basis = net.analysis.weight.flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(LATENTS), atol=1e-5, rtol=0)
    rate = torch.full((len(x),), 7)
    y = net.encode(x, rate)
    # Nearly all of the energy is in what is kept of 192 coefficients.
    energy = float(y.square().sum().detach()) * 3 * STEPS[7] ** 2
    centred = x - net.mean[:, None, None]
    assert energy == pytest.approx(float(centred.square().sum()), rel=0.1)
    error = (net.decode(y, rate) - x).square().mean()
    assert float(error.detach()) < 0.05 * float(x.var())


def test_a_number_is_chosen_by_what_it_costs_in_all():
    net = begun(FAST)
    rate, z = torch.tensor([2]), 3 * torch.randn(1, LATENTS, 4, 4)
    mixtures = mixtures_of(net)
    bits = partial(mixtures.bits, rate=rate)
    found = net.quantised(z, rate, bits)
    unit = (-net.log_scale[2]).exp().square()[:, None, None] / 3
    worth = float(worth_of(rate))
    candidates = torch.stack([z.round(), z.round() - z.round().sign()])
    total = torch.stack([unit * (z - c).square() + worth * bits(c) for c in candidates])
    chosen = torch.take_along_dim(candidates, total.argmin(0, keepdim=True), 0)[0]
    assert float((found == chosen).float().mean()) > 0.999
    assert bool((found.abs() <= z.round().abs()).all())
    assert 0.01 < float((found != z.round()).float().mean()) < 0.5
    plain = begun(PLAIN)
    assert torch.equal(plain.quantised(z, rate, bits), z.round())


def test_histograms_are_laplaces():
    counts = np.zeros((2, 2401), np.int64)
    counts[0, 1199:1203] = 10, 70, 15, 5
    tables = histogram_tables(counts)

    def chance(row, number):
        at = tables.start[row] + number - tables.lowest[row]
        return (tables.frequencies[at + 1] - tables.frequencies[at]) / WHOLE

    # Of -2 to 3, each counted once more.
    found = [chance(0, number) for number in range(-2, 4)]
    np.testing.assert_allclose(found, np.array([1, 11, 71, 16, 6, 1]) / 106, atol=2e-4)
    # What was never seen is -1, 0 or 1.
    np.testing.assert_allclose([chance(1, number) for number in (-1, 0, 1)], 1 / 3, atol=1e-3)


def photographs(count=20):
    images = [torch.from_numpy(picture(96, 112, seed)) for seed in range(count)]
    return Photographs(images, [str(seed) for seed in range(count)])


@pytest.fixture(autouse=True)
def _few_are_counted(monkeypatch):
    monkeypatch.setattr(training, "_COUNTED", 1)


def session(out, steps, **changes):
    plan = Plan(**{"settings": FAST, "recipe": Recipe("fast", 1e-3, 4, 64), **changes})
    return Session(plan, steps, photographs(), out, CPU)


@pytest.mark.slow
def test_a_training_in_pieces_takes_the_same_steps(tmp_path):
    steps = (("all", 3), ("decoder", 3))
    whole = session(tmp_path / "whole", steps)
    whole.run(Clock(None), lambda _: None)
    assert whole.finished
    piece = session(tmp_path / "pieces", steps)
    for _ in range(2):
        piece.trainer.advance(lambda step: piece.loss("all", step))
    piece.save()
    again = session(tmp_path / "pieces", steps)
    assert again.share() == pytest.approx(2 / 6)
    again.run(Clock(None), lambda _: None)
    for key, value in whole.module.state_dict().items():
        torch.testing.assert_close(again.module.state_dict()[key], value, atol=1e-5, rtol=1e-4)
    with pytest.raises(SpecError, match="rounding"):
        session(tmp_path / "pieces", steps, rounding="noise")


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_it_learns_a_single_crop(tmp_path, rounding):
    """From random weights, by the paper's recipe at a higher rate."""
    plan = Plan(Settings(16), Recipe("paper", 5e-3, 2, 32), rounding)
    images = Photographs([torch.from_numpy(picture(32, 32, 5))] * 18, [str(k) for k in range(18)])
    run = Session(plan, (("network", 150), ("scales", 1)), images, tmp_path, CPU)
    first = float(run.loss("network", 149)[1]["mse"])
    run.run(Clock(None), lambda _: None)
    assert float(run.loss("network", 149)[1]["mse"]) < 0.6 * first


def test_the_papers_stages(tmp_path):
    run = session(tmp_path, (("network", 100), ("scales", 10)), settings=PLAIN)
    # Two coefficients first, then one after the other.
    assert [run.enabled(step) for step in (0, 1, 25, 50, 99)] == [2, 3, 49, 96, 96]
    net, mixtures = run.codec.net, run.codec.mixtures
    for step, trained in ((0, True), (1, False)):  # in turns
        run.codec.zero_grad()
        run.loss("network", step)[0].backward()
        assert (mixtures.weight.grad is not None) == trained
        assert net.encoder[0].weight.grad is not None
    groups = run.groups("scales")
    assert {id(p) for own in groups.values() for p in own} == {
        id(net.log_scale), *map(id, mixtures.parameters())
    }  # fmt: skip


@pytest.mark.parametrize("size", [(1, 1), (17, 63), (64, 64), (100, 130)])
def test_streams_are_what_the_network_makes(weights, size):
    model, codec = Model(weights, "cpu"), CompressiveAutoencoder(weights=str(weights))
    net, image = model.transform.net, picture(*size)
    for point in (0, 4, 7):
        stream = codec.encode(image, point)
        assert 8 * (len(stream) - 18) == pytest.approx(
            model.estimate(image, point), rel=0.01, abs=24
        )
        found = codec.decode(stream)
        assert found.shape == image.shape
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        x = pad(x, (0, -size[1] % 8, 0, -size[0] % 8), "replicate")
        rate = torch.tensor([point])
        with torch.no_grad():
            z = model.transform.chosen(x, point)
            shown = net.decode(z, rate).round().clamp(0, 255)
        shown = shown[0].permute(1, 2, 0).numpy()[: size[0], : size[1]]
        # The decoder's whole numbers against floating point.
        assert np.abs(shown - found).max() <= 1
        assert np.abs(shown - found).mean() < 0.05  # one in twenty rounds the other way


def test_tiles_and_threads_leave_no_trace(weights, monkeypatch):
    codec, image = CompressiveAutoencoder(weights=str(weights)), picture(136, 144)
    stream = codec.encode(image, 4)
    whole = codec.decode(stream)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert np.array_equal(codec.decode(stream), whole)
    finally:
        torch.set_num_threads(threads)
    transform = Model(weights, "cpu").transform
    z = transform.coefficients(image, 4)
    monkeypatch.setattr(inference, "_TILE", 4)
    assert np.array_equal(transform.pixels(z, 4, *image.shape[:2]), whole)
    # Sums in another order.
    assert np.abs(transform.coefficients(image, 4) - z).max() <= 1
    assert (transform.coefficients(image, 4) != z).mean() < 1e-3


def test_made_up_streams_are_refused_or_decoded(weights):
    codec = CompressiveAutoencoder(weights=str(weights))
    stream = codec.encode(picture(70, 90), 3)
    assert forged(stream, stream[18:]) == stream
    for length in range(0, len(stream), 97):
        with pytest.raises(BitstreamError):
            codec.decode(stream[:length])
    rng = random.Random(0)  # noqa: S311
    for _ in range(25):
        damaged = bytearray(stream[18:])
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        fill = bytes([rng.choice((0, 1, 128, 255))])
        payload = rng.choice((bytes(damaged), rng.randbytes(rng.randrange(400)), 200 * fill))
        width, height = rng.choice(((90, 70), (1, 1), (200, 16)))
        made = forged(stream, payload, width=width, height=height, point=rng.randrange(8))
        with suppress(BitstreamError):
            assert codec.decode(made).shape == (height, width, 3)
    for payload in (b"", stream[18:], bytes(100)):
        with pytest.raises(BitstreamError):
            codec.decode(forged(stream, payload, width=11585, height=11585))
    with pytest.raises(BitstreamError, match="makes no sense"):
        codec.decode(forged(stream, stream[18:], point=8))


def test_weights_of_others_are_refused(tmp_path, weights, monkeypatch):
    content = weights.read_bytes()
    with pytest.raises(SpecError, match="no such file"):
        CompressiveAutoencoder(weights=str(tmp_path / "missing"))
    for name, bad in (("noise", b"\x00" * 64), ("cut", content[:-64]), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(bad)
        with pytest.raises(UnavailableError, match=name):
            CompressiveAutoencoder(weights=str(path)).encode(picture(16, 16), 0)
    net = begun(FAST)
    with torch.no_grad():
        net.decoder[0].weight[0] = 60_000
    path = tmp_path / "large"
    path.write_bytes(weights_file(net, np.ones((8 * LATENTS, 2401), np.int64), {}))
    with pytest.raises(UnavailableError, match="too large to be exact"):
        CompressiveAutoencoder(weights=str(path)).encode(picture(16, 16), 0)
    monkeypatch.setattr(CompressiveAutoencoder, "files", (tmp_path / "none.safetensors",))
    assert "reinstall lic-bench" in CompressiveAutoencoder.unavailable()


def test_what_the_recipes_are():
    options = TrainingOptions((Path("a"),), Path("b"), rounding="stochastic")
    plan, steps = plan_for(options)
    assert plan.settings == Settings(rates=len(STEPS))
    assert (plan.recipe, plan.rounding) == (Recipe("paper", 1e-4, 32), "stochastic")
    assert steps == (("network", 1_000_000), ("scales", 10_000))
    fast, stages = plan_for(TrainingOptions((Path("a"),), Path("b"), recipe="fast", steps=100))
    assert fast.settings.linear
    assert sum(count for _, count in stages) == 100
    with pytest.raises(SpecError, match="--target-bpp"):
        plan_for(TrainingOptions((Path("a"),), Path("b"), target_bpp=(0.2,)))
