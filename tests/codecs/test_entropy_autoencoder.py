"""The three coders of one autoencoder's numbers: the same pictures, and bytes as they say."""

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("numba")

from forgery import forged  # noqa: E402

from lic_bench import BitstreamError, SpecError, UnavailableError  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.codec import CompressiveAutoencoder  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.inference import Transform  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.model import (  # noqa: E402
    LATENTS,
    STEPS,
    Mixtures,
)
from lic_bench.codecs.compressive_autoencoder.model import (  # noqa: E402
    CompressiveAutoencoder as Network,
)
from lic_bench.codecs.compressive_autoencoder.model import Settings as NetworkSettings  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.start import normalise, start  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.weights import counted as histograms  # noqa: E402
from lic_bench.codecs.compressive_autoencoder.weights import (  # noqa: E402
    weights_file as transform_file,
)
from lic_bench.codecs.entropy_autoencoder import inference  # noqa: E402
from lic_bench.codecs.entropy_autoencoder.codec import WEIGHTS, EntropyAutoencoder  # noqa: E402
from lic_bench.codecs.entropy_autoencoder.inference import Model, load_model  # noqa: E402
from lic_bench.codecs.entropy_autoencoder.model import EntropyModels, Settings  # noqa: E402
from lic_bench.codecs.entropy_autoencoder.training import Plan, Session, plan_for  # noqa: E402
from lic_bench.codecs.entropy_autoencoder.weights import counted, weights_file  # noqa: E402
from lic_bench.learned.data import Photographs  # noqa: E402
from lic_bench.learned.options import TrainingOptions  # noqa: E402
from lic_bench.learned.prior_tables import REACH  # noqa: E402
from lic_bench.learned.priors import SCALES  # noqa: E402
from lic_bench.learned.training import Clock, Recipe  # noqa: E402

CODERS = ("histogram", "factorised", "pair")
SMALL = Settings(8, len(STEPS))


