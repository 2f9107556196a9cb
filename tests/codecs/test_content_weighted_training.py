"""The training of the codec content-weighted, on a few seconds' scale."""

import csv
import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from lic_bench import SpecError  # noqa: E402
from lic_bench.codecs.content_weighted import training  # noqa: E402
from lic_bench.codecs.content_weighted.codec import ContentWeighted  # noqa: E402
from lic_bench.codecs.content_weighted.inference import Model  # noqa: E402
from lic_bench.codecs.content_weighted.model import Settings  # noqa: E402
from lic_bench.codecs.content_weighted.rates import (  # noqa: E402
    STEERING,
    between,
    multiplier_for,
    steered_to,
    usual_multipliers,
)
from lic_bench.codecs.content_weighted.report import report  # noqa: E402
from lic_bench.codecs.content_weighted.start import blocks, layout  # noqa: E402
from lic_bench.codecs.content_weighted.training import (  # noqa: E402
    Plan,
    Session,
    plan_for,
    train,
)
from lic_bench.codecs.content_weighted.weights import read_weights  # noqa: E402
from lic_bench.learned.data import Photographs, load  # noqa: E402
from lic_bench.learned.options import TrainingOptions  # noqa: E402
from lic_bench.learned.training import Clock, Recipe  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    for i in range(20):
        waves = 128 + 80 * np.sin((x * rng.normal() + y * rng.normal()) / 8)[..., None]
        pixels = waves + rng.normal(0, 8, (96, 96, 3))
        PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path / f"{i:02}.png")
    return path


@pytest.fixture(scope="module")
def large(folder, tmp_path_factory):
    """Photographs that a crop of 128 pixels fits into."""
    path = tmp_path_factory.mktemp("large")
    for name in sorted(folder.iterdir()):
        PIL.Image.open(name).resize((160, 144)).save(path / name.name)
    return path


@pytest.fixture(scope="module")
def photographs(folder) -> Photographs:
    return load([folder])


def paper(**changes):
    arguments = {
        "settings": Settings(8, 32, 8),
        "recipe": Recipe("paper", 1e-3, 4, 32),
        "keep": (0.3,),
        "steps": (("code", 4), ("map", 6), ("context", 3)),
        "held_out": 2,
        "hidden": 16,
    }
    return Plan(**{**arguments, **changes})


def fast():
    return paper(
        settings=Settings(8, 64, 16, 2, 20),
        recipe=Recipe("fast", 5e-4, 4, 32),
        loss="mse+ms-ssim",
        rate="entropy",
        multipliers=(300.0, 60.0),
        steps=(("code", 3), ("map-start", 3), ("map", 4), ("decoder", 2), ("context", 3)),
    )


