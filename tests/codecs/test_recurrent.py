"""The codec recurrent: network, binariser, coder, bitstream, training."""

from contextlib import suppress
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("numba")

from forgery import forged  # noqa: E402

from lic_bench import BitstreamError, SpecError, UnavailableError  # noqa: E402
from lic_bench.codecs.recurrent import training  # noqa: E402
from lic_bench.codecs.recurrent.codec import WEIGHTS, Recurrent  # noqa: E402
from lic_bench.codecs.recurrent.coder import BitCoder  # noqa: E402
from lic_bench.codecs.recurrent.context import Codes, ContextModel, Table  # noqa: E402
from lic_bench.codecs.recurrent.inference import load_model  # noqa: E402
from lic_bench.codecs.recurrent.model import (  # noqa: E402
    RecurrentNet,
    Settings,
    Unit,
    binarise,
    ycbcr,
)
from lic_bench.codecs.recurrent.start import order, schedule, start  # noqa: E402
from lic_bench.codecs.recurrent.training import Plan, Session, symbols  # noqa: E402
from lic_bench.codecs.recurrent.weights import read_weights, weights_file  # noqa: E402
from lic_bench.learned.data import Photographs  # noqa: E402
from lic_bench.learned.training import Clock, Recipe  # noqa: E402

CPU = torch.device("cpu")
SMALL = Settings((4, 8, 8, 8), (8, 8, 8, 8, 8), 24, iterations=6, pairs=12, hard=True)
"""The form of the network that comes along, with a linear path."""


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 120 + 60 * np.sin(x / 9)[..., None] + 50 * np.cos(y[..., None] / [7, 11, 17])
    return np.clip(waves + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def crops():
    images = [torch.from_numpy(picture(160, 160, seed)) for seed in range(3)]
    return Photographs(images, ["a", "b", "c"])


def begun():
    """A network as it starts, and a context model that was not trained."""
    torch.manual_seed(0)
    net = RecurrentNet(SMALL)
    start(net, ycbcr(crops().batch(0, 4, 128, 0)))
    with torch.no_grad():  # so that the network does something
        for parameter in net.decoder.parameters():
            parameter.mul_(1.5)
        net.decoder.last.weight.mul_(10)
    return net, ContextModel(SMALL.iterations, SMALL.pairs, 32)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Weights of the start alone: enough for everything but quality."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    path.write_bytes(weights_file(*begun(), {}))
    return path


# The paper's network


@pytest.mark.parametrize(("unit", "gates"), [("gru", 3), ("lstm", 4)])
def test_shapes_and_parameters_are_the_papers(unit, gates):
    """Figure 2: 32 bits for each 16x16 block in an iteration, 1/8 bit a pixel."""
    net = RecurrentNet(Settings(unit=unit)).eval()
    x = torch.zeros(1, 3, 32, 48)
    encoder, decoder = net.begin(x)
    with torch.no_grad():
        bits = binarise(net.encode(x, 0, encoder), stochastic=False)
        assert bits.shape == (1, 32, 2, 3)
        assert net.decode(bits, 0, decoder).shape == x.shape
    assert bits.numel() / (32 * 48) == 1 / 8
    assert [s[0].shape[1:] for s in encoder.units] == [(256, 8, 12), (512, 4, 6), (512, 2, 3)]
    widths = [(512, 2, 3), (512, 4, 6), (256, 8, 12), (128, 16, 24)]
    assert [s[0].shape[1:] for s in decoder.units] == widths

    # By hand: input kernels of 3x3 with a bias, hidden ones without.
    def units(*sides):
        return sum(gates * (9 * a * b + b + k * k * b * b) for a, b, k in sides)

    def conv(a, b, k):
        return k * k * a * b + b

    wanted = conv(3, 64, 3) + units((64, 256, 1), (256, 512, 1), (512, 512, 1))
    assert sum(p.numel() for p in net.encoder.parameters()) == wanted
    wanted = conv(32, 512, 1) + conv(32, 3, 1)
    wanted += units((512, 512, 1), (128, 512, 1), (128, 256, 3), (64, 128, 3))
    assert sum(p.numel() for p in net.decoder.parameters()) == wanted
    assert sum(p.numel() for p in net.binariser.parameters()) == conv(512, 32, 1)


def test_a_unit_is_the_papers_gru_and_lstm():
    """Equations 1 to 3 and 7 to 9, beside torch's cells, which order the gates otherwise."""
    torch.manual_seed(1)
    x, h, c = torch.randn(1, 5), torch.randn(1, 4), torch.randn(1, 4)
    for kind, cell in (("lstm", torch.nn.LSTMCell(5, 4)), ("gru", torch.nn.GRUCell(5, 4))):
        unit = Unit(5, 4, 1, 1, kind, hard=False)
        with torch.no_grad():
            cell.bias_hh.zero_()
            # torch: i f g o, and r z n.
            places = (1, 0, 3, 2) if kind == "lstm" else (1, 0, 2)
            parts = [
                torch.cat([w.chunk(len(places))[k] for k in places]) for w in cell.parameters()
            ]
            unit.seen.weight.zero_()
            unit.seen.weight[:, :, 1, 1] = parts[0]
            unit.seen.bias.copy_(parts[2])
            taken = 0
            for kept in unit.kept:
                kept.weight.copy_(parts[1][taken : taken + len(kept.weight), :, None, None])
                taken += len(kept.weight)
            state = (h, c) if kind == "lstm" else (h,)
            out, _ = unit(x[..., None, None], tuple(s[..., None, None] for s in state))
            wanted = cell(x, state)[0] if kind == "lstm" else None
            if kind == "gru":
                # The paper's gate leaves something of the state before the product, torch's of it.
                z, r, n = parts[0].chunk(3), parts[1].chunk(3), parts[2].chunk(3)
                sides = [(z[k] @ x[0] + n[k], r[k]) for k in range(3)]
                gate, reset = (torch.sigmoid(a + b @ h[0]) for a, b in sides[:2])
                new = torch.tanh(sides[2][0] + sides[2][1] @ (reset * h[0]))
                wanted = (gate * h[0] + (1 - gate) * new)[None]
        assert torch.allclose(out[..., 0, 0], wanted, atol=1e-6)


def test_the_binariser_is_the_papers():
    """B(x) = x + e, P(1) = (1 + x) / 2, so that its mean is x; its gradient is 1 (section 2)."""
    torch.manual_seed(2)
    x = torch.tensor([-1.0, -0.6, 0.0, 0.3, 1.0]).repeat(40_000, 1)
    drawn = binarise(x, stochastic=True)
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert torch.allclose(drawn.mean(0), x[0], atol=0.02)
    assert binarise(x, stochastic=False)[0].tolist() == [-1, -1, -1, 1, 1]
    y = x[0].clone().requires_grad_()
    weight = torch.tensor([1.0, -2.0, 3.0, 0.5, 7.0])
    (binarise(y, stochastic=True) * weight).sum().backward()
    assert torch.equal(y.grad, weight)


@pytest.mark.parametrize("additive", [True, False])
def test_reconstruction_is_additive_or_one_shot(additive):
    """x_t = D(b_t) + gamma x_(t-1), with gamma 1 or 0."""
    torch.manual_seed(3)
    sides = Settings((4, 4, 4, 4), (8, 8, 8, 8, 8), 4, additive=additive)
    net, x = RecurrentNet(sides), torch.randn(1, 3, 16, 16)
    bits = torch.ones(1, 4, 1, 1)
    pictures = []
    for before in (0.0, 100.0):
        _, state = net.begin(x)
        state.picture = torch.full_like(x, before)
        pictures.append(net.decode(bits, 0, state))
    difference = pictures[1] - pictures[0]
    assert torch.allclose(difference, torch.full_like(x, 100.0 if additive else 0.0), atol=1e-3)


# The linear path, and what comes first


def test_the_linear_path_is_orthonormal_and_inverts():
    net, _ = begun()
    net.linear.windows.copy_(net.linear.windows.double())
    x = torch.randn(1, 3, 48, 64)
    y = net.linear.analysis(x)
    # The windows are held in half precision.
    assert torch.allclose(net.linear.synthesis(y), x, atol=5e-3)
    assert float(y.square().sum() / x.square().sum()) == pytest.approx(1, abs=0.1)


def test_the_steepest_steps_come_first_and_in_their_order():
    rng = np.random.default_rng(0)
    error, bits = rng.exponential(size=(30, 5)), rng.uniform(0.1, 1, (30, 5))
    bits[:10, 0] = np.inf  # no coefficient is so large
    found = order(error, bits)
    assert len(found) == 30 * 5 - 10
    slopes = [slope for slope, _, _ in found]
    assert slopes == sorted(slopes, reverse=True)
    for coefficient in range(30):
        own = [step for _, c, step in found if c == coefficient]
        assert own == list(range(1 if coefficient < 10 else 0, 5))
    iterations = schedule(found, 9, 12)
    assert all(len({c for _, c, _ in taken}) == 12 for taken in iterations)
    with pytest.raises(ValueError, match="too few"):
        schedule(found, 40, 12)


# Bits and pictures


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 31), (64, 72)])
def test_a_stream_cut_after_an_iteration_decodes_to_its_picture(small, height, width):
    codec, image = Recurrent(weights=str(small)), picture(height, width)
    model = load_model(small, "cpu")
    whole, sizes = codec.encode(image, 6), []
    code = np.stack([own for own, _ in model.iterations(image, 6)])
    seen = model.decoder.begin(*code.shape[2:])
    for point in range(1, 7):
        stream = codec.encode(image, point)
        assert codec.truncate(whole, point) == stream
        # What was decoded of the first iterations, before the next ones came.
        seen.add(code[point - 1], point - 1)
        decoded = codec.decode(stream)
        assert np.array_equal(decoded, seen.pixels()[:height, :width])
        sizes.append(len(stream))
    assert sizes == sorted(sizes)
    with pytest.raises(BitstreamError):
        codec.truncate(codec.encode(image, 3), 4)


