"""The codec nctu: network, quantisers, importance, bitstream, training."""

from contextlib import suppress
from functools import partial
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("numba")

from forgery import forged  # noqa: E402

from lic_bench import BitstreamError, SpecError, UnavailableError  # noqa: E402
from lic_bench.codecs.nctu import training  # noqa: E402
from lic_bench.codecs.nctu.codec import WEIGHTS, Nctu  # noqa: E402
from lic_bench.codecs.nctu.exact import ExactDecoder  # noqa: E402
from lic_bench.codecs.nctu.inference import features, load_model, numbers  # noqa: E402
from lic_bench.codecs.nctu.model import CHANNELS, NctuNet, Settings  # noqa: E402
from lic_bench.codecs.nctu.quantiser import (  # noqa: E402
    importance_nearness,
    indices,
    kept,
    signed,
    soft_indices,
)
from lic_bench.codecs.nctu.start import STEPS, start  # noqa: E402
from lic_bench.codecs.nctu.training import Plan, Session, SymbolRate, plan_for  # noqa: E402
from lic_bench.codecs.nctu.weights import form, read_weights, weights_file  # noqa: E402
from lic_bench.learned.data import Photographs  # noqa: E402
from lic_bench.learned.options import TrainingOptions  # noqa: E402
from lic_bench.learned.training import Clock, Recipe  # noqa: E402

CPU = torch.device("cpu")
SMALL = Settings(16, 1, 1, False, len(STEPS), True)
PAPER = Settings(16, 1, 1)


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 120 + 60 * np.sin(x / 9)[..., None] + 50 * np.cos(y[..., None] / [7, 11, 17])
    return np.clip(waves + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def batch(*images):
    return torch.stack([torch.from_numpy(x).permute(2, 0, 1).float() for x in images])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Weights of the start alone: enough for everything but quality."""
    torch.manual_seed(0)
    net = NctuNet(SMALL)
    start(net, batch(picture(64, 64)))
    half = np.full((len(STEPS), *form(SMALL).chances), 1 << 15, np.uint16)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    path.write_bytes(weights_file(net, half, {}))
    return path


def test_shapes_and_parameters_are_the_papers():
    """Mentzer et al., with 16 maps: 64 and 128 filters, 16 blocks of two convolutions of 3x3."""
    net = NctuNet(Settings())
    point = torch.zeros(1, dtype=torch.int64)
    net.eval()
    with torch.no_grad():
        z = net.encode(torch.full((1, 3, 64, 32), 90.0), point)
        assert z.shape == (1, 16, 8, 4)
        assert z.min() >= 0 and z.max() <= 1
        assert net.importance(z, point).shape == z.shape
        assert net.decode(net.shown(net.numbers(z), point), point).shape == (1, 3, 64, 32)
    # By hand: convolutions without biases, scale and shift of each normalisation.
    blocks = 32 * (9 * 128 * 128 + 2 * 128)
    encoder = 25 * (3 * 64 + 64 * 128 + 128 * 16) + 2 * (64 + 128 + 16) + blocks
    decoder = 9 * 16 * 128 + 25 * (128 * 64 + 64 * 3) + 2 * (128 + 64 + 3) + blocks
    assert sum(x.numel() for x in net.encoder.parameters()) == encoder
    assert sum(x.numel() for x in net.decoder.parameters()) == decoder


def test_the_quantisers_are_those_of_the_paper():
    """idx = floor(16 z); idx' = (idx >> (4 - P)) << (4 - P), of every index and importance."""
    z = torch.linspace(0, 1, 4097)
    assert torch.equal(indices(z), torch.floor(16 * z).clamp_max(15))
    for index, bits in product(range(16), range(1, 5)):
        cut = kept(torch.tensor(float(index)), torch.tensor(float(bits)))
        assert int(cut) == (index >> (4 - bits)) << (4 - bits)


def test_signed_numbers_are_sign_and_magnitude():
    """The same four bits: those after the first are inverted where the first is 0."""
    for index, bits in product(range(16), range(1, 5)):
        word = index if index & 8 else index ^ 7
        assert int(signed(torch.tensor(float(index)))) == (1 if word & 8 else -1) * (word & 7)
        cut = (word >> (4 - bits)) << (4 - bits)
        found = kept(signed(torch.tensor(float(index))), bits)
        assert int(found) == (1 if word & 8 else -1) * (cut & 7)


def test_the_soft_quantiser_follows_the_hard_one():
    z = torch.rand(2000, dtype=torch.float64, requires_grad=True)
    soft = soft_indices(z)
    assert float((soft - indices(z.detach())).detach().abs().max()) < 1
    soft.sum().backward()
    assert bool((z.grad > 0).all())
    assert torch.autograd.gradcheck(
        soft_indices, torch.rand(5, dtype=torch.float64).requires_grad_()
    )
    # Over the whole range it rises as the levels do: 16 a unit in the mean.
    inner = (z > 0.15) & (z < 0.85)
    assert abs(float(z.grad[inner].mean()) - 16) < 1


def test_importance_is_nearest_to_what_it_is_rounded_to():
    p = 1 + 3 * torch.rand(500, dtype=torch.float64)
    near = importance_nearness(p)
    assert torch.allclose(near.sum(0), torch.ones(500, dtype=torch.float64))
    assert torch.equal(near.argmax(0) + 1, p.round().long())


def test_importance_is_moved_by_what_more_bits_would_change():
    """The gradient: where more bits lower the error it is negative, where they cost it is not."""
    p = torch.tensor([2.4, 2.4], requires_grad=True)
    options = torch.tensor([[3.0, 0.0], [2.0, 1.0], [1.0, 2.0], [0.0, 3.0]])
    value = training._chosen(p, options) + training._slope(importance_nearness(p), options)
    assert value.tolist() == [2.0, 1.0]
    value.sum().backward()
    assert p.grad[0] < 0 < p.grad[1]


def test_bits_are_those_of_a_laplace_distribution():
    """The chances of all numbers sum to 1, and are those that SciPy has."""
    from scipy.stats import laplace

    rate, v = SymbolRate(1), torch.arange(-60.0, 61.0)
    for mean, scale in ((0.0, 0.7), (1.3, 2.0), (-3.0, 5.0)):
        m, s = torch.tensor(mean).expand(121), torch.tensor(scale).expand(121)
        bits = rate(v, torch.zeros(121), m, s)
        low, high = np.where(v > 0, v, v - 1), np.where(v < 0, v, v + 1)
        chance = np.diff(laplace.cdf([low, high], mean, scale), axis=0)[0]
        likely = chance > 1e-6
        assert np.allclose(bits.numpy()[likely], -np.log2(chance[likely]), atol=1e-3)
        assert abs(float((0.5**bits).sum()) - 1) < 1e-3


def test_a_number_far_from_all_expectations_leaves_gradients_finite():
    rate, v, point = SymbolRate(1), torch.zeros(1, CHANNELS, 8, 8), torch.zeros(1).long()
    v[0, 5, 3, 3], v[0, 0, 1, 1] = 7, -7
    shift = torch.zeros_like(v, requires_grad=True)
    rate(v, shift, *rate.laplace(v, point)).sum().backward()
    assert shift.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in rate.parameters())
    # Nearer to 0 it would cost less.
    assert shift.grad[0, 5, 3, 3] > 0


