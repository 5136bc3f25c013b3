"""Build the book: nothing if nothing changed, else the chapters in parallel, then the site."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "_ext"))

from bookext.cache import DATA, digest, folder  # noqa: E402 - after the path is set
from bookext.repository import address  # noqa: E402

BUILD = ROOT / "_build"
STAMP = BUILD / ".built"
MACHINE = (*DATA, "_ext", "_config.yml", "_toc.yml", "tools")
INPUTS = (
    *MACHINE,
    "_static",
    "chapters",
    "index.md",
    "references.bib",
    "README.md",
    "CHANGELOG.md",
)


def state(names: tuple[str, ...]) -> str:
    """Hash of the inputs, and of the address that ends up on the pages."""
    present = [name for name in names if (ROOT / name).exists()]
    return f"{digest(ROOT, present)} {address()}"


def forget_old_cells() -> None:
    """Remove the executed cells of earlier states of package and results."""
    for path in BUILD.glob("cells-*"):
        if path != folder(ROOT):
            shutil.rmtree(path)


def sphinx(everything: bool) -> int:
    """Run Jupyter Book, warnings being errors; the exit status."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(ROOT)]
    if everything:
        # Pages that are no longer in the book must not stay on the site.
        shutil.rmtree(BUILD / "html", ignore_errors=True)
    command += ["-n", "-W", "--keep-going", "--path-output", str(ROOT), *(["--all"] * everything)]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def say_where() -> None:
    """Print how to open the book."""
    print(f"\nThe book is in {BUILD / 'html'}: open index.html there, or run `make serve`.")


def main() -> int:
    """Build; the exit status."""
    now, machine = state(INPUTS), state(MACHINE)
    old = STAMP.read_text(encoding="utf-8").splitlines() if STAMP.is_file() else []
    if old[:1] == [now] and (BUILD / "html" / "index.html").is_file():
        print("Nothing changed since the last build.")
        say_where()
        return 0
    STAMP.unlink(missing_ok=True)
    forget_old_cells()
    import data
    import execute
    import homes

    homes.settle()
    if data.main() or execute.main(ROOT):
        return 1
    # Sphinx re-reads the pages that changed; what it cannot see changing re-reads them all.
    status = sphinx(everything=old[1:2] != [machine])
    if status == 0:
        STAMP.write_text(f"{now}\n{machine}\n", encoding="utf-8")
        say_where()
    return status


if __name__ == "__main__":
    raise SystemExit(main())
