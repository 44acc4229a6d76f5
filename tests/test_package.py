"""The package as an installed thing: its public names, its version, and what travels in the wheel."""

import configparser
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import csgnn_dgl

ROOT = Path(__file__).parents[1]
FOLDERS = ("csgnn_dgl", "pipelines", "configs")
NOT_INSTALLED = ("benchmarks", "tests")
MODULE_OF = {name: module for module, names in csgnn_dgl._NAMES_IN.items() for name in names.split()}


@pytest.mark.parametrize("name", csgnn_dgl.__all__)
def test_every_public_name_resolves_to_the_object_of_its_own_module(name: str) -> None:
    value = getattr(csgnn_dgl, name)
    if name != "__version__":
        module = importlib.import_module(f"csgnn_dgl.{MODULE_OF[name]}")
        assert value is getattr(module, name)
        assert value.__doc__


def test_the_public_names_are_listed_once_and_shown_by_dir() -> None:
    assert set(csgnn_dgl.__all__) == {*MODULE_OF, "__version__"}
    assert len(set(csgnn_dgl.__all__)) == len(csgnn_dgl.__all__)
    assert set(csgnn_dgl.__all__) <= set(dir(csgnn_dgl))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'csgnn_dgl' has no attribute 'no_such_name'"):
        csgnn_dgl.no_such_name  # noqa: B018


def test_the_version_agrees_with_setup_cfg_and_with_what_is_installed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["name"] == "csgnn_dgl"
    assert config["metadata"]["version"] == "attr: csgnn_dgl.__version__"
    try:
        assert version("csgnn_dgl") == csgnn_dgl.__version__
    except PackageNotFoundError:
        pytest.skip("runs from the source folder, not installed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the repository."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in (*FOLDERS, *NOT_INSTALLED):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(place)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = place.glob("*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_carries_the_code_and_all_that_it_reads(wheel: Path) -> None:
    assert wheel.name == f"csgnn_dgl-{csgnn_dgl.__version__}-py3-none-any.whl"
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".txt", ".json", ".cpp", ".gz"}
        or path.parent.name in {"carbon", "weights", "cpp"}
        if path.is_file() and path.suffix != ".pyc"
    }
    assert any(name.startswith("configs/") and name.endswith(".yaml") for name in wanted)
    assert packed == wanted | {"csgnn_dgl/py.typed"}


@pytest.mark.slow
def test_what_is_installed_has_one_command_for_all_programs(wheel: Path, tmp_path: Path) -> None:
    content = zipfile.ZipFile(wheel)
    content.extractall(tmp_path / "site")
    entries = content.read(f"csgnn_dgl-{csgnn_dgl.__version__}.dist-info/entry_points.txt").decode()
    assert "csgnn = pipelines.__main__:main" in entries

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        # an editable installation elsewhere must not lend its benchmarks
        code = "import sys; sys.modules['benchmarks'] = None; from pipelines.__main__ import main; sys.exit(main())"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = start("benchmark", "speed")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: csgnn benchmark needs the folder benchmarks, which comes with the repository only\n"
    shown = start("dos", "predict", "--help").stdout
    assert "usage: csgnn dos predict" in shown
