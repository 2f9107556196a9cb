"""The codec content-weighted: network, bitstream and plugin; its training is tested apart."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("numba")

import lic_bench  # noqa: E402
from lic_bench import BitstreamError, Registry, SpecError, UnavailableError  # noqa: E402
from lic_bench.codecs.content_weighted import ablation  # noqa: E402
from lic_bench.codecs.content_weighted.codec import WEIGHTS, ContentWeighted  # noqa: E402
from lic_bench.codecs.content_weighted.digits import Digits  # noqa: E402
from lic_bench.codecs.content_weighted.exact import ExactDecoder  # noqa: E402
from lic_bench.codecs.content_weighted.inference import load_model  # noqa: E402
from lic_bench.codecs.content_weighted.model import ContentWeightedNet, Settings  # noqa: E402
from lic_bench.codecs.content_weighted.start import (  # noqa: E402
    blocks,
    layout,
    start,
    step_of,
)
from lic_bench.codecs.content_weighted.weights import (  # noqa: E402
    structure,
    weights_file,
)
from lic_bench.learned.bitstream import unpack  # noqa: E402
from lic_bench.learned.context import ContextModel  # noqa: E402
from lic_bench.learned.pyramid import rebuild  # noqa: E402
from lic_bench.learned.rate import RateModel  # noqa: E402

PLUGIN = Path(sys.modules[ContentWeighted.__module__].__file__)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Weights of a small untrained network: enough for everything but quality."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))]
    found = layout(blocks(images, 2000, 0), 64)
    net = ContentWeightedNet(Settings(8, 64, 16, 3, len(found.coefficients)))
    start(net, [400.0, 150.0, 60.0], found)
    coder = ContextModel(structure(net.state_dict(), net.settings), 3, 8)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    path.write_bytes(weights_file(net, coder, RateModel(15 + 64, 3), {"training": {}}))
    return path


@pytest.fixture
def codec(small):
    return ContentWeighted(weights=str(small))


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 120 + 60 * np.sin(x / 9)[..., None] + 50 * np.cos(y[..., None] / [7, 11, 17])
    return np.clip(waves + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def photograph() -> np.ndarray:
    """A cut of one of scikit-image's, 96 x 128."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[60:156, 180:308])


def code_of(net: ContentWeightedNet, values: np.ndarray) -> torch.Tensor:
    """Balanced ternary, of which the highest digit takes what the others do not reach.

    Of means, that of the nearest whole number of steps; the rest is added to the lowest digit.
    """
    digits, (batch, _, height, width) = net.digits, values.shape
    code = torch.zeros(batch, net.settings.n, height, width)
    real = torch.from_numpy(values.astype(np.float32))
    real[:, :3] = torch.from_numpy(rebuild(values[:, :3])) / 64
    for c in range(net.settings.coefficients):
        rest = (real[:, c] + 0.5).floor().long()
        fraction = real[:, c] - rest
        channels = torch.nonzero(digits.coefficient == c)[:, 0].tolist()
        for plus, minus in zip(channels[-2::-2], channels[::-2], strict=True):
            digit = rest if plus == channels[0] else (rest + 1) % 3 - 1
            rest = (rest - digit) // 3
            code[:, plus], code[:, minus] = digit.clamp_min(0), (-digit).clamp_min(0)
        code[:, channels[-2]] += fraction.clamp_min(0)
        code[:, channels[-1]] += (-fraction).clamp_min(0)
    return code


def ternary(places: list[int]) -> Digits:
    """The digits of a few coefficients, each with so many places."""
    channels = [
        (i, j, s) for i, n in enumerate(places) for j in reversed(range(n)) for s in (1, -1)
    ]
    digits = Digits(len(channels), 1, len(places))
    for name, column in zip(
        ("coefficient", "place", "sign"), zip(*channels, strict=True), strict=True
    ):
        getattr(digits, name).copy_(torch.tensor(column))
    return digits


