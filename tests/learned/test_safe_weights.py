"""Weights that anybody may have made: looked at before anything is made of them."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lic_bench import Image, Registry, SpecError, UnavailableError
from lic_bench.learned.safe_weights import check_shapes, described, read_header, read_tensors

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("constriction")

from lic_bench.codecs.content_weighted.codec import WEIGHTS  # noqa: E402


def changed(tmp_path: Path, settings: dict[str, object], **tensors: object) -> Path:
    """The weights that come along, with other settings, or other tensors."""
    path = tmp_path / "w.safetensors"
    with safetensors.safe_open(WEIGHTS["mse"], "pt") as file:
        held = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = json.loads(file.metadata()["content-weighted"])
    metadata["settings"] |= settings
    for name, change in tensors.items():
        [key] = [key for key in held if key == name.replace("__", ".")]
        held[key] = change(held[key])  # type: ignore[operator]
    safetensors.save_file(held, path, {"content-weighted": json.dumps(metadata)})
    return path


def refused(path: Path, photo: Image) -> str:
    codec = Registry().codec(f"content-weighted:weights={path}")
    with pytest.raises((UnavailableError, SpecError)) as caught:
        codec.encode(photo[:64, :64], codec.points[0])
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_weights_that_come_along_are_good(tmp_path: Path, photo: Image) -> None:
    """Else the tests below would prove nothing."""
    codec = Registry().codec(f"content-weighted:weights={changed(tmp_path, {})}")
    assert codec.encode(photo[:64, :64], codec.points[0])


@pytest.mark.parametrize(
    "settings",
    [{"width": 2000}, {"width": 10**9}, {"n": 6400}, {"levels": 10**9}, {"coefficients": 10**7}],
    ids=str,
)
def test_a_network_that_the_file_does_not_hold_is_not_built(
    settings: dict[str, object], tmp_path: Path, photo: Image
) -> None:
    """3.8 kB made a network of 8.4 GB before their shapes were compared."""
    path = changed(tmp_path, settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, photo)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000 * (1 if sys.platform == "linux" else 1024)


@pytest.mark.parametrize("name", ["net__decoder__0__weight", "context__local", "rate__own"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(
    name: str, value: float, tmp_path: Path, photo: Image
) -> None:
    with safetensors.safe_open(WEIGHTS["mse"], "pt") as file:
        if name.replace("__", ".") not in file.keys():  # noqa: SIM118
            pytest.skip("this network has no such layer")

    def spoilt(tensor: "torch.Tensor") -> "torch.Tensor":
        tensor = tensor.clone()
        tensor.view(-1)[-1] = value
        return tensor

    assert "no number" in refused(changed(tmp_path, {}, **{name: spoilt}), photo)


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    os.mkfifo(path)
    with pytest.raises(SpecError, match="is no file"):
        Registry().codec(f"content-weighted:weights={path}")
    with pytest.raises(UnavailableError, match="no file"):
        read_header(path)


GOOD = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}


@pytest.mark.parametrize(
    "tensor",
    [
        {},
        [],
        GOOD | {"dtype": "F17"},
        GOOD | {"dtype": []},
        GOOD | {"shape": [2, 4]},
        GOOD | {"shape": [2, -3]},
        GOOD | {"shape": [2**40, 2**40]},
        GOOD | {"shape": [True, 6]},
        GOOD | {"shape": [0.5, 12]},
        GOOD | {"shape": "xy"},
        GOOD | {"data_offsets": [0, 13]},
        GOOD | {"data_offsets": [12, 0]},
        GOOD | {"data_offsets": [-1, 11]},
        GOOD | {"data_offsets": [1 << 62, (1 << 62) + 12]},
        GOOD | {"data_offsets": [0]},
    ],
    ids=str,
)
def test_a_header_that_cannot_be(tensor: object, tmp_path: Path) -> None:
    path = tmp_path / "w"
    for header, wrong in (({"a": GOOD}, False), ({"a": tensor}, True)):
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))
        if wrong:
            with pytest.raises(UnavailableError, match="is no safetensors file"):
                read_header(path)
        else:
            assert read_header(path).shapes == {"a": (2, 3)}


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 8, bytes(8), b"\x02" + bytes(7)])
def test_what_is_no_such_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(content)
    with pytest.raises(UnavailableError):
        read_header(path)


def test_shapes_are_compared_both_ways(tmp_path: Path) -> None:
    check_shapes(tmp_path, {"a": (1,)}, {"a": (1,)})
    for found in ({}, {"a": (2,)}, {"a": (1,), "b": (1,)}):
        with pytest.raises(UnavailableError, match="other weights than its settings say"):
            check_shapes(tmp_path, found, {"a": (1,)})


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("net__digits__place", -2, 100_000),
        ("net__digits__place", -2, -(2**62)),
        ("net__digits__sign", -1, 7),
        ("net__digits__coefficient", 0, 5),
        ("context__related", -1, 2**40),
    ],
)
def test_whole_numbers_that_would_lead_out_of_a_table(
    name: str, at: int, value: int, tmp_path: Path, photo: Image
) -> None:
    """The place of a digit was looked up as it stood: memory beside the table became pixels."""

    def led_out(tensor: "torch.Tensor") -> "torch.Tensor":
        tensor = tensor.clone()
        tensor.view(-1)[at] = value
        return tensor

    assert "hold no network" in refused(changed(tmp_path, {}, **{name: led_out}), photo)


@pytest.mark.parametrize("name", ["net__digits__place", "context__related", "context__local"])
def test_tensors_of_another_type_are_refused(name: str, tmp_path: Path, photo: Image) -> None:
    with safetensors.safe_open(WEIGHTS["mse"], "pt") as file:
        if name.replace("__", ".") not in file.keys():  # noqa: SIM118
            name = "context__out"

    def other(tensor: "torch.Tensor") -> "torch.Tensor":
        return tensor.double() if tensor.dtype == torch.int64 else tensor.long()

    assert " as torch." in refused(changed(tmp_path, {}, **{name: other}), photo)


def test_more_channels_than_a_file_has_bytes(tmp_path: Path, photo: Image) -> None:
    """A tuple of as many numbers took 8 GB."""
    assert "coefficients is" in refused(changed(tmp_path, {"coefficients": 10**9}), photo)


def test_no_codec_imports_torchs_compiler() -> None:
    """It takes longer than all else of a codec's start, and the ``meta`` device asks for it."""
    code = """
import sys
import numpy as np
from lic_bench import Registry

registry = Registry()
ours = [name for name in registry.names() if name != "compressai"]
for name in ours:
    if registry.entry(name).problem is None and "torch" in str(registry.codec(name).versions()):
        codec = registry.codec(name)
        codec.decode(codec.encode(np.zeros((9, 7, 3), np.uint8), codec.points[0]))
        print(name)
        assert not {"torch._dynamo", "sympy"} & set(sys.modules), name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"content-weighted", "recurrent"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"net.a": torch.ones(2, 3)}, None),
        ({"net.a": torch.ones(2, 3), "table.b": torch.ones(7)}, None),  # of no concern
        ({"net.a": torch.ones(3, 2)}, r"net\.a is \(3, 2\), and would be \(2, 3\)"),
        ({"net.a": torch.ones(2, 3), "net.b": torch.ones(1)}, r"net\.b is .* not there"),
        ({"table.b": torch.ones(7)}, r"net\.a is missing"),
        ({"net.a": torch.full((2, 3), torch.nan)}, r"no number, in net\.a"),
        ({"net.a": torch.full((2, 3), torch.inf)}, r"no number, in net\.a"),
    ],
)
def test_tensors_are_those_that_settings_describe(tensors, problem, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(safetensors.save(tensors))
    if problem is None:
        assert list(read_tensors(path, {"net.a": (2, 3)}, "net.")) == ["net.a"]
    else:
        with pytest.raises(UnavailableError, match=problem):
            read_tensors(path, {"net.a": (2, 3)}, "net.")


@pytest.mark.parametrize(
    "about", ["", "[]", "{}", '{"width": "3"}', '{"width": Infinity}', "[" * 100_000]
)
def test_what_makes_no_network_is_no_file_of_the_codec(about: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(safetensors.save({"a": torch.ones(1)}, {"mine": about}))
    with (
        pytest.raises(UnavailableError, match="holds no weights of the codec mine"),
        described(path, "mine") as found,
    ):
        int(found["width"] + 0)
    with (
        pytest.raises(UnavailableError, match="holds no weights of the codec other"),
        described(path, "other"),
    ):
        pass
