"""Finds what TARGET names: `file.py`, `package.module` or `package.module:app`. Runs the user's code, and says where it broke."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from stepwell.app import Stepwell
from stepwell.cli.command import BadUsage, did_you_mean
from stepwell.core.definition import Workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stepwell.cli.command import Place

_LIBRARIES: Final = (str(Path(__file__).parents[1]), str(Path(ast.__file__).parent))
"""Folders of Stepwell and of the standard library: the user's code is elsewhere."""


class BadTarget(BadUsage):
    """TARGET names nothing that a worker could run, or its code cannot be imported."""


def load(target: str, place: Place, *, show_traceback: bool = False) -> Stepwell:
    """The app that TARGET names. A module without one gets it from the configuration, with all the workflows in the module.

    What the place says goes before what the app says. The current directory is importable.

    Raises:
        BadTarget: there is no such module, its import fails, or it has no app and no workflows. With `show_traceback`, the whole
            traceback has been printed.
    """
    source, _, attribute = target.partition(":") if not _is_drive(target) else (target, "", "")
    module = _imported(source, show_traceback=show_traceback)
    if attribute:
        return elsewhere(_app_named(module, attribute, source), place)
    apps = list({id(value): value for value in vars(module).values() if isinstance(value, Stepwell)}.values())
    if len(apps) > 1:
        names = ", ".join(f"{source}:{name}" for name in _names_of_apps(module))
        raise BadTarget(f"{source} has {len(apps)} apps; say which: {names}")
    if apps:
        return elsewhere(apps[0], place)
    if not any(isinstance(value, Workflow) for value in vars(module).values()):
        raise BadTarget(f"{source} has no workflow and no app in it; decorate a function with @workflow, or name another module")
    return Stepwell(place.database, namespace=place.namespace, workflows=[module])


def elsewhere(app: Stepwell, place: Place) -> Stepwell:
    """The app itself, or one like it in the database and namespace that were given."""
    if place.database is None and place.namespace is None:
        return app
    return Stepwell(
        place.database or app._settings.engine or app.database_url,
        namespace=place.namespace or app.namespace,
        workflows=list(app._registry),
        timezone=app.timezone,
        max_payload=app._max_payload,
        max_crashes=app._max_crashes,
        retention=app._settings.retention,
    )


def _is_drive(target: str) -> bool:
    # The colon of a Windows drive parts nothing.
    return target[1:3] in {":\\", ":/"} and target.count(":") == 1


def _app_named(module: ModuleType, attribute: str, source: str) -> Stepwell:
    value: Any = getattr(module, attribute, None)
    if isinstance(value, Stepwell):
        return value
    if value is None:
        raise BadTarget(f"{source} has no {attribute!r}{did_you_mean(attribute, _names_of_apps(module))}")
    raise BadTarget(f"{source}:{attribute} is no Stepwell app but {type(value).__name__}")


def _names_of_apps(module: ModuleType) -> Iterator[str]:
    return (name for name, value in vars(module).items() if isinstance(value, Stepwell))


# -- the import, which runs the code of the user


def _imported(source: str, *, show_traceback: bool) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return _import_file(Path(source)) if is_file_target(source) else _import_module(source)
    except BadTarget:
        raise
    except (Exception, SystemExit) as error:  # it is the user's code that runs here
        if show_traceback:
            traceback.print_exception(error)
        raise BadTarget(f"{source} cannot be imported: {_in_one_line(error)}") from error


def is_file_target(source: str) -> bool:
    """Whether it is a path rather than the name of a module."""
    return source.endswith(".py") or "/" in source or "\\" in source


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise BadTarget(f"{name!r} is no name of a module; TARGET is file.py, package.module or package.module:app")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # the module is there, and misses another one
        files = [path.name for path in Path.cwd().glob("*.py")]
        advice = f"; did you mean {name}.py:app or the file {name}.py?" if f"{name}.py" in files else did_you_mean(f"{name}.py", files)
        raise BadTarget(f"there is no module {name!r}, seen from {Path.cwd()}{advice}") from None


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        files = (str(other) for other in path.parent.glob("*.py")) if path.parent.is_dir() else ()
        raise BadTarget(f"there is no file {path}, seen from {Path.cwd()}{did_you_mean(str(path), files)}")
    path = path.resolve()
    package = path.parent
    while (package / "__init__.py").exists():
        package = package.parent
    if str(package) not in sys.path:
        sys.path.insert(0, str(package))
    if package != path.parent:
        # A file of a package is imported by its full name, so that its relative imports work.
        return importlib.import_module(".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__"))
    return _import_alone(path)


def _import_alone(path: Path) -> ModuleType:
    # Under its own name, so that other files meet the same module; but one that is taken, as `json`, stays what it is.
    name = path.stem if path.stem not in sys.modules else f"stepwell_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadTarget(f"{path} is no Python file; its name ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _in_one_line(error: BaseException) -> str:
    """The error, with the line of the user's code at which it was raised."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({_place(error.filename, error.lineno, error.text)})"
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    if not frames:
        return said
    return f"{said} ({_place(frames[-1].filename, frames[-1].lineno, frames[-1].line)})"


def _is_users(filename: str) -> bool:
    return not filename.startswith(("<", *_LIBRARIES)) and "site-packages" not in filename


def _place(filename: str, line: int | None, text: str | None) -> str:
    path = Path(filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}, line {line}: {text.strip()}" if text else f"{shown}, line {line}"


# -- the default of `stepwell dev`


def only_target() -> str:
    """The only Python file with workflows in the current directory; of several, the only one with an app.

    The files are read, not run. Raises BadTarget: there is none, or one would have to choose.
    """
    named = {path.name: _what_is_in(path) for path in sorted(Path.cwd().glob("*.py"))}
    for wanted in ("Stepwell", "workflow"):
        found = [name for name, words in named.items() if wanted in words]
        if len(found) == 1:
            return found[0]
    candidates = [name for name, words in named.items() if words]
    if candidates:
        raise BadTarget(
            f"there are several files with workflows here; say which: stepwell dev {candidates[0]} (or {', '.join(candidates[1:])})"
        )
    raise BadTarget(f"no Python file in {Path.cwd()} has a workflow in it; say what to run: stepwell dev TARGET")


def _what_is_in(path: Path) -> set[str]:
    """Of `workflow` used as a decorator and `Stepwell` being called, those that the file has."""
    code = path.read_bytes()
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        # What is being written cannot always be read; its import will say where.
        return {"workflow"} if b"stepwell" in code else set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.update(_last_name(decorator) for decorator in node.decorator_list if _last_name(decorator) == "workflow")
        elif isinstance(node, ast.Call) and _last_name(node) == "Stepwell":
            found.add("Stepwell")
    return found


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Call(func=function):
            return _last_name(function)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""
