"""What stands in the report's file, without a browser."""

import base64
import hashlib
import html.parser
import io
import json
import shutil
from pathlib import Path
from typing import Any

import bjontegaard
import numpy as np
import PIL.Image
import pytest
from command import command
from oddities import NAMES, PLUGIN, RATES

from lic_bench import SpecError, load_dataset, read_image
from lic_bench.analysis import published_curves
from lic_bench.analysis.curves import aggregate
from lic_bench.codec.registry import Registry
from lic_bench.execution.runner import Limits
from lic_bench.metric.quality import QUALITIES
from lic_bench.reporting.page import data, gallery, pictures, scenes
from lic_bench.reporting.page import html as page
from lic_bench.store.database import Store
from lic_bench.store.records import Key
from lic_bench.store.table import load

SUFFIXES = {".css", ".html", ".js"}


class Elements(html.parser.HTMLParser):
    """The elements of a page, as (name, attributes, text)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("", {}, ""))

    def handle_data(self, data: str) -> None:
        tag, attributes, text = self.found.pop() if self.found else ("", {}, "")
        self.found.append((tag, attributes, text + data))


@pytest.fixture(scope="module")
def elements(made: Path) -> list[tuple[str, dict[str, str | None], str]]:
    return Elements(made.read_text(encoding="utf-8")).found


@pytest.fixture(scope="module")
def shown(elements: Any) -> Any:
    """The JSON of the page."""
    [text] = [text for _, attributes, text in elements if attributes.get("id") == "data"]
    return json.loads(text)


@pytest.fixture(scope="module")
def blobs(elements: Any) -> dict[int, bytes]:
    """The pictures of the page, by number."""
    found = {str(a.get("id")): text for _, a, text in elements}
    return {
        int(name.removeprefix("blob-")): base64.b64decode(text)
        for name, text in found.items()
        if name.startswith("blob-")
    }


def pixels(blob: bytes, mode: str = "RGB") -> Any:
    return np.asarray(PIL.Image.open(io.BytesIO(blob)).convert(mode))


@pytest.mark.parametrize(
    "text", ["</script>", "<!--", "<script", "]]>", "\u2028 é & \" '", "{{style}} {{data}}"]
)
def test_json_in_the_page_ends_no_element_and_comes_back(text: str) -> None:
    written = page.as_json({text: [text, 1.5, None]})
    assert "<" not in written
    assert json.loads(written) == {text: [text, 1.5, None]}
    with pytest.raises(ValueError):
        page.as_json([float("nan")])


def test_no_line_of_the_browser_code_is_longer_than_the_pythons() -> None:
    files = [path for path in Path(page.__file__).parent.iterdir() if path.suffix in SUFFIXES]
    assert {path.suffix for path in files} == SUFFIXES
    lines = {f"{path.name}:{i}": line for path in files for i, line in numbered(path)}
    assert [place for place, line in lines.items() if len(line) > 100] == []


def numbered(path: Path) -> list[tuple[int, str]]:
    return list(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))


def test_the_page_asks_for_nothing_and_runs_its_own_script_only(elements: Any) -> None:
    for _, attributes, _ in elements:
        assert not attributes.keys() & {"src", "srcset", "data", "action", "style", "onclick"}
        assert not {a for a in attributes if a.startswith("on")}
        assert str(attributes.get("href", "#")).startswith("#")
    style = [text for tag, _, text in elements if tag == "style"]
    scripts = [text for tag, a, text in elements if tag == "script" and "type" not in a]
    assert len(style) == len(scripts) == 1
    assert "@import" not in style[0] and "url(" not in style[0]
    [policy] = [str(a["content"]) for _, a, _ in elements if "http-equiv" in a]
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (*scripts, *style)
    ]
    assert " ".join(policy.split()) == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'"
    )


def test_names_stay_text(elements: Any, shown: Any) -> None:
    assert sorted(image["name"] for image in shown["datasets"][0]["images"]) == sorted(NAMES)
    [failure] = {one["error"] for one in shown["failures"]}
    assert "</script><script>" in failure
    assert not [a for tag, a, _ in elements if tag == "img"]
    assert {a.get("type") for tag, a, _ in elements if tag == "script"} == {
        None,
        "application/json",
        "text/plain",
    }


@pytest.mark.parametrize("metric", QUALITIES)
def test_bd_rates_are_those_of_the_package_bjontegaard(store: Path, metric: str) -> None:
    measurements = load(store)
    gathered = data.gather(measurements, [])
    [dataset] = gathered["datasets"]
    averages, kind = aggregate(measurements), QUALITIES[metric]
    names = [codec["name"] for codec in gathered["codecs"]]
    assert names == ["coarse", "jpeg", "jpeg2000"]
    compared = 0
    for a, anchor in enumerate(names):
        for t, test in enumerate(names):
            curves = [
                averages[(averages["codec"] == name) & averages["complete"]].dropna(
                    subset=kind.value
                )
                for name in (anchor, test)
            ]
            found = dataset["bd"][metric][a][t]
            if isinstance(found, str):
                continue
            points = [c[column].to_numpy() for c in curves for column in (kind.rate, kind.value)]
            expected = bjontegaard.bd_rate(*points, method="pchip", min_overlap=0)
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-2)
            compared += anchor != test
    # The images are too small for MS-SSIM, which needs 161 samples a side of all five scales.
    assert compared >= 2


def test_each_image_has_its_own_curve_and_bd_rate(store: Path) -> None:
    measurements = load(store)
    [dataset] = data.gather(measurements, [])["datasets"]
    for i, image in enumerate(dataset["images"]):
        rows = measurements[(measurements["image"] == image["name"]) & measurements["error"].isna()]
        curves = [
            rows[rows["codec"] == codec].sort_values("point_index")[["bpp", "psnr_rgb_db"]]
            for codec in ("jpeg", "jpeg2000")
        ]
        own = dataset["byImage"]["psnr_rgb"][1][i]
        np.testing.assert_allclose(np.array([own["bpp"], own["value"]]).T, curves[0], rtol=1e-4)
        points = [column for curve in curves for column in curve.to_numpy().T]
        expected = bjontegaard.bd_rate(*points, method="pchip", min_overlap=0)
        found = dataset["bdByImage"]["psnr_rgb"][1][2][i]
        assert found == pytest.approx(expected, rel=1e-3)


def test_pictures_are_those_that_were_measured(
    store: Path, shown: Any, blobs: dict[int, bytes], plugin: Path
) -> None:
    measurements = load(store)
    codecs = [codec["name"] for codec in shown["codecs"]]
    originals = {one.name: one for one in load_dataset(str(store / "photos")).images}
    registry = Registry([plugin])
    assert {one["rate"] for one in shown["pictures"]} == {float(r) for r in RATES.split(",")}
    exact = 0
    with Store.open(store) as opened:
        for one in shown["pictures"]:
            if one["problem"] is not None:
                continue
            original = read_image(originals[one["image"]].path)
            if one["codec"] < 0:
                assert psnr(pixels(blobs[one["data"]]), original) > 36
                continue
            codec = codecs[one["codec"]]
            mine = measurements[
                (measurements["image"] == one["image"]) & (measurements["codec"] == codec)
            ]
            row = mine[mine["point"] == one["point"]].iloc[0]
            nearest = (np.log(mine["bpp"]) - np.log(one["rate"])).abs().min()
            assert abs(np.log(row["bpp"] / one["rate"])) == pytest.approx(nearest)
            stream = opened.kept(Key(row["image_sha256"], row["identity"], row["point"])).stream
            assert stream is not None
            decoded = registry.codec(codec).decode(stream)
            if one["exact"]:
                assert blobs[one["data"]] == stream
                np.testing.assert_array_equal(pixels(stream), decoded)
                exact += 1
            else:
                assert psnr(pixels(blobs[one["data"]]), decoded) > 36
            assert one["exact"] == (codec == "jpeg")
            error = pixels(blobs[one["error"]], "L") / pictures.STEPS
            squares = ((decoded.astype(float) - original) ** 2).mean(axis=2)
            corner = np.sqrt(squares[:188, :240].reshape(47, 4, 60, 4).mean(axis=(1, 3)))
            assert error.shape == (48, 61)
            assert np.sqrt(((error[:47, :60] - corner) ** 2).mean()) < 0.8
            assert (one["importance"] is not None) == (codec == "coarse")
    assert exact >= 4


def psnr(a: Any, b: Any) -> float:
    return float(10 * np.log10(255**2 / max(((a.astype(float) - b) ** 2).mean(), 1e-9)))


def shown_of(
    scene: scenes.Scene, store: Path, *plugins: Path, timeout_s: float = 60
) -> list[pictures.Picture]:
    limits = Limits(timeout_s)
    [group] = gallery.make_all([scene], store, budget=10**9, jobs=1, plugins=plugins, limits=limits)
    return group


def test_only_the_bitstreams_that_are_shown_are_read(
    store: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurements = load(store)
    files = scenes.originals([load_dataset(str(store / "photos"))])
    wanted, missing = scenes.scenes(measurements, "photos", [0.8], 2, files)
    assert [scene.image for scene in wanted] == [sorted(NAMES)[0], sorted(NAMES)[2]]
    read = []
    kept = Store.kept
    monkeypatch.setattr(Store, "kept", lambda self, key: read.append(key) or kept(self, key))
    found = shown_of(wanted[0], store, plugin)
    assert read == [shot.key for shot in wanted[0].shots]
    assert len(found) == 1 + len(read)
    assert {one.codec for one in (*found, *missing) if one.image == wanted[0].image} == {
        None,
        "coarse",
        "jpeg",
        "jpeg2000",
    }


def test_a_codec_that_decodes_otherwise_now_gives_no_picture(store: Path, tmp_path: Path) -> None:
    measurements = load(store)
    files = scenes.originals([load_dataset(str(store / "photos"))])
    [scene, *_], _ = scenes.scenes(measurements, "photos", [1.5], 1, files)
    assert "coarse" in [shot.codec for shot in scene.shots]
    altered = tmp_path / "altered.py"
    altered.write_text(PLUGIN.replace("+ stream[0] // 2", "+ stream[0]"))
    by_codec = {one.codec: one for one in shown_of(scene, store, altered)}
    assert by_codec["coarse"].data is None
    assert "another picture than was measured" in str(by_codec["coarse"].problem)
    assert by_codec["jpeg"].problem is None
    absent = {one.codec: one for one in shown_of(scene, store)}
    assert "there is no codec 'coarse'" in str(absent["coarse"].problem)


@pytest.mark.slow
def test_a_decoder_that_hangs_costs_its_pictures_only(
    store: Path, plugin: Path, tmp_path: Path
) -> None:
    files = scenes.originals([load_dataset(str(store / "photos"))])
    wanted, _ = scenes.scenes(load(store), "photos", [0.5, 1.5], 3, files)
    hanging = tmp_path / "coarse.py"
    hanging.write_text(plugin.read_text())
    (tmp_path / "sleepy").touch()
    groups = gallery.make_all(
        wanted, store, budget=10**9, jobs=1, plugins=[hanging], limits=Limits(timeout_s=6)
    )
    shown = [picture for group in groups for picture in group]
    problems = {picture.problem for picture in shown if picture.codec == "coarse"}
    assert problems == {"coarse took longer than 6 s (--timeout)"}
    assert all(picture.problem is None for picture in shown if picture.codec != "coarse")


def test_without_the_originals_the_decoded_pictures_are_shown(
    store: Path, plugin: Path, tmp_path: Path
) -> None:
    shutil.copy(store / "store.sqlite", tmp_path)
    out = tmp_path / "r.html"
    done = command(
        "report", tmp_path, "--plugin", plugin, "--images", "1", "--rates", "1.5", "-o", out
    )
    assert "Without the originals of photos" in done.stderr
    text = Elements(out.read_text()).found
    [shown] = [json.loads(text) for _, a, text in text if a.get("id") == "data"]
    found = [one for one in shown["pictures"] if one["data"] is not None]
    assert len(found) >= 2
    assert all(one["error"] is None for one in found)
    [original] = [one for one in shown["pictures"] if one["codec"] == -1]
    assert original["problem"].startswith("the original was not at hand")


def test_the_file_stays_below_its_limit_and_says_what_is_left_out(
    store: Path, plugin: Path, made: Path, tmp_path: Path
) -> None:
    whole = made.stat().st_size
    wanted, _ = scenes.scenes(
        load(store),
        "photos",
        [0.5, 1.5],
        3,
        scenes.originals([load_dataset(str(store / "photos"))]),
    )
    # The middle rate of every image comes before any other rate.
    assert [scene.rate for scene in wanted] == [0.5] * 3 + [1.5] * 3
    options = {"jobs": 1, "plugins": [plugin], "limits": Limits()}
    groups = list(gallery.make_all(wanted, store, budget=10**9, **options))
    size = sum(one.size for group in groups[:2] for one in group)
    cut = list(gallery.make_all(wanted, store, budget=size + 10, **options))
    assert [any(one.problem == gallery._TOO_LARGE for one in group) for group in cut] == (
        [False] * 2 + [True] * 4
    )
    assert [len(group) for group in cut] == [len(group) for group in groups]
    # What pictures are said to take is what they take in the file.
    bare = tmp_path / "bare.html"
    command("report", store, "--no-viewer", "-o", bare)
    taken = whole - bare.stat().st_size
    listed = 300 * sum(len(group) for group in groups)
    sizes = sum(one.size for group in groups for one in group)
    assert sizes - 5000 < taken < sizes + listed


def test_rates_are_those_that_codecs_reach(store: Path) -> None:
    averages = aggregate(load(store))
    found = scenes.common_rates(averages, "photos")
    assert found == [0.3, 0.6]
    points = averages[averages["complete"]]
    for rate in (0.15, *found):
        near = points[points["bpp"].between(rate / 1.5, rate * 1.5)]["codec"].nunique()
        assert (near >= 2) == (rate in found)
    far = averages.assign(bpp=averages["bpp"] * 100)
    rates = scenes.common_rates(far, "photos")
    assert len(rates) == 3
    assert far["bpp"].min() < rates[0] < rates[1] < rates[2] < far["bpp"].max()


def test_the_page_tells_how_it_came_about(shown: Any) -> None:
    assert " -m lic_bench report " in shown["command"]
    [run] = shown["runs"]
    assert run["measurements"] == 3 * (5 + 5 + 6)
    assert set(run["codecs"]) == {"jpeg", "jpeg2000", "coarse"}
    assert run["libraries"]["pillow"] == PIL.__version__
    assert {codec["name"]: codec["unit"] for codec in shown["codecs"]} == {
        "jpeg": "quality",
        "jpeg2000": "compression ratio",
        "coarse": "step",
    }


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--rates", "0.3,x"], "--rates 0.3,x: bits per pixel are wanted"),
        (["--rates", "0"], "bits per pixel are wanted"),
        (["-o", "report.pdf"], "report.pdf: a report is written as .html"),
        (["-c", "jpeg3"], "did you mean jpeg?"),
        (["-d", "sample"], "There is no measured data set 'sample'"),
        (["--published", "vtm"], "No curves are published on photos"),
    ],
)
def test_a_wrong_request_is_told(store: Path, arguments: list[str], told: str) -> None:
    assert told in command("report", store, *arguments, code=2).stderr


def test_published_curves_stand_beside_ours(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measurements = load(store).assign(dataset="kodak")
    with pytest.raises(SpecError, match="kodak here is not the data set of 24 images"):
        data.gather(measurements, [], ["vtm"])
    monkeypatch.setattr(published_curves, "check_images", lambda *_: None)
    gathered = data.gather(measurements, [], ["vtm"])
    assert gathered["codecs"][-1] == {"name": "vtm (published)", "published": True}
    [dataset] = gathered["datasets"]
    assert dataset["curves"]["psnr_rgb"][-1]["encode_s"][0] is None
    assert dataset["bd"]["psnr_rgb"][-1][-1] == 0
    assert dataset["curves"]["psnr_y709"][-1] is None