def test_what_is_around_is_known_before(small):
    """The estimate of a number's bits depends on nothing that the coder does not know yet."""
    torch.manual_seed(3)
    rate, point = SymbolRate(1), torch.zeros(1).long()
    for parameter in rate.parameters():
        torch.nn.init.normal_(parameter)
    v = torch.randint(-7, 8, (1, CHANNELS, 5, 5)).float().requires_grad_()
    mean, scale = rate.laplace(v, point)
    (mean[0, 4, 2, 2] + scale[0, 4, 2, 2]).backward()
    seen = v.grad[0] != 0
    seen[4, 1, 1:4] = seen[4, 2, 1] = False  # its own map's row above, and the one to its left
    seen[:4, 2, 2] = False  # the maps before
    assert not seen.any()  # of the rest the bit planes before alone, which have no slope


def test_the_start_is_a_transform_that_quantises_as_finely_as_its_steps(small):
    net, image = load_model(small, "cpu").net, batch(picture(64, 64))
    errors = []
    with torch.no_grad():
        for row in range(len(STEPS)):
            point = torch.tensor([row])
            z = net.encode(image, point)
            assert z.min() >= 0 and z.max() < 1
            y = net.decode(net.shown(net.numbers(z), point), point)
            errors.append(float((y - image).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 120  # of noise alone there are 36


def test_bits_that_do_not_matter_cost_nearly_nothing(small):
    """With one bit each nothing but the means is left, and the stream is a small part."""
    model, image = load_model(small, "cpu"), picture(256, 256)
    v = numbers(model.net, features(model.net, image, 5), 5)
    whole = len(model.coders[5].encode(v, 3))
    least = kept(torch.from_numpy(v).float(), 1).to(torch.int16).numpy()
    assert not least.any()
    assert len(model.coders[5].encode(least, 3)) < 40 < 0.02 * whole


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 31), (64, 72)])
def test_streams_come_back_better_with_each_point(small, height, width):
    codec, image = Nctu(weights=str(small)), picture(height, width)
    errors = []
    for point in codec.points:
        stream = codec.encode(image, point)
        decoded = codec.decode(stream)
        assert decoded.shape == image.shape
        errors.append(np.square(decoded.astype(float) - image).mean())
    assert errors[-1] < errors[0]
    with pytest.raises(SpecError):
        codec.encode(image, 7)


