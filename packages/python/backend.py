"""Makes the wheel: the package, with the library that scripts/extension has built.

    packages/python/build [linux-amd64 | linux-arm64 | darwin-amd64 | darwin-arm64]
    pip install packages/python

The first writes build/python/*.whl, for this machine if no other is named; the second works as
the functions at the end are what pip asks for. It takes Python 3.11, but nothing else and no
network. The same library always gives the same wheel.
"""

import base64
import hashlib
import platform
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Dict, List, NoReturn, Optional

from platform_tag import TARGETS, LibraryError, platform_tag

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TAG_OF_PYTHON = "py3-none"


class BuildError(Exception):
    """Says what is missing for a wheel."""


def host() -> str:
    """Return the name of this machine's target."""
    machine = platform.machine().lower()
    return f"{sys.platform}-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def version() -> str:
    return (HERE.parent / "VERSION").read_text().strip()


def metadata(project: Dict[str, Any]) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {version()}",
        f"Summary: {project['description']}",
        f"Keywords: {','.join(project['keywords'])}",
        f"License-Expression: {project['license']}",
        *(f"Project-URL: {name}, {url}" for name, url in project["urls"].items()),
        *(f"Classifier: {classifier}" for classifier in project["classifiers"]),
        f"Requires-Python: {project['requires-python']}",
        "Description-Content-Type: text/markdown",
        "License-File: LICENSE",
        "License-File: NOTICE",
    ]
    return "\n".join(lines) + "\n\n" + (HERE / project["readme"]).read_text("utf-8")


def make_wheel(directory: Path, target_name: str, library_path: Optional[Path] = None) -> Path:
    """Write a wheel for a target, and return its path."""
    target = TARGETS.get(target_name)
    if target is None:
        raise BuildError(f"no target {target_name}, want one of {', '.join(TARGETS)}")
    path = library_path or ROOT / "build" / target_name / f"litestream{target.suffix}"
    if not path.exists():
        raise BuildError(f"{path} is missing: run scripts/extension {target_name}")
    library = path.read_bytes()
    tag = f"{TAG_OF_PYTHON}-{platform_tag(library, target)}"

    project = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]
    stem = f"{project['name'].replace('-', '_')}-{version()}"
    info = f"{stem}.dist-info"
    package = HERE / "src" / "litestream_vfs"
    files = {
        "litestream_vfs/__init__.py": (package / "__init__.py").read_bytes(),
        "litestream_vfs/py.typed": (package / "py.typed").read_bytes(),
        f"litestream_vfs/litestream{target.suffix}": library,
        f"{info}/licenses/LICENSE": (ROOT / "LICENSE").read_bytes(),
        f"{info}/licenses/NOTICE": (ROOT / "NOTICE").read_bytes(),
        f"{info}/METADATA": metadata(project).encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: litestream-vfs\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{name},{digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()

    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / f"{stem}-{tag}.whl"
    part = wheel.with_suffix(".part")  # a wheel is there in full, or not at all
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)  # of 1980, whenever it is made
            entry.external_attr = (0o100755 if name.endswith(target.suffix) else 0o100644) << 16
            entry.create_system = 3  # Unix, which has the mode
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    part.replace(wheel)
    return wheel


def digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def build_wheel(
    wheel_directory: str, config_settings: Optional[Dict[str, Any]] = None, metadata_directory: Optional[str] = None
) -> str:
    return make_wheel(Path(wheel_directory), (config_settings or {}).get("target", host())).name


def build_sdist(sdist_directory: str, config_settings: Optional[Dict[str, Any]] = None) -> NoReturn:
    raise BuildError("there are wheels only: the library is made by scripts/extension")


def main(arguments: List[str]) -> int:
    try:
        for name in arguments or [host()]:
            print(make_wheel(ROOT / "build" / "python", name))
    except (BuildError, LibraryError) as e:
        print(f"build: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
