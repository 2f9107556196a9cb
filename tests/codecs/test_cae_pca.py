"""The codec cae-pca: network, quantiser, bitstream, training."""

from contextlib import suppress
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("numba")

from forgery import forged  # noqa: E402

from lic_bench import BitstreamError, SpecError, UnavailableError  # noqa: E402
from lic_bench.codecs.cae_pca import training  # noqa: E402
from lic_bench.codecs.cae_pca.codec import WEIGHTS, CaePca  # noqa: E402
from lic_bench.codecs.cae_pca.exact import ExactDecoder  # noqa: E402
from lic_bench.codecs.cae_pca.inference import latents, load_model  # noqa: E402
from lic_bench.codecs.cae_pca.model import (  # noqa: E402
    CaeNet,
    Settings,
    Windows,
    kept,
    ycbcr,
)
from lic_bench.codecs.cae_pca.start import start  # noqa: E402
from lic_bench.codecs.cae_pca.training import LocalRate, Plan, Session, components, plan_for  # noqa: E402
from lic_bench.codecs.cae_pca.weights import read_weights, weights_file  # noqa: E402
from lic_bench.learned.bitplanes import CONTEXTS  # noqa: E402
from lic_bench.learned.data import Photographs  # noqa: E402
from lic_bench.learned.options import TrainingOptions  # noqa: E402
from lic_bench.learned.training import Clock, Recipe  # noqa: E402

CPU = torch.device("cpu")
FAST = Settings(linear=True, points=9, finest=16)


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 120 + 60 * np.sin(x / 9)[..., None] + 50 * np.cos(y[..., None] / [7, 11, 17])
    return np.clip(waves + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Weights of the start alone: enough for everything but quality."""
    torch.manual_seed(0)
    net = CaeNet(FAST)
    start(net, ycbcr(torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None].float())[:, :1])
    half = np.full((11, 96, CONTEXTS), 1 << 15, np.uint16)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    path.write_bytes(weights_file(net, half, {}))
    return path


def test_shapes_and_parameters_are_the_papers():
    """Filters 32, 32, 64, 64, 64, 32; a plane of 128x128 becomes 16x16x32."""
    net, plane = CaeNet(Settings()), torch.tensor([0])
    y = net.encode(torch.zeros(1, 1, 128, 128), plane)
    assert y.shape == (1, 32, 16, 16)
    assert net.decode(y, plane, plane).shape == (1, 1, 128, 128)
    # 3x3 convolutions with biases, and five slopes: by hand.
    pairs = [(1, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 32)]
    encoder = sum(9 * a * b + b for a, b in pairs) + 5
    assert sum(x.numel() for x in net.encoder.parameters()) == encoder
    # Mirrored: 4x4 where it doubles.
    mirror = [(16, 32, 64), (9, 64, 64), (16, 64, 64), (9, 64, 32), (16, 32, 32), (9, 32, 1)]
    decoder = sum(size * a * b + b for size, a, b in mirror) + 5
    assert sum(x.numel() for x in net.decoder.parameters()) == decoder


def test_principal_components_are_orthonormal_and_order_energies():
    torch.manual_seed(1)
    x = torch.randn(32, 32).double() @ torch.randn(32, 5000).double()
    covariance = x @ x.T / 5000
    found = components(covariance)
    assert torch.allclose(found.T @ found, torch.eye(32).double(), atol=1e-10)
    rotated = found.T @ covariance @ found
    energy = rotated.diagonal()
    assert bool((energy.diff() <= 0).all())
    assert float((rotated - energy.diag()).abs().max()) < 1e-6 * float(energy[0])


def test_the_quantiser_is_that_of_the_paper():
    """y' = [y 2^(B-1)] with all planes; with fewer, the lowest are cut off the magnitude."""
    y = torch.linspace(-0.999, 0.999, 32 * 64).reshape(1, 32, 8, 8)
    whole, step = kept(y, torch.tensor([22]), 12)
    assert torch.equal(whole, (y * 2048).round())
    assert bool((step == 1 / 2048).all())
    for planes in range(1, 11):
        cut, step = kept(y, torch.tensor([2 * planes]), 12)
        assert torch.equal(cut, (whole / 2 ** (11 - planes)).trunc())
        assert bool((step == 2.0**-planes).all())


def test_windows_are_added_up_plane_by_plane():
    assert Windows()(torch.zeros(2, 32, 5, 3)).shape == (2, 1, 40, 24)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 31), (64, 72)])
def test_streams_come_back_and_fewer_planes_are_their_beginning(small, height, width):
    codec, image = CaePca(weights=str(small)), picture(height, width)
    whole, errors = codec.encode(image, 16), []
    for point in (6, 9, 12, 16):
        stream = codec.encode(image, point)
        assert codec.truncate(whole, point) == stream
        decoded = codec.decode(stream)
        assert decoded.shape == image.shape
        errors.append(np.square(decoded.astype(float) - image).mean())
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(BitstreamError):
        codec.truncate(stream, 17)


