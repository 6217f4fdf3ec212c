"""What others have made and pages use is as they have made it, with their licences, and is in what users install."""

from __future__ import annotations

import re
import shutil
import tomllib
from hashlib import sha256
from pathlib import Path

from scripts.distributions import SOURCE, missing_from, package_files

WEB = SOURCE / "stepwell/web"
VENDOR = WEB / "static/vendor"
SUMS = {name: hashed for hashed, name in (line.split() for line in (VENDOR / "SHA256SUMS").read_text().splitlines())}


def test_each_file_is_unchanged() -> None:
    assert {path.name: sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir() if path.suffix in {".js", ".css"}} == SUMS


def test_each_file_says_of_which_version_it_is_and_has_its_licence_beside_it() -> None:
    for name in SUMS:
        found = re.fullmatch(r"([A-Za-z]+)-\d+\.\d+\.\d+\.[a-z.]+", name)
        assert found is not None, name
        assert "Permission" in (VENDOR / f"{found[1]}.LICENSE").read_text()


LICENCES = {"Zero-Clause BSD": "0BSD", "The MIT License": "MIT"}
"""How a licence begins, and what SPDX calls it."""


def test_the_licence_of_the_package_names_those_of_what_it_brings_along() -> None:
    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())["project"]
    brought = {path: path.read_text() for path in SOURCE.rglob("*.LICENSE")}
    named = {spdx for text in brought.values() for begin, spdx in LICENCES.items() if text.startswith(begin)}

    assert len(brought) == len(named) == 2
    assert set(project["license"].split(" AND ")) == {"Apache-2.0"} | named
    assert {path for pattern in project["license-files"] for path in SOURCE.parent.glob(pattern)} == {*brought, SOURCE.parent / "LICENSE"}


def test_each_file_is_used_by_a_page() -> None:
    pages = "".join(path.read_text() for path in WEB.glob("templates/**/*.html"))

    assert [name for name in SUMS if f"vendor/{name}" not in pages] == []


def test_templates_styles_scripts_and_licences_are_looked_for_in_what_was_built() -> None:
    inside = package_files(SOURCE)

    assert {
        "stepwell/web/templates/base.html",
        "stepwell/web/static/stepwell.css",
        "stepwell/web/static/stepwell.js",
        "stepwell/web/static/vendor/SHA256SUMS",
        "stepwell/web/static/vendor/idiomorph.LICENSE",
        "stepwell/store/postgres/queries.sql",
        "stepwell/py.typed",
    } <= set(inside)
    assert not any("__pycache__" in name for name in inside)


def test_a_wheel_without_templates_is_found(tmp_path: Path) -> None:
    shutil.copytree(SOURCE / "stepwell", tmp_path / "src/stepwell", ignore=shutil.ignore_patterns("templates", "__pycache__"))
    shutil.make_archive(str(tmp_path / "stepwell"), "zip", tmp_path / "src", "stepwell")
    (tmp_path / "stepwell.zip").rename(tmp_path / "stepwell.whl")

    missing = missing_from(tmp_path, ".whl", package_files(SOURCE))

    assert "stepwell.whl has no stepwell/web/templates/base.html" in missing
    assert all("templates" in line for line in missing)
