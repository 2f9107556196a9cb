"""The training of the codec content-weighted, on a few seconds' scale."""

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from lic_bench import SpecError  # noqa: E402
from lic_bench.codecs.content_weighted.codec import ContentWeighted  # noqa: E402
from lic_bench.codecs.content_weighted.model import Settings  # noqa: E402
from lic_bench.codecs.content_weighted.training import (  # noqa: E402
    Plan,
    Session,
    plan_for,
    train,
)
from lic_bench.learned.command import TrainingOptions  # noqa: E402
from lic_bench.learned.data import Photographs, load  # noqa: E402
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
def photographs(folder) -> Photographs:
    return load([folder])


def paper(**changes):
    arguments = {
        "settings": Settings(8, 32, 8),
        "recipe": Recipe("paper", 1e-3, 4, 32),
        "keep": (0.3,),
        "steps": (("code", 4), ("map", 6), ("context", 3)),
        "held_out": 2,
    }
    return Plan(**{**arguments, **changes})


def fast():
    return paper(
        settings=Settings(8, 64, 16, 2, 20),
        recipe=Recipe("fast", 5e-4, 4, 32),
        loss="mse+ms-ssim",
        rate="entropy",
        multipliers=(300.0, 60.0),
        steps=(("code", 3), ("map-start", 3), ("map", 4), ("context", 3)),
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


def plan_with_layout(plan, photographs):
    from dataclasses import replace

    from lic_bench.codecs.content_weighted.start import blocks, layout

    found = layout(blocks(photographs.images, 100_000, plan.seed), plan.settings.n)
    return replace(plan, settings=replace(plan.settings, coefficients=len(found.coefficients)))


@pytest.mark.parametrize("plan", [paper(), fast()], ids=["paper", "fast"])
def test_a_run_in_pieces_takes_the_same_steps(plan, photographs, tmp_path):
    quiet = lambda text: None  # noqa: E731
    whole = session(plan, photographs, tmp_path / "whole")
    whole.run(Clock(None), quiet)
    assert whole.finished
    for steps in (1, 4, 1, 3, 100):
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
    assert plan.settings.points == 6 and plan.rate == "entropy"
    assert list(plan.multipliers) == sorted(plan.multipliers, reverse=True)


def test_the_command_leaves_weights_that_work(folder, tmp_path, capsys):
    options = TrainingOptions(
        (folder,), tmp_path, recipe="fast", width=8, code_channels=64, batch=2, steps=12
    )
    # Crops are of 128 pixels: larger photographs are wanted.
    with pytest.raises(ValueError, match="128"):
        train(options)
    large = tmp_path / "large"
    large.mkdir()
    for path in sorted(folder.iterdir()):
        PIL.Image.open(path).resize((160, 144)).save(large / path.name)
    (large / "damaged.jpg").write_bytes(b"\xff\xd8 and no more")
    train(
        TrainingOptions(
            (large,), tmp_path / "out", recipe="fast", width=8, code_channels=64, batch=2, steps=12
        )
    )
    said = capsys.readouterr().out
    assert "skipped damaged.jpg" in said and "done" in said
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} >= {
        "MODEL_CARD.md", "checkpoint.pt", "log.csv", "loss.png", "samples", "weights.safetensors",
    }  # fmt: skip
    image = np.asarray(PIL.Image.open(large / "00.png"))
    codec = ContentWeighted(weights=str(out / "weights.safetensors"))
    assert codec.decode(codec.encode(image, 6)).shape == image.shape
