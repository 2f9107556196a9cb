"""How a run came about: everything that one would ask of its numbers later."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import shutil
import sys
from pathlib import Path

_LIBRARIES = (
    "lic-bench",
    "numpy",
    "pillow",
    "glymur",
    "scikit-image",
    "torch",
    "compressai",
)


def command() -> str:
    """The command line of this process, quoted so that a shell takes it again."""
    return shlex.join([*_program(Path(sys.argv[0])), *sys.argv[1:]])


def machine() -> dict[str, object]:
    """The machine and the software: interpreter, system, processor, versions of libraries."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def gpu(device: str) -> str | None:
    """The name of a CUDA device; nothing for the CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return str(torch.cuda.get_device_name(device))


def _program(path: Path) -> list[str]:
    """How this program is called: by its name, where the shell finds it under that."""
    if path.name == "__main__.py":
        return [sys.executable, "-m", path.parent.name]
    program = shutil.which(path.name)
    return [path.name if program and path.exists() and path.samefile(program) else sys.argv[0]]


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The model of the processor, which the standard library does not tell on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