def test_every_iteration_betters_the_picture():
    if not WEIGHTS.exists():
        pytest.skip("no weights")
    codec, image = Recurrent(), picture(96, 96)
    whole, errors = codec.encode(image, 16), []
    for point in (1, 3, 6, 9, 12, 16):
        decoded = codec.decode(codec.truncate(whole, point)).astype(float)
        errors.append(np.square(decoded - image).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]


def test_the_exact_decoder_is_the_network(small):
    model = load_model(small, "cpu")
    seen = list(model.iterations(picture(48, 64), 6))
    _, state = model.net.begin(torch.zeros(1, 3, 48, 64))
    linear = 0
    with torch.no_grad():
        for t, (own, _) in enumerate(seen):
            bits = torch.from_numpy(np.concatenate([own > 0, own < 0]))[None] * 2.0 - 1
            model.net.decode(bits, t, state)
            linear = linear + model.decoder.linear(own, t) / 1024
    difference = state.picture.double() - seen[-1][1].units / 1024
    assert float(difference.abs().max()) < 1  # an 8-bit step
    assert float(difference.abs().mean()) < 0.2
    # The network does something that the test can see.
    assert float((state.picture - linear).abs().mean()) > 1


def test_pictures_are_the_same_with_any_number_of_threads(small):
    codec = Recurrent(weights=str(small))
    stream, threads = codec.encode(picture(80, 112), 6), torch.get_num_threads()
    decoded = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            decoded.append(codec.decode(stream))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(decoded[0], decoded[1])
    assert np.array_equal(decoded[0], decoded[2])