class TestNetwork:
    def test_the_default_is_the_papers(self):
        net = ContentWeightedNet(Settings())
        count = sum(p.numel() for p in net.parameters())
        # The layers of the released prototxt come to 8.8 million.
        assert count == pytest.approx(8.8e6, rel=0.02)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
        x, point = torch.full((2, 3, 48, 32), 100.0), torch.zeros(2, dtype=torch.int64)
        codes = net.encode(x, point)
        assert codes.bits.shape == (2, 64, 6, 4) and codes.p.shape == (2, 1, 6, 4)
        assert net.decode(codes.bits * net.mask(codes.p), point).shape == x.shape

    def test_planes_are_the_level(self):
        net = ContentWeightedNet(Settings(width=8))
        p = torch.rand(1, 1, 5, 6)
        assert torch.equal(net.planes(p).sum(1, keepdim=True) + 1, net.level(p).float())
        assert torch.equal(net.mask(p).sum(1, keepdim=True), 4 * net.level(p).float())

    def test_gradients_reach_every_parameter(self):
        rng = np.random.default_rng(0)
        images = [torch.from_numpy(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))]
        found = layout(blocks(images, 1000, 0), 64)
        for settings in (
            Settings(8, 32, 8),
            Settings(8, 64, 16, 2, len(found.coefficients)),
        ):
            net = ContentWeightedNet(settings)
            if settings.coefficients:
                start(net, [300.0, 60.0], found)
            x = torch.from_numpy(picture(32, 32)).permute(2, 0, 1)[None].float().repeat(2, 1, 1, 1)
            point = torch.tensor([0, settings.points - 1])
            codes = net.encode(x, point)
            y = net.decode(codes.bits * net.mask(codes.p), point)
            (((x - y) ** 2).mean() + codes.p.sum()).backward()
            for name, parameter in net.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.abs().sum() > 0, name

    def test_digits_are_balanced_ternary(self):
        digits = ternary([3])
        z = torch.arange(-45.0, 46.0).view(1, 1, 1, 91)
        bits = digits(z, torch.tensor([0]))
        worth = torch.tensor([9.0, -9.0, 3.0, -3.0, 1.0, -1.0]).view(1, 6, 1, 1)
        # The highest goes to 4; beyond, the largest number that they can write.
        assert torch.equal((bits * worth).sum(1, keepdim=True), z.clamp(-40, 40))
        assert (bits[:, ::2] * bits[:, 1::2]).sum() == 0
        assert bits[:, :2].max() == 4 and bits[:, 2:].max() == 1
        # A fraction goes to the lowest.
        real = digits.of_real(z + 0.25)
        assert torch.equal((real * worth).sum(1, keepdim=True), z.clamp(-40, 40) + 0.25)

    def test_thresholds_set_the_dead_zone_and_the_rounding(self):
        digits = ternary([2])
        with torch.no_grad():
            digits.threshold.copy_(torch.tensor([0.9, 0.7]).view(1, 2, 1))
        z = torch.tensor([0.89, 0.91, 1.69, 1.71, 2.69, 2.71, -0.89, -0.91, -1.71, 9.0])
        bits = digits(z.view(1, 1, 1, -1), torch.tensor([0]))
        worth = torch.tensor([3.0, -3.0, 1.0, -1.0]).view(1, 4, 1, 1)
        assert (bits * worth).sum((0, 1, 2)).tolist() == [0, 1, 1, 2, 2, 3, 0, -1, -2, 9]

    @pytest.mark.parametrize("threshold", [0.5, 0.6, 0.8])
    def test_the_gradient_of_the_digits_is_that_of_the_smoothed_loss(self, threshold):
        """Against a convolution with a triangle, computed from the loss alone."""
        digits = ternary([2, 1]).double()
        worth = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        # Beyond 13 steps nothing changes any more.
        z = torch.linspace(-16, 16, 16001, dtype=torch.float64).expand(1, 2, 1, -1).clone()
        z.requires_grad_()

        def losses(zero, other):
            with torch.no_grad():
                digits.threshold[:, 0], digits.threshold[:, 1] = zero, other
            cost = digits(z, torch.tensor([0])) * worth.view(1, -1, 1, 1)
            return torch.stack([cost[0, :4].sum((0, 1)), cost[0, 4:].sum((0, 1))])

        loss = losses(threshold, threshold)
        loss.sum().backward()
        step = 32 / 16000
        triangle = (1 - torch.arange(-500, 501, dtype=torch.float64).abs() / 500)[None, None]
        smooth = torch.nn.functional.conv1d(loss.detach()[:, None], triangle / triangle.sum())[:, 0]
        slope = (smooth[:, 2:] - smooth[:, :-2]) / (2 * step)
        assert torch.allclose(z.grad[0, :, 0, 501:-501], slope, atol=0.02)
        # Over a uniform density, smoothing changes nothing: so by the thresholds, the loss itself.
        by_zero, by_other = digits.threshold.grad[0]
        for found, moves in ((by_zero, (0.1, 0)), (by_other, (0, 0.1))):
            up, down = (
                losses(*(threshold + sign * move for move in moves)).sum(1).detach()
                for sign in (1, -1)
            )
            assert torch.allclose(found, (up - down) / 0.2, rtol=0.01, atol=1)

    def test_the_start_is_a_codec_already(self):
        image = picture(64, 64)
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        found = layout(blocks([torch.from_numpy(image)], 2000, 0), 288)
        assert len(found.channels) == 288
        net = ContentWeightedNet(Settings(8, 288, 16, 2, len(found.coefficients)))
        start(net, [700.0, 40.0], found)
        errors = []
        for index in range(2):
            point = torch.tensor([index])
            with torch.no_grad():
                y = net.decode(net.encode(x, point).bits, point)
            errors.append(float((x - y).square().mean()))
        assert errors[1] < errors[0] / 2 and errors[1] < 60
        assert step_of(700.0) > step_of(40.0) > 25


