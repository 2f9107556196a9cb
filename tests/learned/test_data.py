import io
import tarfile

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch")

from lic_bench.learned.data import Photographs, load  # noqa: E402


def jpeg(seed, width=90, height=70):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def make(count=6, height=70, width=90):
    rng = np.random.default_rng(0)
    images = [
        torch.from_numpy(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for _ in range(count)
    ]
    return Photographs(images, [str(i) for i in range(count)])


def test_folders_and_tars_are_read_and_damage_is_told(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "b" / "broken.jpg").write_bytes(jpeg(1)[:300])
    (tmp_path / "notes.txt").write_text("no image")
    with tarfile.open(tmp_path / "more.tar", "w") as tar:
        for name, content in (("c.jpg", jpeg(2)), ("d.png", b"nothing")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    found = load([tmp_path])
    assert found.names == ["a.jpg", "more.tar/c.jpg"]
    assert [line.split(":")[0] for line in found.skipped] == ["broken.jpg", "more.tar/d.png"]
    assert all(image.dtype == torch.uint8 and image.shape == (70, 90, 3) for image in found.images)


def test_a_batch_depends_on_seed_and_step_alone():
    photographs = make()
    first = photographs.batch(7, 5, 32, seed=1)
    photographs.batch(8, 5, 32, seed=1)
    assert torch.equal(first, photographs.batch(7, 5, 32, seed=1))
    assert not torch.equal(first, photographs.batch(8, 5, 32, seed=1))
    assert not torch.equal(first, photographs.batch(7, 5, 32, seed=2))
    assert first.shape == (5, 3, 32, 32) and first.dtype == torch.float32


def crop_by_crop(photographs, step, size, side, seed):
    """A batch as `Photographs.batch` describes it, with an operation of its own for each crop."""
    rng = np.random.default_rng((seed, 2, step))
    kind = rng.random()
    low, high = (0.6, 1.0) if kind < 0.5 else (1.0, 2.0)
    taken = side if kind >= 0.75 else round(side / rng.uniform(low, high))
    areas = np.array([image.shape[0] * image.shape[1] for image in photographs.images])
    drawn = []
    while len(drawn) < size:
        index = int(rng.choice(len(areas), p=areas / areas.sum()))
        if min(photographs.images[index].shape[:2]) >= side:
            drawn.append(photographs.images[index].numpy())
    crops = []
    for image in drawn:
        span = min(taken, *image.shape[:2])
        top = rng.integers(image.shape[0] - span + 1)
        left = rng.integers(image.shape[1] - span + 1)
        crop = np.rot90(image[top : top + span, left : left + span], rng.integers(4))
        crop = np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)
        x = torch.from_numpy(crop).permute(2, 0, 1)[None].float().contiguous()
        if span != side:
            x = torch.nn.functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
            x = x.round().clamp(0, 255)
        crops.append(x)
    return torch.cat(crops)


def test_a_batch_is_what_its_crops_are_one_by_one():
    """Nor may it change from one version to the next: trainings would not go on as they began."""
    mixed = Photographs([*make(2, 40, 60).images, *make(3).images], [""] * 5)
    for step in range(40):
        expected = crop_by_crop(mixed, step, 6, 32, seed=3)
        found = mixed.batch(step, 6, 32, seed=3)
        assert torch.equal(found, expected) and found.stride() == expected.stride()


def test_crops_are_flipped_turned_and_scaled():
    ramp = torch.arange(64, dtype=torch.uint8)[None, :, None].expand(64, 64, 3).contiguous()
    photographs = Photographs([ramp], ["ramp"])
    slopes = set()
    scaled = False
    for step in range(40):
        crop = photographs.batch(step, 1, 32, seed=0)[0, 0]
        across, down = (crop[:, -1] - crop[:, 0]).mean(), (crop[-1] - crop[0]).mean()
        slopes.add((round(float(across) / 31), round(float(down) / 31)))
        scaled |= max(abs(float(across)), abs(float(down))) > 33
    assert {(1, 0), (-1, 0), (0, 1), (0, -1)} <= slopes
    assert scaled


def test_small_photographs_are_passed_over():
    small, large = make(3, 20, 20), make(1, 64, 64)
    both = Photographs(small.images + large.images, ["s", "s", "s", "l"])
    assert both.batch(0, 4, 60, seed=0).shape == (4, 3, 60, 60)
    with pytest.raises(ValueError, match="no photograph"):
        small.batch(0, 1, 60, seed=0)


def test_held_out_photographs_are_never_trained_on():
    training, held_out = make(10).split(3, seed=0)
    assert len(training.images) == 7 and len(held_out.images) == 3
    assert not set(training.names) & set(held_out.names)
    assert make(10).split(3, seed=0)[1].names == held_out.names