def test_tiles_leave_no_seams(small, monkeypatch):
    from lic_bench.codecs.recurrent import exact

    codec = Recurrent(weights=str(small))
    stream = codec.encode(picture(96, 72), 6)
    decoded = codec.decode(stream)
    monkeypatch.setattr(exact, "_TILE", 5)
    assert np.array_equal(codec.decode(stream), decoded)


# The coder


def coded(sites=(5, 7)):
    """A context model, a table, and symbols that are drawn at random."""
    torch.manual_seed(4)
    net, context = begun()
    context.predict.copy_(0.1 * torch.randn(context.predict.shape))
    context.sign.data.copy_(torch.randn(context.sign.shape))
    context.half().float()
    table = Table.of(net.linear.chosen, net.linear.value, net.linear.threshold)
    rng = np.random.default_rng(5)
    drawn = rng.choice([-1, 0, 0, 0, 1], (SMALL.iterations, SMALL.pairs, *sites)).astype(np.int8)
    return context, table, drawn


def test_the_coder_costs_what_the_context_model_says():
    """Rate accounting: the bytes, the integers' chances, and the network in floating point."""
    context, table, drawn = coded()
    state = {key: x.numpy() for key, x in context.half().float().state_dict().items()}
    coder = BitCoder(state, table)
    coder.speed = 0  # the network knows nothing of what adapts
    codes, costs = coder.encode(drawn), coder.cost(drawn)
    for code, cost in zip(codes, costs, strict=True):
        assert -8 < 8 * len(code) - cost < 16
    held = Codes(torch.from_numpy(drawn)[None])
    inner = torch.cartesian_prod(torch.tensor([0]), torch.arange(5), torch.arange(7))
    with torch.no_grad():
        bits = context(*held.windows(inner), table).sum((0, 2)).numpy()
    assert np.allclose(bits, costs, rtol=2e-3, atol=2)
    assert np.array_equal(coder.decode(codes, 5, 7), drawn)


