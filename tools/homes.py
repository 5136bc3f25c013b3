"""Folders for what programs keep between runs, where the user's own cannot be written.

A container run as another user, or a batch node, has a home that does not exist or is read-only.
Programs then say so on stderr, or stop.
"""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path

#: The variable that names a folder, and the folder under the home where nothing is set.
PLACES = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "MPLCONFIGDIR": ".config/matplotlib",
    "IPYTHONDIR": ".ipython",
    "JUPYTER_CONFIG_DIR": ".jupyter",
    "JUPYTER_DATA_DIR": ".local/share/jupyter",
    "JUPYTER_RUNTIME_DIR": ".local/share/jupyter/runtime",
}


@functools.cache
def spare() -> Path:
    """Make the folder that stands in; it goes when the program ends."""
    folder = tempfile.TemporaryDirectory(prefix="book-home-")
    spare.keep = folder  # or it would be gone at once
    return Path(folder.name)


def can_be_written(place: Path) -> bool:
    """Whether the folder, or the one in which it would be made, can be written."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def home() -> Path | None:
    """Return the user's home, None where there is none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def settle() -> None:
    """Point each variable whose folder cannot be written to one that can, for all that follows."""
    own = home()
    if own is None or not (own.is_dir() or can_be_written(own)):
        # A home that exists stays, read-only or not: it may hold settings.
        os.environ["HOME"] = str(spare())
    own = own or spare()
    for name, default in PLACES.items():
        place = Path(os.environ.get(name) or own / default)
        if not can_be_written(place):
            os.environ[name] = str(spare() / name.lower())
