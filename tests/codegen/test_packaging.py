"""A wheel, installed away from the checkout, does the main job."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "bytellama"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_everything_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    files = {
        path.relative_to(ROOT).as_posix()
        for package in ("codegen", "ir")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    templates = {
        f"codegen/_templates/{path.relative_to(ROOT / 'templates').as_posix()}"
        for path in (ROOT / "templates").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {n for n in names if ".dist-info/" not in n} == files | templates
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_installed_wheel_transforms_and_verifies(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(home)}))
    _install(wheel, site)
    _borrow_dependencies(site)
    python = home / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from codegen.cli import main; sys.exit(main())"
        return subprocess.run(
            [str(python), "-I", "-c", code, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    where = subprocess.run(
        [str(python), "-I", "-c", "import codegen, ir; print(codegen.__file__, ir.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(ROOT) not in where
    made = run("transform", "-s", str(EXAMPLE), "-py", "-o", "out")
    assert made.returncode == 0, made.stderr
    checked = run("verify", "out", "-s", str(EXAMPLE), "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _install(wheel: Path, site: Path) -> None:
    options = ["--no-deps", "--no-index", "-q", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)


def _borrow_dependencies(site: Path) -> None:
    # torch is large: the packages of the environment that runs the tests serve here too. Only
    # their directory is added, not its .pth files, so the editable install stays out.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
