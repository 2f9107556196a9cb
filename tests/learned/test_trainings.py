"""What `lic-bench train` does for every codec alike."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from importlib.metadata import entry_points

from lic_bench import SpecError
from lic_bench.learned.command import HELD_OUT, advance, photographs, refuse_others
from lic_bench.learned.options import TrainingOptions
from lic_bench.learned.training import Clock

TRAINERS = {found.name: found for found in entry_points(group="lic_bench.trainers")}


def options(**given):
    return TrainingOptions((Path("missing"),), Path("out"), **given)


def test_what_a_training_would_ignore_is_refused():
    asked = options(width=8, without_map=True, target_bpp=(0.1,), batch=2, steps=3, seed=1)
    with pytest.raises(SpecError, match=r"^--target-bpp, --no-map: of no use to mine"):
        refuse_others(asked, "mine", "width")
    refuse_others(asked, "mine", "width", "without_map", "target_bpp")


@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_every_training_refuses_what_it_has_no_use_for_and_photographs_that_are_not_there(name):
    pytest.importorskip("numba")
    train = TRAINERS[name].load()
    other = {"decoder_only": True} if name == "compressive-autoencoder" else {"rounding": "noise"}
    with pytest.raises(SpecError, match=f"of no use to {name}"):
        train(options(**other))
    with pytest.raises(SpecError, match="--images missing: there is no such folder"):
        train(options(recipe="fast"))


def test_photographs_that_cannot_be_read_are_named_and_too_few_are_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    for k in range(HELD_OUT):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{k}.png")
    said = []
    asked = TrainingOptions((tmp_path,), tmp_path / "out")
    with pytest.raises(SpecError, match="16 photographs are too few; 17 is the least"):
        photographs(asked, Clock(None), said.append)
    assert said[0].startswith("skipped empty.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "one more.png")
    assert len(photographs(asked, Clock(None), said.append).images) == HELD_OUT + 1


def test_ctrl_c_keeps_a_training(tmp_path):
    class Training:
        out, seconds, finished, saved = tmp_path, 1.0, False, False

        def share(self):
            return 0.25

        def save(self):
            self.saved = True

        def run(self, clock, say):
            raise KeyboardInterrupt

    training, said = Training(), []
    with pytest.raises(KeyboardInterrupt):
        advance(training, Clock(None), said.append)
    assert training.saved and "interrupted at 25.0% and kept" in said[0]
