"""Make the virtual environment, or say in one line what this Python lacks.

Run by whatever Python the user has, so it is written for all of them.
"""

import importlib
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 14)

#: Modules that a Python may have been built without, and who needs them.
NEEDED = ("bz2", "ctypes", "lzma", "sqlite3", "ssl", "zlib")


def has(name):
    """Whether a module of the standard library can be imported."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def lacking():
    """Return what this Python lacks, as the end of a sentence; None if nothing."""
    if sys.version_info < OLDEST:
        return "3.11 or later is needed"
    if sys.implementation.name != "cpython":
        return "PyTorch needs CPython, and this is " + sys.implementation.name
    if sys.maxsize < 2**32:
        return "PyTorch needs a 64-bit Python, and this is a 32-bit one"
    if not (has("venv") and has("ensurepip")):
        return "it has no venv; on Debian and Ubuntu: apt install python3-venv"
    lost = [name for name in NEEDED if not has(name)]
    if lost:
        return "it was built without the modules " + ", ".join(lost)
    return None


def make(folder):
    """Make the environment anew; return what went wrong, None if nothing."""
    command = [sys.executable, "-m", "venv", "--clear", folder]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if done.returncode == 0:
        return None
    # Half an environment would be taken for a whole one.
    shutil.rmtree(folder, ignore_errors=True)
    said = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return "venv failed: " + (said[-1] if said else "it did not say why")


def say(text):
    """Print a line about this Python."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    sys.stderr.write("Python " + version + " (" + sys.executable + ") " + text + "\n")


def main():
    """Print what is lacking, or make the environment; the exit status."""
    if sys.version_info[:2] > NEWEST:
        say("is newer than the versions in requirements.lock, which may not install.")
    found = lacking() or make(sys.argv[1])
    if found:
        say("will not do: " + found + ".")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
