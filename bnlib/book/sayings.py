"""What people say about batch normalization, and which claims of the book put it to the test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bnlib.book.ledger import ledger


@dataclass(frozen=True)
class Saying:
    """One popular statement.

    Attributes
    ----------
    text : str
        The statement as one hears it.
    chapter, title : str
        File name and title of the chapter that tests it.
    sources : tuple of str
        Keys of the bibliography: who says it, or who contests it.
    claims : tuple of str
        Ids of the claims that test it, or beginnings of them that end in ``*``.
    """

    text: str
    chapter: str
    title: str
    sources: tuple[str, ...]
    claims: tuple[str, ...]


SAYINGS = (
    Saying(
        "Training converges in fewer steps.",
        "convergence", "Convergence", ("ioffe2015",),
        ("convergence-figure1", "convergence-equal-rate", "convergence-best-rate",
         "convergence-fair"),
    ),
    Saying(
        "The network ends at a higher accuracy.",
        "convergence", "Convergence", ("ioffe2015",), ("convergence-final",),
    ),
    Saying(
        "The distribution of each layer's inputs is more stable.",
        "convergence", "Convergence", ("ioffe2015",), ("convergence-stable-inputs",),
    ),
    Saying(
        "It works because it reduces internal covariate shift.",
        "shift", "Internal covariate shift", ("ioffe2015", "santurkar2018", "awais2020"),
        ("shift-*",),
    ),
    Saying(
        "It allows much larger learning rates.",
        "learning-rate", "Learning rates", ("ioffe2015", "bjorck2018", "desmith2020"),
        ("learning-rate-*",),
    ),
    Saying(
        "It makes training insensitive to the initial weights.",
        "initialization", "Initial weights", ("ioffe2015", "zhang2019fixup"),
        ("initialization-*",),
    ),
    Saying(
        "It makes the loss landscape smoother.",
        "landscape", "The loss landscape", ("santurkar2018", "kohler2019", "karakida2019"),
        ("landscape-*",),
    ),
    Saying(
        "It keeps gradients from vanishing and exploding.",
        "gradients", "Gradients in depth", ("ioffe2015", "yang2019", "meterez2024"),
        ("gradients-*",),
    ),
    Saying(
        "The scale of the weights no longer matters, and weight decay only sets the learning rate.",
        "invariance", "Scale invariance", ("vanlaarhoven2017", "hoffer2018", "li2020"),
        ("invariance-*",),
    ),
    Saying(
        "The noise of mini-batch statistics regularises, so that dropout is needed less.",
        "noise", "Noise and regularisation", ("ioffe2015", "luo2019", "teye2018"),
        ("noise-*",),
    ),
    Saying(
        "The output has mean zero and variance one, whatever comes in.",
        "transform", "The transform", ("ioffe2015",), ("transform-*",),
    ),
    Saying(
        "The gradient must flow through the statistics.",
        "backward", "The backward pass", ("ioffe2015",), ("backward-*",),
    ),
    Saying(
        "Running averages give the statistics that inference needs.",
        "modes", "Training and inference", ("ioffe2015", "singh2019evalnorm", "wu2021"),
        ("modes-*",),
    ),
    Saying(
        "Put it after the linear map and before the activation.",
        "placement", "Placement", ("ioffe2015", "he2016identity"), ("placement-*",),
    ),
    Saying(
        "Gamma and beta give back what normalising takes away.",
        "affine", "Gamma and beta", ("ioffe2015", "frankle2021"), ("affine-*",),
    ),
    Saying(
        "It needs large batches.",
        "batch-size", "Batch size", ("ioffe2017", "wu2018"), ("batch-size-*",),
    ),
    Saying(
        "Other normalisers, or none with care, do as well.",
        "alternatives", "Alternatives", ("ba2016", "wu2018", "brock2021", "zhu2025dyt"),
        ("alternatives-*",),
    ),
    Saying(
        "After training it costs nothing: it folds into the layer before it.",
        "deployment", "Deployment", ("jacob2018",), ("deployment-*",),
    ),
)  # fmt: skip


def table(results: Path | str | None = None) -> pd.DataFrame:
    """Return the sayings with their verdicts, one row each.

    Returns
    -------
    DataFrame
        Columns text, chapter, title, sources, claims (the ids that test it) and verdict: the
        one that all of its claims share, "depends" where they differ, "not run" where no
        experiment exists yet.
    """
    rows = ledger(results).set_index("id")["verdict"]
    found = []
    for saying in SAYINGS:
        ids = [i for i in rows.index if any(_matches(i, pattern) for pattern in saying.claims)]
        verdicts = set(rows.loc[ids]) or {"not run"}
        verdict = verdicts.pop() if len(verdicts) == 1 else "depends"
        found.append(
            [saying.text, saying.chapter, saying.title, list(saying.sources), ids, verdict]
        )
    columns = ["text", "chapter", "title", "sources", "claims", "verdict"]
    return pd.DataFrame(found, columns=columns)


def markdown(chapters: Path | str = ".", results: Path | str | None = None) -> str:
    """Return the table as MyST Markdown, a chapter linked where its file exists.

    Parameters
    ----------
    chapters : path
        Folder of the chapters, as the page that shows the table sees it.
    results : path, optional
        As in `table`.
    """
    lines = [
        "| What people say | Who says or contests it | Tested in | Verdict |",
        "|---|---|---|---|",
    ]
    for row in table(results).to_dict("records"):
        there = (Path(chapters) / f"{row['chapter']}.md").exists()
        tested = f"[{row['title']}]({row['chapter']}.md)" if there else row["title"]
        cited = "{cite:t}`" + ",".join(row["sources"]) + "`"
        verdicts = " ".join("{verdict}`" + claim + "`" for claim in row["claims"]) or "*not run*"
        lines.append(f"| {row['text']} | {cited} | {tested} | {verdicts} |")
    return "\n".join(lines)


def _matches(claim_id: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return claim_id.startswith(pattern[:-1])
    return claim_id == pattern