class Limit:
    """A clock whose time is up after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def over(self):
        self.left -= 1
        return self.left < 0

    def seconds(self):
        return 0.0


def session(plan, photographs, out):
    if plan.settings.coefficients:
        plan = plan_with_layout(plan, photographs)
    return Session(plan, photographs, out, torch.device("cpu"))


LAYOUTS = {}


@pytest.fixture(autouse=True)
def layouts_are_found_once(monkeypatch):
    """Of the same photographs it is the same: to find it takes longer than these trainings."""

    def asked(images, count, seed):
        pixels = b"".join(image.numpy().tobytes() for image in images)
        return images, count, seed, hashlib.sha256(pixels).digest()

    def found(what, n):
        images, count, seed, _ = what
        if (key := (*what[1:], n)) not in LAYOUTS:
            LAYOUTS[key] = layout(blocks(images, count, seed), n)
        return LAYOUTS[key]

    monkeypatch.setattr(training, "blocks", asked)
    monkeypatch.setattr(training, "layout", found)


def plan_with_layout(plan, photographs):
    found = training.layout(
        training.blocks(photographs.images, 100_000, plan.seed), plan.settings.n
    )
    return replace(plan, settings=replace(plan.settings, coefficients=len(found.coefficients)))


@pytest.mark.parametrize("plan", [paper(), fast()], ids=["paper", "fast"])
def test_a_run_in_pieces_takes_the_same_steps(plan, photographs, tmp_path):
    quiet = lambda text: None  # noqa: E731
    whole = session(plan, photographs, tmp_path / "whole")
    whole.run(Clock(None), quiet)
    assert whole.finished
    for steps in (1, 7, 100):
        pieces = session(plan, photographs, tmp_path / "pieces")
        pieces.run(Limit(steps), quiet)
    assert pieces.finished
    assert pieces.export() == whole.export()
    # Once more: there is nothing left to do.
    again = session(plan, photographs, tmp_path / "pieces")
    assert again.finished and again.export() == whole.export()


def test_a_training_with_other_options_is_not_continued(photographs, tmp_path):
    session(paper(), photographs, tmp_path).save()
    with pytest.raises(SpecError, match="seed"):
        session(paper(seed=1), photographs, tmp_path)
    with pytest.raises(SpecError, match="steps"):
        session(paper(steps=(("code", 4), ("context", 3))), photographs, tmp_path)
    longer = session(paper(steps=(("code", 8), ("map", 6), ("context", 3))), photographs, tmp_path)
    assert longer.trainer.steps == 8


def test_without_the_map_everything_is_kept_and_the_map_costs_nothing(photographs, tmp_path):
    plan = replace(fast(), steps=(("code", 10), ("decoder", 2), ("context", 3)), with_map=False)
    made = session(plan, photographs, tmp_path)
    made.run(Clock(None), lambda text: None)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(made.export())
    model = Model(path, "cpu")
    image = photographs.images[0].numpy()
    for point in range(2):
        values = model.values(image[None], point)
        assert np.array_equal(values, model.values(image[None], point, with_map=False))
        assert (model.level(image, point) == 16).all()
        assert model.coder.cost(values[0], point) > 100


def test_the_context_model_learns_the_codes_of_the_network(photographs, tmp_path):
    """From its start, the frequencies of the numbers, on: the bits fall."""
    plan = replace(fast(), steps=(("code", 1), ("context", 60)), hidden=16)
    made = session(plan, photographs, tmp_path)
    made.run(Clock(None), lambda text: None, every=10)
    with (tmp_path / "log.csv").open(newline="") as file:
        bpp = [float(row["bpp"]) for row in csv.DictReader(file) if row["stage"] == "context"]
    assert bpp[-1] < 0.9 * bpp[0]


def test_the_decoder_is_trained_without_touching_the_code(photographs, tmp_path):
    made = session(fast(), photographs, tmp_path)
    made.stage = 3
    made.trainer = made._trainer()
    before = {key: x.clone() for key, x in made.codec.net.state_dict().items()}
    for _ in range(3):
        made.trainer.advance(made._loss)
    changed = {
        key for key, x in made.codec.net.state_dict().items() if not torch.equal(x, before[key])
    }
    assert changed and all(
        key.startswith(("decoder.", "synthesis.", "log_code_gain")) for key in changed
    )


def test_the_papers_rate_loss_switches_at_the_target(photographs, tmp_path):
    made = session(paper(keep=(0.5,)), photographs, tmp_path)
    point = torch.zeros(2, dtype=torch.int64)
    for value, expected in ((0.9, True), (0.1, False)):
        p = torch.full((2, 1, 4, 4), value, requires_grad=True)
        loss = made._importance_rate(p, made.codec.net.mask(p), point)
        assert (loss.item() > 0) == expected
        if expected:
            loss.backward()
            assert p.grad.unique().numel() == 1 and p.grad.min() > 0


@pytest.mark.parametrize("multipliers", [(300.0, 60.0), (60.0,)])
def test_half_precision_changes_the_loss_little(multipliers, photographs, tmp_path):
    """What a GPU does by the fast recipe, bfloat16 and channels last, done here on the CPU."""
    plan = fast()
    settings = replace(plan.settings, points=len(multipliers))
    made = session(replace(plan, settings=settings, multipliers=multipliers), photographs, tmp_path)
    for made.stage in range(5):
        made.trainer = made._trainer()
        losses = []
        for made.half in (False, True):
            loss, _ = made._loss(0)
            losses.append(loss.item())
        assert losses[1] == pytest.approx(losses[0], rel=0.03)
        loss.backward()
        trained = [p.grad for group in made.trainer.optimiser.param_groups for p in group["params"]]
        assert all(torch.isfinite(grad).all() for grad in trained if grad is not None)
        assert sum(grad is not None for grad in trained) > 0


def test_training_lowers_the_loss(photographs, tmp_path):
    made = session(fast(), photographs, tmp_path)
    made.trainer.steps = 60
    losses = [made.trainer.advance(lambda _: made._loss(0))["loss"] for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def test_plans_follow_the_options(photographs, tmp_path):
    options = TrainingOptions((tmp_path,), tmp_path, target_bpp=(0.2, 0.5))
    plan = plan_for(options, photographs)
    assert plan.settings == Settings(128, 64, 16, 2) and plan.rate == "importance"
    assert plan.keep == pytest.approx((0.2, 0.5))
    assert plan.recipe == Recipe("paper", 1e-4, 32, 128)
    plan = plan_for(TrainingOptions((tmp_path,), tmp_path, recipe="fast"), photographs)
    assert plan.settings.points == len(plan.multipliers) > 4 and plan.rate == "entropy"
    assert list(plan.multipliers) == sorted(plan.multipliers, reverse=True)
    options = TrainingOptions((tmp_path,), tmp_path, recipe="fast", without_map=True)
    without = plan_for(options, photographs)
    assert plan.with_map and not without.with_map
    assert sum(n for _, n in plan.steps) == sum(n for _, n in without.steps)
    assert replace(plan, steps=(), with_map=False) == replace(without, steps=())


def test_rates_that_were_measured_give_their_multipliers(photographs, tmp_path):
    # MODEL_CARD.md, Kodak.
    assert multiplier_for(0.0473, "mse+ms-ssim") == pytest.approx(1500)
    assert multiplier_for(0.1490, "mse+ms-ssim") == pytest.approx(270)
    assert multiplier_for(0.5410, "ms-ssim") == pytest.approx(24)
    assert multiplier_for(0.3699, "mse") == pytest.approx(72)
    rates = np.geomspace(0.03, 2, 50)
    for loss in ("mse", "mse+ms-ssim"):
        multipliers = [multiplier_for(bpp, loss) for bpp in rates]
        assert multipliers == sorted(multipliers, reverse=True)
    for bpp in (0.0, -1.0, 0.01, 24.0, float("nan")):
        with pytest.raises(SpecError, match="out of reach"):
            multiplier_for(bpp, "mse")
    options = TrainingOptions((tmp_path,), tmp_path, target_bpp=(0.5, 1.5))
    with pytest.raises(SpecError, match="64 channels holds up to 1 "):
        plan_for(options, photographs)


def test_a_network_is_steered_to_rates_between_and_beyond_its_own(photographs, tmp_path):
    net = session(fast(), photographs, tmp_path).codec.net.state_dict()
    found, wanted = (300.0, 60.0), (600.0, 300.0, 134.16, 60.0)
    steered = steered_to(net, found, wanted)
    for key, value in steered.items():
        if key not in STEERING:
            assert torch.equal(value, net[key])
            continue
        assert value.shape == (4, *net[key].shape[1:])
        assert torch.allclose(value[[1, 3]], net[key], rtol=1e-5)
    # Halfway in the logarithm of the multiplier; and a low rate has coarser steps.
    gain = net["log_gain"].exp()
    steered_gain = steered["log_gain"].exp()
    assert torch.allclose(steered_gain[2], (gain[0] * gain[1]).sqrt(), rtol=1e-4)
    assert (steered_gain[0] < gain[0]).all()
    assert torch.equal(between(torch.tensor([[5.0]]), (9.0,), (3.0, 2.0)), torch.full((2, 1), 5.0))


def test_the_command_leaves_weights_that_work(folder, large, tmp_path, capsys):
    options = TrainingOptions(
        (folder,), tmp_path, recipe="fast", width=8, code_channels=64, batch=2, steps=12
    )
    # Crops are of 128 pixels: larger photographs are wanted.
    with pytest.raises(ValueError, match="128"):
        train(options)
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"\xff\xd8 and no more")
    train(replace(options, images=(large, damaged), out=tmp_path / "out"))
    said = capsys.readouterr().out
    assert "skipped damaged.jpg" in said and "done" in said
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} >= {
        "MODEL_CARD.md", "checkpoint.pt", "log.csv", "loss.png", "samples", "weights.safetensors",
    }  # fmt: skip
    image = np.asarray(PIL.Image.open(large / "00.png"))
    weights = out / "weights.safetensors"
    codec = ContentWeighted(weights=str(weights))
    points = len(usual_multipliers("mse"))
    assert codec.points == tuple(range(1, points + 1))
    assert codec.decode(codec.encode(image, 6)).shape == image.shape

    # From these weights on other photographs, where the start would be laid out otherwise.
    others = tmp_path / "others"
    others.mkdir()
    rng = np.random.default_rng(0)
    for i in range(17):
        noise = rng.integers(0, 256, (130, 130, 3), dtype=np.uint8)
        PIL.Image.fromarray(noise).save(others / f"{i}.png")
    onwards = replace(options, images=(others,), out=tmp_path / "onwards", weights=weights)
    train(replace(onwards, steps=4))
    found = Model(weights, "cpu")
    assert Model(tmp_path / "onwards" / "weights.safetensors", "cpu").settings == found.settings
    # To other rates, without the map, the encoder left alone.
    others = replace(onwards, out=tmp_path / "others", target_bpp=(0.1, 0.3, 0.7), steps=4)
    train(replace(others, decoder_only=True, without_map=True))
    model = Model(tmp_path / "others" / "weights.safetensors", "cpu")
    assert model.settings == replace(found.settings, points=3)
    encoder = found.net.encoder.state_dict()
    assert all(torch.equal(x, encoder[key]) for key, x in model.net.encoder.state_dict().items())
    with pytest.raises(SpecError, match="--no-map"):
        train(replace(onwards, weights=tmp_path / "others" / "weights.safetensors"))
    with pytest.raises(SpecError, match="--weights"):
        train(replace(onwards, decoder_only=True, weights=None))
    with pytest.raises(SpecError, match=f"{points} rate levels"):
        train(replace(onwards, recipe="paper", target_bpp=(0.3,)))


def test_what_cannot_be_trained_is_refused_in_a_line(folder, large, tmp_path):
    options = TrainingOptions((large,), tmp_path / "out", recipe="fast", width=8)
    with pytest.raises(SpecError, match="no such folder"):
        train(replace(options, images=(tmp_path / "none",)))
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(folder.iterdir())[:3]:
        (few / path.name).write_bytes(path.read_bytes())
    with pytest.raises(SpecError, match="3 photographs are too few"):
        train(replace(options, images=(few,)))
    for channels in (8, 0, 401):
        with pytest.raises(SpecError, match=f"--code-channels {channels}: a multiple of 16"):
            train(replace(options, code_channels=channels))
    assert not (tmp_path / "out").exists()


def test_an_interrupted_training_is_kept(photographs, tmp_path):
    made = session(paper(), photographs, tmp_path)
    said = []

    def say(text):
        said.append(text)
        if len(said) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.run(Clock(None), say, every=1)
    made.save()
    again = session(paper(), photographs, tmp_path)
    assert again.share() == made.share() == 5 / 13
    assert all("of all" in line and "to go" in line for line in said)


@pytest.mark.parametrize("steps", [1, 5, 9, 13])
def test_every_checkpoint_has_weights_that_work(steps, photographs, tmp_path):
    """Those of the running average; what is trained stays as it was."""
    made = session(fast(), photographs, tmp_path)
    states = []

    class Minutes(Limit):
        """A minute a step: each leaves a checkpoint."""

        def over(self):
            states.append(path.read_bytes() if path.exists() else b"")
            return super().over()

        def seconds(self):
            return 61.0 * (steps - self.left)

    path = tmp_path / "weights.safetensors"
    made.run(Minutes(steps), lambda text: None)
    assert len(set(states)) == len(states) == steps + 1
    before = {key: x.clone() for key, x in made.codec.state_dict().items()}
    made.save()
    assert all(torch.equal(x, before[key]) for key, x in made.codec.state_dict().items())
    average = made.trainer.average
    found, context, _ = read_weights(path)
    if made.coder is None:
        assert torch.equal(found["conv4.weight"], average["net.conv4.weight"].half().float())
    else:
        assert torch.equal(context["out"], average["out"].half().float())
    image = photographs.images[0].numpy()
    codec = ContentWeighted(weights=str(path))
    decoded = codec.decode(codec.encode(image, 2))
    assert np.square(decoded.astype(float) - image).mean() < 0.2 * image.astype(float).var()


@pytest.mark.parametrize("over_after", [0, 1, 100])
def test_when_the_time_is_over_there_are_the_pictures_of_one_photograph(
    over_after, photographs, tmp_path
):
    """Two rates of each of two held-out photographs, unless the time is over between them."""
    made = session(fast(), photographs, tmp_path)
    asked = []

    def over():
        asked.append(None)
        return len(asked) > over_after

    report(made, lambda text: None, over)
    assert len(list((tmp_path / "samples").glob("*.png"))) == min(2 + over_after, 4)
    assert {path.name for path in tmp_path.iterdir()} >= {"loss.png", "samples"}


def test_one_rate_is_enough(large, tmp_path):
    options = TrainingOptions(
        (large,), tmp_path, recipe="fast", width=8, code_channels=64, batch=2, steps=8,
        target_bpp=(0.4,),
    )  # fmt: skip
    train(options)
    image = np.asarray(PIL.Image.open(large / "00.png"))
    codec = ContentWeighted(weights=str(tmp_path / "weights.safetensors"))
    assert codec.points == (1,)
    decoded = codec.decode(codec.encode(image, 1))
    assert np.abs(decoded.astype(int) - image).mean() < 20


@pytest.mark.slow
def test_the_papers_recipe_goes_from_photographs_to_bitstreams(photographs, tmp_path):
    """All stages: error and rate fall, and a bitstream comes back."""
    options = TrainingOptions((), tmp_path, width=16, code_channels=32, target_bpp=(0.15,))
    # So few steps need a higher learning rate than the paper's. What the last stage learns is
    # tested above.
    plan = replace(
        plan_for(options, photographs),
        recipe=Recipe("paper", 1e-3, 4, 48),
        steps=(("code", 225), ("map", 300), ("context", 4)),
        hidden=16,
    )
    made = session(plan, photographs, tmp_path)
    made.run(Clock(None), print, every=25)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["stage"] for row in rows)) == ["code", "map", "context"]
    code = [float(row["mse"]) for row in rows if row["stage"] == "code"]
    kept = [float(row["kept"]) for row in rows if row["stage"] == "map"]
    assert code[-1] < 0.8 * code[0]
    # On its way to 0.3: that is 0.15 bpp of the 0.5 that 32 channels hold.
    assert 0.3 < kept[-1] < max(kept) - 0.05
    path = tmp_path / "weights.safetensors"
    path.write_bytes(made.export())
    image = photographs.images[3].numpy()
    stream = ContentWeighted(weights=str(path)).encode(image, 1)
    decoded = ContentWeighted(weights=str(path)).decode(stream)
    # Better than one grey for all.
    assert np.square(decoded.astype(float) - image).mean() < 0.9 * image.astype(float).var()


@pytest.mark.slow
def test_training_runs_without_the_rest_of_lic_bench(large, tmp_path):
    """`python -m lic_bench.codecs.content_weighted` where only four packages are to be had."""
    script = (
        "import runpy, sys\n"
        "for name in ('typer', 'msgspec', 'pandas', 'matplotlib', 'numba', 'skimage', 'cv2',"
        " 'rich', 'loky', 'pyarrow'): sys.modules[name] = None\n"
        "def run():\n"
        "    runpy.run_module('lic_bench.codecs.content_weighted', run_name='__main__')\n"
        "asked = sys.argv[:]\n"
        "sys.argv[-1] = '99'\n"
        "try: run()\n"
        "except SystemExit as ended: print(ended.code, file=sys.stderr)\n"
        "else: assert False\n"
        "sys.argv = asked\n"
        "run()"
    )
    command = [sys.executable, "-c", script, "--images", str(large), "--out", str(tmp_path)]
    command += ["--recipe", "fast", "--width", "8", "--code-channels", "64"]
    command += ["--batch", "2", "--steps", "4", "--target-bpp", "0.2,0.5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no matplotlib" in done.stdout
    # It was asked for another rate first, and left with this text: that is exit code 1.
    assert done.stderr == "error: --target-bpp 99 is out of reach: 0.03 to 2\n"
    assert ContentWeighted(weights=str(tmp_path / "weights.safetensors")).points == (1, 2)