class TestBitstream:
    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 8), (17, 23), (64, 40)])
    def test_any_size_comes_back(self, codec, size, small):
        image = picture(*size)
        for point in codec.points:
            stream = codec.encode(image, point)
            fresh = ContentWeighted(weights=str(small))
            decoded = fresh.decode(stream)
            assert decoded.shape == image.shape and decoded.dtype == np.uint8
            assert np.array_equal(decoded, codec.decode(stream))
            assert codec.encode(image, point) == stream

    def test_the_decoder_finds_the_encoders_numbers(self, small):
        model = load_model(small, "cpu")
        image = picture(40, 56)
        values = model.values(image[None], 1)[0]
        _, payload = unpack(model.format, model.encode([image], 1)[0])
        assert np.array_equal(model.coder.decode(payload, 5, 7, 1), values)
        if torch.cuda.is_available():
            streams = load_model(small, "cuda").encode([image], 1)
            pixels = load_model(small, "cuda").decode(streams)[0]
            assert np.array_equal(pixels, model.decode(streams)[0])

    def test_a_batch_is_its_images_one_by_one(self, codec, small):
        images = [picture(40, 52, seed) for seed in range(3)]
        streams = codec.encode_batch(images, 2)
        together = codec.decode_batch(streams)
        for image, stream, decoded in zip(images, streams, together, strict=True):
            alone = ContentWeighted(weights=str(small)).decode(stream)
            assert decoded.shape == image.shape and decoded.flags["C_CONTIGUOUS"]
            assert np.array_equal(decoded, alone)
            own = codec.encode(image, 2)
            assert len(own) == pytest.approx(len(stream), rel=0.01)
        assert len(set(streams)) == 3
        assert codec.batch_size == 1 and ContentWeighted(device="cuda").batch_size > 1

    def test_damage_is_found_before_a_picture_is_made(self, codec, monkeypatch):
        stream = codec.encode(picture(48, 48), 2)
        rng = np.random.default_rng(0)
        monkeypatch.setattr(ExactDecoder, "pixels", None)
        for _ in range(200):
            damaged = bytearray(stream)
            if rng.random() < 0.5:
                del damaged[int(rng.integers(len(damaged))) :]
            else:
                damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
            with pytest.raises(BitstreamError):
                codec.decode(bytes(damaged))

    def test_streams_of_other_weights_are_refused(self, codec, tmp_path):
        net = ContentWeightedNet(Settings(8, 64, 16, 3))
        other = tmp_path / "other.safetensors"
        context = ContextModel(structure(net.state_dict(), net.settings), 3, 4)
        other.write_bytes(weights_file(net, context, RateModel(79, 3), {}))
        stream = ContentWeighted(weights=str(other)).encode(picture(16, 16), 1)
        with pytest.raises(BitstreamError, match="other weights"):
            codec.decode(stream)

    def test_large_images_go_in_tiles_without_seams(self, small, monkeypatch):
        from lic_bench.codecs.content_weighted import exact, inference

        model = load_model(small, "cpu")
        image = picture(200, 264)
        whole, streams = model.values(image[None], 2), model.encode([image], 2)
        decoded = model.decode(streams)[0]
        monkeypatch.setattr(inference, "_TILE", 12)
        monkeypatch.setattr(exact, "_TILE", 12)
        # Sums in another order may tip a number that is on the edge.
        assert (model.values(image[None], 2) != whole).mean() < 1e-4
        assert np.array_equal(model.decode(streams)[0], decoded)


