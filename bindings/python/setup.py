"""Builds libqdisp.so with meson (or takes one that is there) and puts it and the declarations into the package.

QDISP_LIBRARY=/path/to/libqdisp.so.0 takes that file. Otherwise the library is built from the project root with meson
and ninja; where these are missing, one that pkg-config knows is taken; else the error says what to install.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARY = "libqdisp.so.0"
PACKAGES = "meson ninja-build gcc pkg-config libopenblas-dev libutf8proc-dev libpcre2-dev libjansson-dev libpopt-dev"


def fail(message: str) -> None:
    raise SystemExit(f"qdisp: {message}")


def run(command: list[str]) -> subprocess.CompletedProcess:
    # meson is a Python program of its own: pip's isolated PYTHONPATH would hide its modules
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace")


def pkg_config(*arguments: str) -> str | None:
    if not shutil.which("pkg-config"):
        return None
    done = subprocess.run(["pkg-config", *arguments, "qdisp"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def installed_library() -> Path | None:
    folder = pkg_config("--variable=libdir")
    path = Path(folder, LIBRARY) if folder else None
    return path if path and path.is_file() else None


def build_library() -> Path:
    """Builds with meson into a folder of this package: build/libqdisp."""
    if not (ROOT / "meson.build").is_file():
        fail(f"{ROOT} is not the source tree of qdisp: install from a clone (pip install ./bindings/python, pip 21.3 "
             "or later), or set QDISP_LIBRARY to a libqdisp.so.0")
    missing = [tool for tool in ("meson", "ninja") if not shutil.which(tool)]
    if missing:
        fail(f"{' and '.join(missing)} not found, which build libqdisp.so. On Debian: apt-get install {PACKAGES}\n"
             "Or set QDISP_LIBRARY to a libqdisp.so.0, or install qdisp so that pkg-config finds it.")
    folder = HERE / "build" / "libqdisp"
    options = ["--buildtype=release", "-Dtests=false", "-Dexamples=false"]
    command = ["meson", "setup", *options, str(folder), str(ROOT)]
    if (folder / "build.ninja").is_file():
        command.insert(2, "--reconfigure")
    elif folder.exists():
        shutil.rmtree(folder)  # left by a set-up that failed
    done = run(command)
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line or "not found" in line.lower()]
        fail("meson could not set up the build:\n  " + "\n  ".join(lines or done.stdout.splitlines()[-10:]) +
             f"\nOn Debian: apt-get install {PACKAGES}")
    done = run(["ninja", "-C", str(folder)])
    if done.returncode != 0:
        fail("libqdisp.so does not compile:\n" + "\n".join(done.stdout.splitlines()[-40:]))
    return folder / "lib" / LIBRARY


def find_library() -> Path:
    given = os.environ.get("QDISP_LIBRARY")
    if given:
        if not Path(given).is_file():
            fail(f"QDISP_LIBRARY: no file {given}")
        return Path(given)
    has_tools = shutil.which("meson") and shutil.which("ninja") and (ROOT / "meson.build").is_file()
    if not has_tools:
        installed = installed_library()
        if installed:
            return installed
    return build_library()


def find_headers() -> Path:
    folders = [ROOT / "include" / "qdisp"]
    installed = pkg_config("--variable=includedir")
    if installed:
        folders.append(Path(installed, "qdisp"))
    for folder in folders:
        if (folder / "qdisp.h").is_file():
            return folder
    fail(f"no headers in {' or '.join(map(str, folders))}")
    raise AssertionError


def declarations() -> str:
    spec = importlib.util.spec_from_file_location("_cdef", HERE / "qdisp" / "_cdef.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.from_headers(find_headers())


def version() -> str:
    text = (find_headers() / "base.h").read_text("utf-8")
    return ".".join(re.search(rf"QDISP_VERSION_{part} (\d+)", text).group(1) for part in ("MAJOR", "MINOR", "PATCH"))


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        editable = getattr(self, "editable_mode", False)
        package = HERE / "qdisp" if editable else Path(self.build_lib) / "qdisp"
        package.mkdir(parents=True, exist_ok=True)
        (package / "qdisp_cdef.h").write_text(declarations(), "utf-8")
        target = package / LIBRARY
        if target.exists():
            target.unlink()  # a running process may have mapped it
        shutil.copyfile(find_library(), target)


class PlatformWheel(bdist_wheel):
    """Any Python 3, but one platform: the package holds a shared library."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(version=version(), cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel})