def test_symbols_come_back_and_what_adapts_helps():
    context, table, drawn = coded((12, 9))
    drawn[:] = 0  # unlike what the model expects
    state = {key: x.numpy() for key, x in context.half().float().state_dict().items()}
    state["bias"] = state["bias"] + 2
    coder = BitCoder(state, table)
    adapted = coder.encode(drawn)
    assert np.array_equal(coder.decode(adapted[:4], 12, 9), drawn[:4])
    coder.speed = 0
    assert sum(map(len, adapted)) < 0.8 * sum(map(len, coder.encode(drawn)))


def test_forged_streams_are_refused(small):
    codec, rng = Recurrent(weights=str(small)), np.random.default_rng(0)
    stream = codec.encode(picture(48, 48), 4)
    assert forged(stream) == stream
    for fields in (
        {"width": 11585, "height": 11585},
        {"point": 0},
        {"point": 5},
        {"point": 7},
        {"payload": b""},
        {"payload": bytes(4)},
        {"payload": bytes(4), "width": 11585, "height": 11585},
        {"payload": b"\1\xff" * 10},
    ):
        with pytest.raises(BitstreamError):
            codec.decode(forged(stream, **fields))
    for _ in range(40):
        payload = bytearray(stream[18:])
        payload[rng.integers(len(payload))] ^= 1 << rng.integers(8)
        with suppress(BitstreamError):
            assert codec.decode(forged(stream, payload=bytes(payload))).shape == (48, 48, 3)


def test_other_files_are_no_weights(tmp_path, small):
    with pytest.raises(SpecError, match="there is no such file"):
        Recurrent(weights=str(tmp_path / "none"))
    (tmp_path / "text").write_text("no weights")
    net, context = begun()
    net.binariser.bias.data.fill_(torch.nan)
    (tmp_path / "damaged").write_bytes(weights_file(net, context, {}))
    longer = small.read_bytes().replace(b'\\"iterations\\": 6', b'\\"iterations\\": 7')
    (tmp_path / "longer").write_bytes(longer)
    net, context = begun()
    net.linear.chosen[0, 0] = net.linear.chosen[0, 1]
    (tmp_path / "twice").write_bytes(weights_file(net, context, {}))
    net, context = begun()
    net.linear.value.data[0, 0] = 60_000
    (tmp_path / "large").write_bytes(weights_file(net, context, {}))
    paper = RecurrentNet(Settings((4, 4, 4, 4), (4, 4, 4, 4, 4), 4))
    (tmp_path / "paper").write_bytes(weights_file(paper, None, {}))
    for name in ("text", "damaged", "longer", "twice", "large", "paper"):
        with pytest.raises(UnavailableError):
            Recurrent(weights=str(tmp_path / name)).encode(picture(8, 8), 2)