class TestExactDecoder:
    def test_masked_codes_are_the_digits_of_whole_numbers(self, small):
        model = load_model(small, "cpu")
        image = picture(40, 56)
        for point in range(3):
            x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            with torch.no_grad():
                codes = model.net.encode(x, torch.tensor([point]))
                masked = codes.bits * model.net.mask(codes.p)
            values = model.values(image[None], point)
            assert np.abs(values).max() > 1
            of_means = int((model.net.digits.coefficient < 3).sum())
            assert torch.equal(code_of(model.net, values)[:, of_means:], masked[:, of_means:])

    def test_means_go_beyond_their_digits(self, small):
        """Black and white come back as such, though four digits do not reach them."""
        model = load_model(small, "cpu")
        image = np.zeros((64, 64, 3), np.uint8)
        image[:, 32:] = 255
        with torch.no_grad():
            model.net.log_gain += np.log(3.0)  # finer steps, more of them
            values = model.values(image[None], 2)
            model.net.log_gain -= np.log(3.0)
        assert 40 < np.abs(rebuild(values[:, :3])).max() / 64 <= 121
        assert np.array_equal(
            model.coder.decode(model.coder.encode(values[0], 2), 8, 8, 2), values[0]
        )
        with torch.no_grad():
            y = model.net.decode(code_of(model.net, values), torch.tensor([2]))[0]
        expected = y.permute(1, 2, 0).numpy().round().clip(0, 255)
        assert np.abs(model.decoder.pixels(values[0], 2) - expected).mean() < 0.5

    @pytest.mark.parametrize("metric", WEIGHTS)
    def test_it_is_the_network_to_within_its_rounding(self, metric):
        model = load_model(WEIGHTS[metric], "cpu")
        image = photograph()
        for point in (0, model.settings.points - 1):
            [values] = model.values(image[None], point)
            exact = model.decoder.pixels(values, point).astype(float)
            net = ContentWeightedNet(model.settings)
            net.load_state_dict(model.net.state_dict())
            with torch.no_grad():
                code = code_of(net, values[None])
                y = net.decode(code, torch.tensor([point]))[0].permute(1, 2, 0).numpy()
            floating = y.round().clip(0, 255)
            assert np.abs(exact - floating).mean() < 0.2
            errors = [np.square(x[: len(image)] - image).mean() for x in (exact, floating)]
            assert abs(10 * np.log10(errors[0] / errors[1])) < 0.01  # dB

    def test_threads_do_not_matter(self, small):
        script = (
            "import sys, hashlib, numpy as np, torch; "
            "from lic_bench.codecs.content_weighted.inference import load_model; "
            "from pathlib import Path; model = load_model(Path(sys.argv[1]), 'cpu'); "
            "v = np.random.default_rng(0).integers(-1, 2, (len(model.coder.form.reach), 40, 50)); "
            "v = v.astype(np.int8); "
            "[(torch.set_num_threads(n), print([hashlib.sha256(model.decoder.pixels(v, p))"
            ".hexdigest() for p in (0, 2)])) for n in map(int, sys.argv[2:])]"
        )
        command = [sys.executable, "-c", script, str(small), "1", "2", "4"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        first, *others = done.stdout.splitlines()
        assert len(first) > 100 and others == [first, first]

    def test_no_sum_leaves_what_float32_holds_exactly(self):
        """Of the weights that ship: the largest sums that any activations can make."""
        for path in WEIGHTS.values():
            for layer in load_model(path, "cpu").decoder._layers.values():
                for weight in layer.weights:
                    largest = weight.double().abs().sum((1, 2, 3)) * 1023
                    assert float((largest + layer.bias.double().abs()).max()) < 2**24
                    assert torch.equal(weight, weight.round())

    def test_layers_with_many_inputs_are_cut_into_parts(self):
        """The paper's width: its sums would not be exact as a whole."""
        torch.manual_seed(0)
        settings = Settings(128, 64, 16)
        net = ContentWeightedNet(settings)
        decoder = ExactDecoder(
            {key: x.half().float() for key, x in net.state_dict().items()},
            settings,
            torch.device("cpu"),
        )
        assert max(len(layer.weights) for layer in decoder._layers.values()) > 1
        v = (np.random.default_rng(0).random((64, 3, 4)) < 0.5).astype(np.int8)
        with torch.no_grad():
            expected = net.decode(torch.from_numpy(v[None]).float(), torch.tensor([0]))[0]
        expected = expected.permute(1, 2, 0).numpy().round().clip(0, 255)
        # Whose pictures are noise of that size, nearly.
        assert np.abs(decoder.pixels(v, 0) - expected).mean() < 0.2 * expected.std()

    def test_weights_too_large_to_be_exact_are_refused(self):
        settings = Settings(8, 32, 8)
        net = ContentWeightedNet(settings).state_dict()
        for name, factor in (("decoder.0.weight", 1e6), ("decoder.3.weight", float("nan"))):
            large = {**net, name: net[name] * factor}
            with pytest.raises(ValueError, match="too large"):
                ExactDecoder(large, settings, torch.device("cpu"))


class TestPlugin:
    def test_it_loads_as_a_plugin_file_and_says_what_it_is_made_of(self, codec):
        entry = Registry().entry("content-weighted") if _registered() else None
        entry = entry or Registry(plugins=[PLUGIN]).entry("content-weighted")
        assert entry.name == "content-weighted"
        assert set(codec.versions()) == {"weights", "torch"}

    def test_listing_it_does_not_import_torch(self, small):
        script = (
            "import sys; from lic_bench.codecs.content_weighted.codec import ContentWeighted; "
            "ContentWeighted.unavailable(); ContentWeighted(weights=sys.argv[1]).versions(); "
            "sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", script, str(small)]).returncode == 0

    def test_missing_libraries_are_told(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        problem = ContentWeighted.unavailable()
        assert problem is not None and "pip install 'lic-bench[learned]'" in problem

    def test_points_and_weights_are_checked(self, codec, tmp_path):
        assert codec.points == (1, 2, 3)
        for point in (0, 4, 1.5, None, "1"):
            with pytest.raises(SpecError):
                codec.encode(picture(8, 8), point)
        with pytest.raises(SpecError, match="there is no such file"):
            ContentWeighted(weights=str(tmp_path / "none.safetensors"))
        (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
        with pytest.raises(SpecError, match="no file of"):
            ContentWeighted(weights=str(tmp_path / "bad.safetensors"))

    def test_importance_map_is_a_picture_of_the_images_size(self, codec):
        image = picture(21, 30)
        shown = codec.importance_map(image, 1)
        assert shown.shape == image.shape and shown.dtype == np.uint8


def test_weights_of_another_context_model_are_refused_in_a_line(small, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(small, "pt") as file:
        kept = {key: file.get_tensor(key) for key in file.keys() if key != "context.even"}  # noqa: SIM118
        old = tmp_path / "old.safetensors"
        save_file(kept, old, file.metadata())
    with pytest.raises(UnavailableError, match=r"context\.even is missing"):
        ContentWeighted(weights=str(old)).encode(picture(16, 16), 1)


def test_the_ablation_counts_real_bytes(small, tmp_path):
    images = [picture(40, 48), picture(48, 40, 1)]
    for i, image in enumerate(images):
        lic_bench.write_image(tmp_path / f"{i}.png", image)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in ablation.table(tmp_path, small, small).splitlines()[2:]
    ]
    assert [row[:2] for row in rows] == [
        [without, str(point)] for without in ablation.WITHOUT for point in (1, 2, 3)
    ]
    codec = ContentWeighted(weights=str(small))
    for row, point in zip(rows[:3], codec.points, strict=True):
        streams = codec.encode_batch(images[:1], point) + codec.encode_batch(images[1:], point)
        assert float(row[2]) == pytest.approx(8 * sum(map(len, streams)) / (2 * 40 * 48), abs=1e-4)
        quality = [
            lic_bench.image_metrics(image, codec.decode(stream))["psnr_rgb_db"]
            for image, stream in zip(images, streams, strict=True)
        ]
        assert float(row[3]) == pytest.approx(np.mean(quality), abs=0.01)
    # At most 64 channels, and four bits of the map, at each site of 8x8 pixels.
    raw = [float(row[2]) for row in rows[3:6]]
    assert all(float(row[2]) < bpp <= 68 / 64 for row, bpp in zip(rows[:3], raw, strict=True))
    # What is clipped costs no more, and is no better.
    assert all(
        float(row[2]) <= float(whole[2]) and float(row[3]) <= float(whole[3])
        for row, whole in zip(rows[-3:], rows[:3], strict=True)
    )


@pytest.mark.parametrize("metric", WEIGHTS)
class TestWeights:
    def test_the_curve_rises_far_above_that_of_jpeg(self, metric, photo):
        measure = {"ms-ssim": "ms_ssim_rgb", "mse": "psnr_rgb_db"}[metric]
        curve = _curve(ContentWeighted(metric), ContentWeighted(metric).points, photo, measure)
        assert (np.diff(curve.bpp) > 0).all() and (np.diff(curve.value) > 0).all()
        jpeg = _curve(Registry().codec("jpeg"), (3, 5, 10, 20, 40, 70), photo, measure)
        assert lic_bench.bd_rate(jpeg, curve).percent < -20

    def test_estimate_and_bytes_agree_within_one_per_cent(self, metric, photo):
        model = load_model(WEIGHTS[metric], "cpu")
        for index in range(model.settings.points):
            real = 8 * len(model.encode([photo], index)[0])
            assert real == pytest.approx(model.estimate(photo, index) + 18 * 8, rel=0.01)

    def test_another_process_decodes_the_same(self, metric, photo, tmp_path):
        codec = ContentWeighted(metric)
        stream = codec.encode(photo, 3)
        (tmp_path / "stream").write_bytes(stream)
        script = (
            "import sys, numpy, pathlib, torch; torch.set_num_threads(1); "
            "from lic_bench.codecs.content_weighted.codec import ContentWeighted as C; "
            "p = pathlib.Path(sys.argv[1]); "
            "numpy.save(p / 'image.npy', C(sys.argv[2]).decode((p / 'stream').read_bytes()))"
        )
        subprocess.run([sys.executable, "-c", script, str(tmp_path), metric], check=True)
        assert np.array_equal(np.load(tmp_path / "image.npy"), codec.decode(stream))

    def test_the_points_are_those_of_the_file(self, metric):
        count = load_model(WEIGHTS[metric], "cpu").settings.points
        assert ContentWeighted(metric).points == tuple(range(1, count + 1))

    def test_the_file_is_small(self, metric):
        assert WEIGHTS[metric].stat().st_size < 20e6


def test_each_metrics_weights_are_best_by_it(photo):
    """At the rate of a stream of the one, its metric is better than by the other."""
    for metric, other, measure in (
        ("mse", "ms-ssim", "psnr_rgb_db"),
        ("ms-ssim", "mse", "ms_ssim_rgb"),
    ):
        own, its = (
            _curve(codec, codec.points, photo, measure)
            for codec in (ContentWeighted(metric), ContentWeighted(other))
        )
        rate = lic_bench.bd_rate(its, own)
        assert rate.percent is not None and rate.percent < -3


def _curve(codec, points, image, metric):
    values = []
    for point in points:
        stream = codec.encode(image, point)
        quality = lic_bench.image_metrics(image, codec.decode(stream))
        value = quality[metric] if metric.endswith("_db") else -10 * np.log10(1 - quality[metric])
        values.append((8 * len(stream) / image[..., 0].size, value))
    bpp, value = np.array(values).T
    return lic_bench.Curve("one", codec.name, metric, bpp, value, tuple(map(str, points)))


def test_streams_of_the_other_metrics_weights_are_refused(photo):
    stream = ContentWeighted("mse").encode(photo[:32, :32], 1)
    with pytest.raises(BitstreamError, match="weights"):
        ContentWeighted("ms-ssim").decode(stream)


def _registered() -> bool:
    return "content-weighted" in Registry().names()