def picture(height, width, seed=0):
    """Noise that is strong in some squares and weak in others: what side information can tell."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    strength = np.where((x // 64 + y // 64 + seed) % 2, 50, 2)[..., None]
    image = 128 + strength * rng.normal(0, 1, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def transform(tmp_path_factory) -> Path:
    """A lapped transform: enough for everything but quality."""
    torch.manual_seed(0)
    crops = torch.stack([torch.from_numpy(picture(64, 64, seed)) for seed in range(8)])
    crops = crops.permute(0, 3, 1, 2).float()
    net = Network(NetworkSettings(8, linear=True, rates=len(STEPS)))
    normalise(net, crops)
    start(net, crops, torch.tensor(STEPS))
    net.load_state_dict({key: x.half().float() for key, x in net.state_dict().items()})
    path = tmp_path_factory.mktemp("transform") / "transform.safetensors"
    path.write_bytes(transform_file(net, histograms(net, Mixtures(len(STEPS)), [crops]), {}))
    return path


def session(transform, out, steps):
    images = [torch.from_numpy(picture(160, 160, seed)) for seed in range(20)]
    images = Photographs(images, [str(seed) for seed in range(20)])
    network = Transform(transform, "cpu")
    plan = Plan(SMALL, Recipe("fast", 1e-2, 8, 64), network.sha256)
    return Session(plan, steps, images, out, network)


@pytest.fixture(scope="module")
def trained(transform, tmp_path_factory):
    run = session(transform, tmp_path_factory.mktemp("run"), 15)
    run.run(Clock(None), lambda _: None)
    return run


@pytest.fixture(scope="module")
def weights(trained) -> Path:
    return trained.out / "weights.safetensors"


def codec(coder, weights, transform):
    return EntropyAutoencoder(coder=coder, weights=str(weights), transform=str(transform))


def test_shapes_and_what_the_pair_begins_as():
    models, rate = EntropyModels(Settings(16, 8)), torch.tensor([3, 5])
    deviation = torch.rand(8, LATENTS) + 0.5
    models.set_deviations(deviation)
    side = models.analyse(torch.randn(2, LATENTS, 8, 12).round(), rate)
    assert side.shape == (2, 16, 2, 3)
    scales = models.log_scales(torch.zeros_like(side), rate).exp()
    assert scales.shape == (2, LATENTS, 8, 12)
    wanted = 0.5 * deviation[rate][:, :, None, None].expand_as(scales)
    torch.testing.assert_close(scales, wanted, atol=0, rtol=0.2)


def test_pictures_are_the_same_and_bytes_are_what_tables_say(weights, transform):
    for size in ((1, 1), (17, 63), (100, 130)):
        image = picture(*size)
        for point in (1, 6):
            plain = CompressiveAutoencoder(weights=str(transform))
            wanted = plain.decode(plain.encode(image, point))
            for coder in CODERS:
                own = codec(coder, weights, transform)
                stream = own.encode(image, point)
                np.testing.assert_array_equal(own.decode(stream), wanted)
                bits = sum(
                    load_model(transform, weights, coder, "cpu").estimate(image, point).values()
                )
                assert 8 * (len(stream) - 18) == pytest.approx(bits, rel=0.01, abs=24)


@pytest.mark.slow
def test_both_learn_a_single_crop(transform, tmp_path):
    images = Photographs([torch.from_numpy(picture(96, 96))] * 20, [str(k) for k in range(20)])
    network = Transform(transform, "cpu")
    plan = Plan(SMALL, Recipe("paper", 1e-2, 4, 96), network.sha256)
    run = Session(plan, 60, images, tmp_path, network)
    _, before = run.loss("coders", 0)
    run.run(Clock(None), lambda _: None)
    _, after = run.loss("coders", 0)
    for name in ("factorised_bpp", "pair_bpp"):
        assert float(after[name]) < 0.8 * float(before[name])


def test_what_training_estimates_is_what_tables_say(transform, tmp_path):
    begun = session(transform, tmp_path, 1)
    image, rate, weights = picture(64, 64, seed=40), 5, tmp_path / "weights"
    none = np.zeros((SCALES, 2 * REACH + 1), np.int64)
    weights.write_bytes(weights_file(begun.models, none, begun.transform.sha256, {}))
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    z = begun.transform.chosen(x, rate)
    with torch.no_grad():
        factorised, pair, _ = begun.bits(z, torch.tensor([rate]))
        side = begun.models.analyse(z, torch.tensor([rate])).round()
        side_bits = begun.models.side.bits(side, torch.tensor([rate])).sum()
    found = Model(transform, weights, "factorised", "cpu").estimate(image, rate)
    assert found["factorised"] == pytest.approx(float(factorised), rel=0.02)
    found = Model(transform, weights, "pair", "cpu").estimate(image, rate)
    assert found["scaled"] == pytest.approx(float(pair), rel=0.02)
    assert found["side"] == pytest.approx(float(side_bits), rel=0.02)
    # What is counted fits better.
    counts = counted(begun.models, [(z, torch.tensor([rate]))])
    assert counts.sum() == z.numel()
    weights.write_bytes(weights_file(begun.models, counts, begun.transform.sha256, {}))
    better = Model(transform, weights, "pair", "cpu").estimate(image, rate)
    assert better["scaled"] < 0.95 * found["scaled"]


@pytest.mark.slow
def test_a_training_in_pieces_takes_the_same_steps(transform, tmp_path):
    whole = session(transform, tmp_path / "whole", 4)
    whole.run(Clock(None), lambda _: None)
    piece = session(transform, tmp_path / "pieces", 4)
    piece.trainer.advance(lambda step: piece.loss("coders", step))
    piece.save()
    again = session(transform, tmp_path / "pieces", 4)
    assert again.share() == pytest.approx(1 / 4)
    again.run(Clock(None), lambda _: None)
    for key, value in whole.module.state_dict().items():
        torch.testing.assert_close(again.module.state_dict()[key], value)


def test_tiles_and_threads_leave_no_trace(weights, transform, monkeypatch):
    model, image = Model(transform, weights, "pair", "cpu"), picture(136, 200)
    z = model.transform.coefficients(image, 4)
    _, rows, columns = z.shape
    side = model._side(z, 4)

    def tables():
        found = np.zeros(z.shape, np.int32)
        for place, chosen in model._predicted(side, 4, rows, columns):
            found[:, *place] = chosen
        return found

    whole, threads = tables(), torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert np.array_equal(tables(), whole)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(inference, "_TILE", 3)
    assert np.array_equal(tables(), whole)
    assert np.abs(model._side(z, 4) - side).max() <= 1  # sums in another order


@pytest.mark.parametrize("coder", CODERS)
def test_made_up_streams_are_refused_or_decoded(weights, transform, coder):
    own = codec(coder, weights, transform)
    stream = own.encode(picture(70, 90), 3)
    assert forged(stream, stream[18:]) == stream
    rng = random.Random(0)  # noqa: S311
    for _ in range(15):
        damaged = bytearray(stream[18:])
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        payload = rng.choice((bytes(damaged), rng.randbytes(rng.randrange(400)), b"\xff" * 200))
        made = forged(stream, payload, point=rng.randrange(8))
        with suppress(BitstreamError):
            assert own.decode(made).shape == (70, 90, 3)
    for payload in (b"", stream[18:], bytes(100)):
        with pytest.raises(BitstreamError):
            own.decode(forged(stream, payload, width=11585, height=11585))
    other = codec(CODERS[CODERS.index(coder) - 1], weights, transform)
    with pytest.raises(BitstreamError, match="begins with"):
        other.decode(stream)


def test_weights_of_others_are_refused(tmp_path, weights, transform, monkeypatch):
    content = weights.read_bytes()
    with pytest.raises(SpecError, match="no such file"):
        EntropyAutoencoder(weights=str(tmp_path / "missing"))
    for name, bad in (("noise", b"\x00" * 64), ("cut", content[:-64]), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(bad)
        with pytest.raises(UnavailableError, match=name):
            codec("pair", path, transform).encode(picture(16, 16), 0)
    with pytest.raises(UnavailableError, match="holds no weights"):
        codec("pair", transform, transform).encode(picture(16, 16), 0)
    # Another autoencoder.
    other = tmp_path / "other"
    net = Network(NetworkSettings(8, linear=True, rates=len(STEPS)))
    counts = np.ones((8 * LATENTS, 2401), np.int64)
    other.write_bytes(transform_file(net, counts, {}))
    with pytest.raises(UnavailableError, match="belongs to other weights"):
        codec("pair", weights, other).encode(picture(16, 16), 0)
    monkeypatch.setattr(EntropyAutoencoder, "files", (WEIGHTS, tmp_path / "none.safetensors"))
    assert "reinstall lic-bench" in EntropyAutoencoder.unavailable()


def test_what_the_recipes_are(transform):
    network = Transform(transform, "cpu")
    plan, steps = plan_for(TrainingOptions((Path("a"),), Path("b"), recipe="fast"), network)
    assert (plan.settings, plan.transform, steps) == (Settings(), network.sha256, 4000)
    with pytest.raises(SpecError, match="--rounding"):
        plan_for(TrainingOptions((Path("a"),), Path("b"), rounding="noise"), network)