@pytest.mark.parametrize("settings", [FAST, Settings()], ids=["fast", "paper"])
def test_the_exact_decoder_is_the_network(small, settings):
    if settings.linear:
        tensors, _, _ = read_weights(small)
    else:
        torch.manual_seed(2)
        tensors = {key: x.half().float() for key, x in CaeNet(settings).state_dict().items()}
        for index in range(0, 12, 2):  # as large as in a network that is trained
            tensors[f"decoder.{index}.weight"] *= 2
    net = CaeNet(settings)
    net.load_state_dict(tensors)
    v = latents(net, picture(40, 56))
    exact = ExactDecoder(tensors, settings, CPU).pixels(v, np.zeros(v.shape, np.uint8), 22)
    y = torch.from_numpy(v.astype(np.float32) / 2048).unflatten(0, (3, 32))
    with torch.no_grad():
        planes = 127.5 * net.decode(y, torch.arange(3), torch.full((3,), 22))[:, 0]
    y, cb, cr = planes.numpy()
    # ITU-T T.871.
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 2) + 127.5
    difference = exact - rgb.clip(0, 255)
    # Rounding to 8 bits alone makes 0.25 in the mean.
    assert np.abs(difference).mean() < 0.5
    assert np.abs(difference).max() < (1.5 if settings.linear else 4)


def test_tiles_leave_no_seams(small, monkeypatch):
    from lic_bench.codecs.cae_pca import exact, inference

    codec, image = CaePca(weights=str(small)), picture(96, 72)
    stream = codec.encode(image, 14)
    decoded = codec.decode(stream)
    monkeypatch.setattr(exact, "_TILE", 3)
    assert np.array_equal(codec.decode(stream), decoded)
    monkeypatch.setattr(inference, "_TILE", 5)
    net = load_model(small, "cpu").net
    tiled = latents(net, image)
    monkeypatch.setattr(inference, "_TILE", 64)
    assert np.abs(tiled - latents(net, image)).max() <= 1  # sums in another order


def test_forged_streams_are_refused(small):
    codec, rng = CaePca(weights=str(small)), np.random.default_rng(0)
    stream = codec.encode(picture(48, 48), 10)
    assert forged(stream) == stream
    for fields in (
        {"width": 11585, "height": 11585},
        {"point": 0},
        {"point": 11},
        {"point": 23},
        {"payload": b""},
        {"payload": bytes(10)},
        {"payload": bytes(10), "width": 11585, "height": 11585},
        {"payload": b"\1\xff" * 10, "width": 11585, "height": 11585},
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
        CaePca(weights=str(tmp_path / "none"))
    (tmp_path / "text").write_text("no weights")
    tensors, start_chances, settings = read_weights(small)
    net = CaeNet(settings)
    net.load_state_dict({**tensors, "rotation": tensors["rotation"] * torch.nan})
    (tmp_path / "damaged").write_bytes(weights_file(net, start_chances, {}))
    wider = small.read_bytes().replace(b'\\"points\\": 9', b'\\"points\\": 7')
    (tmp_path / "wider").write_bytes(wider)
    for name in ("text", "damaged", "wider"):
        with pytest.raises(UnavailableError):
            CaePca(weights=str(tmp_path / name)).encode(picture(8, 8), 8)


def test_the_weights_that_come_along_are_small():
    assert WEIGHTS.stat().st_size < 6_000_000


def crops():
    images = [torch.from_numpy(picture(96, 96, seed)) for seed in range(3)]
    return Photographs(images, ["a", "b", "c"])


def test_a_latent_that_nothing_led_to_expect_leaves_gradients_finite():
    rate, y = LocalRate(), torch.zeros(1, 32, 8, 8)
    y[0, 5, 3, 3] = 400.0
    y.requires_grad_()
    rate(y, torch.zeros_like(y), 0, torch.zeros_like(y)).sum().backward()
    assert y.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in rate.parameters() if p.grad is not None)


@pytest.mark.slow
def test_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_ROTATED", 1)
    monkeypatch.setattr(training, "_COUNTED", 1)
    recipe = Recipe("fast", 2e-3, 2, 32)
    plan = Plan(FAST, recipe, (("transform", 6), ("decoder", 3)), held_out=1)
    states = []
    for name, pieces in (("one", 1), ("two", 2)):
        for _ in range(pieces):
            session = Session(plan, crops(), tmp_path / name, CPU)
            if pieces == 2 and session.trainer.step == 0:
                for _ in range(4):
                    session.trainer.advance(partial(session.loss, session.steps[0][0]))
                session.save()
            else:
                session.run(Clock(None), lambda _: None)
        states.append({k: x.clone() for k, x in session.codec.net.state_dict().items()})
    for key, value in states[0].items():
        assert torch.allclose(value, states[1][key], atol=1e-5), key
    rotation = session.codec.net.rotation
    assert torch.allclose(rotation @ rotation.mT, torch.eye(32).expand(3, 32, 32), atol=1e-4)


@pytest.mark.slow
def test_the_papers_network_overfits_a_crop(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_ROTATED", 1)
    monkeypatch.setattr(training, "_COUNTED", 1)
    plan = plan_for(TrainingOptions((), tmp_path, recipe="paper", steps=80, batch=1))
    assert plan.settings == Settings()
    plan = Plan(plan.settings, Recipe("paper", 2e-3, 1, 32), plan.steps, held_out=1)
    session = Session(plan, Photographs(crops().images[:2], ["a", "b"]), tmp_path, CPU)
    first = float(session.loss("noise", 0)[0].detach())
    session.run(Clock(None), lambda _: None)
    assert session.finished
    session.stage = 0  # the crops that it was trained on
    assert float(session.loss("noise", 0)[0].detach()) < 0.35 * first
