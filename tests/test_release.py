"""What a release says of itself agrees, and the forms and workflows are such as GitHub reads."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(set((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")))


def read(path: Path) -> dict:
    # The key `on` is a truth value to YAML 1.1, which PyYAML reads.
    return yaml.safe_load(path.read_text(encoding="utf-8").replace("\non:", '\n"on":'))


def test_version_and_date_are_the_same_everywhere() -> None:
    citation = read(ROOT / "CITATION.cff")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, day = re.findall(r"^## (\d+\.\d+\.\d+) \((.*)\)$", changes, re.M)[0]
    assert PROJECT["version"] == citation["version"] == version
    assert citation["date-released"] == date.fromisoformat(day)
    assert [author["name"] for author in citation["authors"]] == [
        author["name"] for author in PROJECT["authors"]
    ]
    assert citation["license"] == PROJECT["license"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_holds_together(path: Path) -> None:
    workflow = read(path)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert workflow["on"]
    assert workflow["permissions"] == {"contents": "read"}  # what a job needs beyond it, it says
    for name, job in workflow["jobs"].items():
        assert job.get("needs", name) in workflow["jobs"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step.get("uses", "a/b@v1"))
            for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
                assert re.search(rf"^{target}:", makefile, re.M), target


def test_tests_run_on_three_systems_and_all_pythons() -> None:
    jobs = read(ROOT / ".github/workflows/tests.yml")["jobs"]
    systems = {job["runs-on"] for job in jobs.values()}
    systems |= set(jobs["elsewhere"]["strategy"]["matrix"]["system"])
    assert {"ubuntu-latest", "macos-latest", "windows-latest"} <= systems
    named = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    assert set(jobs["linux"]["strategy"]["matrix"]["python"]) == named


def test_a_release_is_published_without_a_token() -> None:
    jobs = read(ROOT / ".github/workflows/release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_has_what_github_asks_for(path: Path) -> None:
    form = read(path)
    if path.name == "config.yml":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= set(form)
    fields = form["body"]
    assert {field["type"] for field in fields} <= {"textarea", "input", "dropdown", "markdown"}
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_pre_commit_asks_for_what_the_makefile_has() -> None:
    repositories = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert all(one["repo"] == "local" or re.match(r"v\d+\.\d+", one["rev"]) for one in repositories)
    hooks = {hook["id"] for one in repositories for hook in one["hooks"]}
    assert {"ruff-check", "ruff-format", "check"} <= hooks