@pytest.mark.parametrize("settings", [SMALL, PAPER], ids=["fast", "paper"])
def test_the_exact_decoder_is_the_network(small, settings):
    net = NctuNet(settings)
    if settings.linear:
        net.load_state_dict(read_weights(small)[0])
        net.decoder[-1].conv.weight.data.mul_(50)  # as large as in a network that is trained
    else:
        torch.manual_seed(2)
        net.train()
        with torch.no_grad():  # statistics to normalise by
            for _ in range(3):
                net.decoder(torch.rand(2, CHANNELS, 6, 6))
    tensors = {k: x.half().float() for k, x in net.state_dict().items()}
    net.load_state_dict(tensors)
    net.eval()
    v = numbers(net, features(net, picture(40, 56), 0), 0)
    exact = ExactDecoder(tensors, settings, CPU).pixels(v, 0)
    point = torch.tensor([0])
    with torch.no_grad():
        u = net.shown(torch.from_numpy(v).float()[None], point)
        expected = net.decode(u, point).clamp(0, 255)[0].permute(1, 2, 0).numpy()
    difference = exact - expected
    assert exact.std() > 5
    # Rounding to 8 bits alone makes 0.25 in the mean.
    assert np.abs(difference).mean() < 0.5
    assert np.abs(difference).max() < 6


def test_pictures_do_not_depend_on_threads_or_tiles(small, monkeypatch):
    from lic_bench.codecs.nctu import exact, inference

    codec, image = Nctu(weights=str(small)), picture(120, 136)
    stream = codec.encode(image, 6)
    decoded, threads = codec.decode(stream), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert np.array_equal(codec.decode(stream), decoded)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(exact, "_TILE", 3)
    assert np.array_equal(codec.decode(stream), decoded)
    net = load_model(small, "cpu").net
    whole = features(net, image, 5)
    monkeypatch.setattr(inference, "_TILE", 5)
    assert torch.allclose(features(net, image, 5), whole, atol=1e-4)  # sums in another order
    # Of the same features: the importance depends on no tiles.
    assert np.abs(numbers(net, whole, 5)).sum() > 0


def test_the_papers_network_is_a_codec(tmp_path):
    """One operating point, indices that have no sign."""
    torch.manual_seed(1)
    path, start_chances = tmp_path / "paper", np.full((1, *form(PAPER).chances), 1 << 15, np.uint16)
    path.write_bytes(weights_file(NctuNet(PAPER), start_chances, {}))
    codec, image = Nctu(weights=str(path)), picture(40, 48)
    v = numbers(load_model(path, "cpu").net, features(load_model(path, "cpu").net, image, 0), 0)
    assert v.min() >= 0
    assert len(np.unique(v)) > 1
    assert codec.decode(codec.encode(image, 1)).shape == image.shape
    with pytest.raises(SpecError, match="point 2"):
        codec.encode(image, 2)


def test_truncated_and_altered_streams_are_refused(small):
    codec, rng = Nctu(weights=str(small)), np.random.default_rng(0)
    stream = codec.encode(picture(48, 48), 4)
    assert forged(stream) == stream
    for length in range(0, len(stream), 7):
        with pytest.raises(BitstreamError):
            codec.decode(stream[:length])
    for fields in (
        {"width": 11585, "height": 11585},
        {"point": 6},
        {"point": 255},
        {"payload": b""},
        {"payload": bytes(10)},
        {"payload": b"\1\xff" * 10, "width": 11585, "height": 11585},
    ):
        with pytest.raises(BitstreamError):
            codec.decode(forged(stream, **fields))
    for _ in range(30):
        payload = bytearray(stream[18:])
        payload[rng.integers(len(payload))] ^= 1 << rng.integers(8)
        with suppress(BitstreamError):
            assert codec.decode(forged(stream, payload=bytes(payload))).shape == (48, 48, 3)


