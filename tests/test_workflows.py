"""The workflows, the citation file and the changelog: valid, and about things that exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".github/workflows"
NAMES = ("ci", "publish", "weekly")


def load(name: str) -> dict[str, Any]:
    """Read a workflow as YAML 1.2, in which ``on`` is a word and no truth value."""
    data: dict[str, Any] = YAML(typ="safe").load((FOLDER / f"{name}.yml").read_text("utf-8"))
    return data


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in load(name)["jobs"].values() for step in job["steps"]]


def scripts(name: str) -> list[str]:
    return [step["run"] for step in steps(name) if "run" in step]


def valid(path: Path, schema: str) -> subprocess.CompletedProcess[str]:
    """Check a file by a schema that comes with check-jsonschema: nothing is downloaded."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def test_these_are_all():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"]
)
def test_valid(name: str, schema: str):
    done = valid(FOLDER / f"{name}.yml", schema)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "old", "new"),
    [
        ("vendor.github-workflows", "runs-on:", "run-on:"),
        ("custom.github-workflows-require-timeout", "    timeout-minutes: 60\n", ""),
    ],
)
def test_an_invalid_workflow_is_refused(tmp_path: Path, schema: str, old: str, new: str):
    text = (FOLDER / "ci.yml").read_text("utf-8")
    assert old in text
    broken = tmp_path / "ci.yml"
    broken.write_text(text.replace(old, new), "utf-8")
    assert valid(broken, schema).returncode != 0


@pytest.mark.parametrize("name", NAMES)
def test_asks_for_no_more_than_it_needs(name: str):
    workflow = load(name)
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    granted = {
        job: body["permissions"] for job, body in workflow["jobs"].items() if "permissions" in body
    }
    wanted = {
        "pages": {"pages": "write", "id-token": "write"},
        "notebooks": {"contents": "write"},  # pushes the branch that Colab opens
        "release": {"contents": "write"},
    }
    assert granted == (wanted if name == "publish" else {})


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_githubs_own_at_a_major_version(name: str):
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", action), action


def test_one_version_of_each_action():
    used = {step["uses"] for name in NAMES for step in steps(name) if "uses" in step}
    assert len({action.split("@")[0] for action in used}) == len(used), sorted(used)


@pytest.mark.parametrize("name", NAMES)
def test_scripts_are_shell(name: str):
    for script in scripts(name):
        plain = re.sub(r"\$\{\{.*?\}\}", "VALUE", script)
        done = subprocess.run(
            ["bash", "-n"], input=plain, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"


def test_ci_runs_the_same_script_on_two_pythons():
    ci = load("ci")
    assert {"push", "pull_request"} <= set(ci["on"])
    assert "bash .ci/run" in scripts("ci")
    pythons = ci["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert pythons[0] == "3.11"
    assert len(pythons) == 2


def test_publish_sends_the_site_to_pages_and_an_archive_to_the_release():
    publish = load("publish")
    assert publish["on"]["push"]["tags"] == ["v[0-9]+.[0-9]+.[0-9]+"]
    jobs = publish["jobs"]
    assert jobs["pages"]["needs"] == jobs["release"]["needs"] == "build"
    assert "main" in jobs["pages"]["if"]
    assert "refs/tags/v" in jobs["release"]["if"]
    used = " ".join(step.get("uses", "") for step in steps("publish"))
    assert "upload-pages-artifact" in used
    assert "deploy-pages" in used
    text = "\n".join(scripts("publish"))
    for needed in ("make book", "*.ipynb", "sha256sum", "sha256sum --check", "gh release upload"):
        assert needed in text


def test_weekly_reproduces_compares_and_follows_links():
    weekly = load("weekly")
    assert weekly["on"]["schedule"]
    text = "\n".join(scripts("weekly"))
    for needed in (
        "make reproduce",
        "bnlib verify",
        "claims --results results --against",
        "linkcheck",
        "diff",
        "--upgrade",
        ".ci/full",
    ):
        assert needed in text


def test_makefile_has_every_target_that_a_workflow_calls():
    called = {t for n in NAMES for s in scripts(n) for t in re.findall(r"\bmake ([a-z]+)", s)}
    assert {"book", "reproduce"} <= called
    makefile = (ROOT / "Makefile").read_text("utf-8")
    missing = {t for t in called if not re.search(rf"^{t}\b[^:=\n]*:(?!=)", makefile, re.MULTILINE)}
    assert not missing, f"no target {sorted(missing)} in the Makefile"


def test_citation_file():
    path = ROOT / "CITATION.cff"
    done = valid(path, "vendor.citation-file-format")
    assert done.returncode == 0, done.stdout + done.stderr
    citation = YAML(typ="safe").load(path.read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["authors"] == [{"name": f"The authors of {citation['title']}"}]


def test_changelog_has_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    headings = re.findall(
        r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    names = [name for name, _ in headings]
    assert names[0] == "Unreleased"
    assert project["version"] in names
    for name, rest in headings[1:]:
        assert re.fullmatch(r" - (Unreleased|\d{4}-\d{2}-\d{2})", rest), f"{name}{rest}"
