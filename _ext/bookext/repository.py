"""The repository's address, if the build knows one; there is no invented address anywhere."""

from __future__ import annotations

import os
import re
import subprocess
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@lru_cache(maxsize=1)
def address() -> str | None:
    """Web address of the repository, from ``BNLIB_REPOSITORY`` or from git's remote, else None."""
    given = os.environ.get("BNLIB_REPOSITORY")
    if given is not None:
        return _as_web(given)
    command = ["git", "-C", str(ROOT), "config", "--get", "remote.origin.url"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return None
    return _as_web(done.stdout.strip())


def _as_web(remote: str) -> str | None:
    """Address of a remote as a browser opens it; None for a path or an unknown form."""
    ssh = re.fullmatch(r"(?:ssh://)?git@([^:/]+)[:/](.+?)(?:\.git)?/?", remote)
    if ssh:
        return f"https://{ssh[1]}/{ssh[2]}"
    # A user name or a token in the address must not reach the page.
    web = re.fullmatch(r"https://(?:[^@/]+@)?(.+?)(?:\.git)?/?", remote)
    return f"https://{web[1]}" if web else None


def github() -> str | None:
    """``owner/name`` if the repository is on GitHub."""
    found = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)", address() or "")
    return found[1] if found else None


def launches(name: str) -> dict[str, str]:
    """Links that open a generated notebook in Colab and on Binder, where an address is known.

    The notebooks are published with the site, on the branch that ``BNLIB_PAGES_BRANCH`` names
    (``gh-pages`` by default); Binder takes the environment from ``main``.
    """
    repo = github()
    if repo is None:
        return {}
    branch = os.environ.get("BNLIB_PAGES_BRANCH", "gh-pages")
    folder = repo.split("/")[1]
    pull = (
        f"git-pull?repo=https://github.com/{repo}&branch={branch}"
        f"&urlpath=lab/tree/{folder}/notebooks/{name}.ipynb"
    )
    for plain, coded in (("?", "%3F"), ("=", "%3D"), ("&", "%26"), (":", "%3A"), ("/", "%2F")):
        pull = pull.replace(plain, coded)
    colab = "https://colab.research.google.com/github"
    return {
        "Colab": f"{colab}/{repo}/blob/{branch}/notebooks/{name}.ipynb",
        "Binder": f"https://mybinder.org/v2/gh/{repo}/main?urlpath={pull}",
    }