def test_the_weights_that_come_along_are_small():
    if not WEIGHTS.exists():
        pytest.skip("no weights")
    assert WEIGHTS.stat().st_size < 6_000_000
    assert read_weights(WEIGHTS)[2] == training.FAST


# Training


def test_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_START", 1)
    monkeypatch.setattr(training, "_CODED", 1)
    monkeypatch.setattr(training, "_CODED_SIDE", 64)
    recipe = Recipe("fast", 2e-3, 1, 32)
    plan = Plan(SMALL, recipe, (("network", 5), ("context", 4)), held_out=1)
    states = []
    for name, pieces in (("one", 1), ("two", 2)):
        for _ in range(pieces):
            session = Session(plan, crops(), tmp_path / name, CPU)
            if pieces == 2 and session.trainer.step == 0:
                for _ in range(3):
                    session.trainer.advance(partial(session.loss, session.steps[0][0]))
                session.save()
            else:
                session.run(Clock(None), lambda _: None)
        states.append({k: x.clone() for k, x in session.codec.state_dict().items()})
    for key, value in states[0].items():
        assert torch.allclose(value, states[1][key], atol=1e-4), key
    # What it leaves is a codec.
    codec, image = Recurrent(weights=str(tmp_path / "two" / "weights.safetensors")), picture(32, 32)
    assert codec.decode(codec.encode(image, 6)).shape == image.shape


def test_the_context_model_learns_what_symbols_tell_of_each_other():
    context, table, drawn = coded((8, 8))
    rng = np.random.default_rng(6)
    drawn = np.repeat(np.abs(drawn[:, :1]), SMALL.pairs, 1) * rng.choice([-1, 1], drawn.shape)
    codes = Codes(torch.from_numpy(drawn.astype(np.int8))[None])
    optimiser, costs = torch.optim.Adam(context.parameters(), 0.02), []
    for step in range(40):
        bits = context(*codes.draw(np.random.default_rng(step), 32), table).sum((1, 2)).mean()
        optimiser.zero_grad()
        bits.backward()
        optimiser.step()
        costs.append(float(bits.detach()))
    # Of each iteration one coefficient is a surprise, and the signs, one bit each.
    signs = float(np.abs(drawn).sum((0, 1)).mean())
    assert costs[0] > 1.5 * signs
    assert costs[-1] < 1.35 * signs


def test_the_papers_network_overfits_a_crop(tmp_path):
    settings = Settings((16, 16, 24, 24), (24, 24, 24, 16, 16), 8, iterations=2)
    plan = Plan(settings, Recipe("paper", 1e-2, 2, 32), (("network", 80),), held_out=1)
    flat = [torch.from_numpy(np.full((48, 48, 3), 30 + 150 * k, np.uint8)) for k in range(2)]
    session = Session(plan, Photographs(flat, ["a", "b"]), tmp_path, CPU)
    first = float(session.loss("network", 0)[0].detach())
    session.run(Clock(None), lambda _: None)
    assert session.finished
    session.stage = 0  # the crops that it was trained on
    assert float(session.loss("network", 0)[0].detach()) < 0.4 * first


def test_symbols_in_training_are_those_of_the_codec(small):
    """The float decoder in training, the exact one in the codec: hardly a bit differs."""
    model, image = load_model(small, "cpu"), picture(64, 64)
    x = ycbcr(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    trained = symbols(model.net, x)[0].numpy()
    own = np.stack([symbol for symbol, _ in model.iterations(image, SMALL.iterations)])
    assert (trained != own).mean() < 0.02