def test_other_files_are_no_weights(tmp_path, small):
    with pytest.raises(SpecError, match="no such file"):
        Nctu(weights=str(tmp_path / "none"))
    (tmp_path / "text").write_text("no weights")
    tensors, begin, settings = read_weights(small)
    net = NctuNet(settings)
    net.load_state_dict({**tensors, "log_step": tensors["log_step"] * torch.nan})
    (tmp_path / "damaged").write_bytes(weights_file(net, begin, {}))
    # Beyond the bend of their steps numbers would stand for anything.
    net.load_state_dict({**tensors, "levels": tensors["levels"] + 9, "bend": tensors["bend"] + 0.1})
    (tmp_path / "bent").write_bytes(weights_file(net, begin, {}))
    (tmp_path / "wider").write_bytes(
        small.read_bytes().replace(b'\\"points\\": 6', b'\\"points\\": 5')
    )
    for name in ("text", "damaged", "bent", "wider"):
        with pytest.raises(UnavailableError):
            Nctu(weights=str(tmp_path / name)).encode(picture(8, 8), 1)


def test_the_weights_that_come_along_are_small():
    assert WEIGHTS.stat().st_size < 6_000_000


def crops(count):
    return Photographs([torch.from_numpy(picture(96, 96, s)) for s in range(count)], ["x"] * count)


@pytest.mark.parametrize("settings", [SMALL, PAPER], ids=["fast", "paper"])
def test_each_phase_trains_its_part(tmp_path, settings):
    """Autoencoder alone, importance net alone, both: what has a gradient, and what has none."""
    plan = Plan(settings, Recipe("fast", 1e-3, 2, 64), tuple((x, 1) for x in training.PHASES))
    session = Session(plan, crops(17), tmp_path, CPU)
    net = session.codec.net
    for stage, parts in (
        ("autoencoder", {"encoder", "decoder"}),
        ("importance", {"importance_net"}),
        ("joint", {"encoder", "decoder", "importance_net"}),
    ):
        net.zero_grad()
        session.loss(stage, 0)[0].backward()
        trained = {id(p) for group in session.groups(stage).values() for p in group}
        for name in ("encoder", "decoder", "importance_net"):
            own = list(getattr(net, name).parameters())
            assert all((id(p) in trained) == (name in parts) for p in own)
            if name in parts:
                assert any(p.grad is not None and bool(p.grad.any()) for p in own)
            elif name != "decoder":  # which passes on the slope of what it is shown
                assert all(p.grad is None or not p.grad.any() for p in own)


def test_the_rate_of_the_paper_is_the_sum_of_the_maps(tmp_path):
    plan = Plan(PAPER, Recipe("paper", 1e-3, 2, 64), tuple((x, 1) for x in training.PHASES))
    session = Session(plan, crops(17), tmp_path, CPU)
    _, figures = session.loss("joint", 0)
    # 1 to 4 bits of 16 maps for 64 pixels.
    assert 16 / 64 <= float(figures["bpp"]) <= 1
    assert "bpp" not in session.loss("autoencoder", 0)[1]


@pytest.mark.slow
def test_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_COUNTED", 1)
    plan = Plan(SMALL, Recipe("fast", 2e-3, 2, 64), tuple((x, 3) for x in training.PHASES))
    states = []
    for name, pieces in (("one", 1), ("two", 2)):
        for piece in range(pieces):
            session = Session(plan, crops(17), tmp_path / name, CPU)
            if pieces == 2 and piece == 0:
                for _ in range(2):
                    session.trainer.advance(partial(session.loss, "autoencoder"))
                session.save()
            else:
                session.run(Clock(None), lambda _: None)
        states.append({k: x.clone() for k, x in session.codec.net.state_dict().items()})
    for key, value in states[0].items():
        assert torch.allclose(value, states[1][key], atol=1e-5), key


@pytest.mark.slow
def test_the_papers_network_overfits_a_crop(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_COUNTED", 1)
    plan = plan_for(TrainingOptions((), tmp_path, recipe="paper"))
    assert plan.settings == Settings()
    assert [name for name, _ in plan.steps] == ["autoencoder", "importance", "joint"]
    plan = Plan(
        Settings(32, 1, 1), Recipe("fast", 3e-3, 1, 32), (("autoencoder", 150),), held_out=1
    )
    images = Photographs([torch.from_numpy(picture(32, 32, s)) for s in range(2)], ["a", "b"])
    session = Session(plan, images, tmp_path, CPU)
    first = float(session.loss("autoencoder", 0)[1]["mse"])
    session.run(Clock(None), lambda _: None)
    assert session.finished
    session.stage = 0
    assert float(session.loss("autoencoder", 0)[1]["mse"]) < 0.3 * first
