"""Looks into the archive and the wheel that were built, for what users need and a build easily loses.

Run as `python -m scripts.distributions DIRECTORY`.
"""

import sys
import tarfile
import zipfile
from pathlib import Path

NEEDED = {
    ".whl": (
        "stepwell/__init__.py", "stepwell/py.typed", "stepwell/store/sqlite/queries.sql", "stepwell/store/sqlite/schema/0001_initial.sql",
        "_stepwell_pytest.py", "licenses/LICENSE", "licenses/src/stepwell/web/static/vendor/uPlot.LICENSE",
    ),
    ".tar.gz": (
        "src/stepwell/__init__.py", "src/stepwell/py.typed", "examples/demo/__main__.py", "LICENSE", "Makefile", "README.md",
        "docs/operations.md", "tests/conftest.py",
    ),
}  # fmt: skip
"""By kind of file, the ends of the names that must be in it."""


SOURCE = Path(__file__).parents[1] / "src"


def main(directory: Path) -> None:
    """Say what is missing and exit with 1, or say what was found."""
    inside = package_files(SOURCE)
    missing = [line for ending, needed in NEEDED.items() for line in missing_from(directory, ending, (*needed, *inside))]
    if missing:
        sys.exit("\n".join(missing))
    print(f"{directory} has all that it needs: {', '.join(file.name for file in sorted(directory.iterdir()))}")


def package_files(source: Path) -> tuple[str, ...]:
    """All that the package has besides code: SQL, templates, styles, scripts, and the licences of what others have made."""
    files = (path for path in sorted((source / "stepwell").rglob("*")) if path.is_file() and path.suffix not in {".py", ".pyc"})
    return tuple(path.relative_to(source).as_posix() for path in files)


def missing_from(directory: Path, ending: str, needed: tuple[str, ...]) -> list[str]:
    """One line for each file that is not where it should be."""
    built = sorted(directory.glob(f"*{ending}"))
    if len(built) != 1:
        return [f"{directory} should have one file *{ending}, and has {len(built)}"]
    names = names_in(built[0])
    return [f"{built[0].name} has no {name}" for name in needed if not any(found.endswith(f"/{name}") or found == name for found in names)]


def names_in(file: Path) -> list[str]:
    """The names of the files in an archive or a wheel."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return wheel.namelist()
    with tarfile.open(file) as archive:
        return archive.getnames()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
