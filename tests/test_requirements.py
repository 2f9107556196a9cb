"""The locked requirements hold what pyproject.toml and constraints.txt ask for, by its hashes."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["all"]]


def locked() -> list[tuple[Requirement, list[str]]]:
    """Each requirement of the lock, with its hashes."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "requirements" / "dev.txt").read_text())
    entries = []
    for line in text.replace("\\\n", "").splitlines():
        what, *hashes = line.split("--hash=")
        entries.append((Requirement(what), [one.strip() for one in hashes]))
    return entries


def versions(requirement: Requirement, environment: dict[str, str]) -> list[str]:
    """The versions that the lock has of a package on such a Python."""
    name = canonicalize_name(requirement.name)
    return [
        str(entry.specifier).removeprefix("==")
        for entry, _ in locked()
        if canonicalize_name(entry.name) == name
        and (entry.marker is None or entry.marker.evaluate(environment))
    ]


def test_each_file_is_held_to_one_version_and_to_sha256() -> None:
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert not requirement.url
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes), requirement


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_has_what_is_asked_for(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    constraints = (ROOT / "constraints.txt").read_text()
    pins = [line for line in constraints.splitlines() if re.match(r"[a-z]", line)]
    for text in [*WANTED, *pins]:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        found = versions(requirement, environment)
        if text in pins and not found:
            continue  # that of torchvision, where there is no CompressAI
        assert len(found) == 1, f"make lock: {text}"
        assert requirement.specifier.contains(found[0]), f"make lock: {text}, not {found[0]}"
