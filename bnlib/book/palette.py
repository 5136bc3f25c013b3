"""One colour and one line style per normaliser through the whole book.

The line style repeats the distinction for readers who print in grey or do not see the colours
apart.
"""

from __future__ import annotations

Dash = tuple[float, tuple[float, ...]] | str

#: Colours of the normalisers: Okabe and Ito's palette, darkened where it was faint on white.
COLORS: dict[str, str] = {
    "none": "#6b7280",
    "bn": "#0072b2",
    "ln": "#d55e00",
    "gn": "#00896a",
    "in": "#c0589a",
    "rms": "#b47b00",
    "wn": "#7b4fa3",
    "ws": "#3d9bd9",
    "ghost": "#9a3fb5",
    "renorm": "#004c78",
    "sync": "#15889a",
    "skipinit": "#8a6d3b",
    "fixup": "#a23b3b",
    "nf": "#4d7c2a",
    "dyt": "#e0528b",
    "l1": "#5d5aa8",
    "dropout": "#97731a",
}


#: Line styles, the second channel: neighbours in a figure differ in style as well as in colour.
LINES: dict[str, Dash] = {
    "none": (0, (5, 2)),
    "bn": "-",
    "ln": (0, (7, 2, 1.5, 2)),
    "gn": (0, (2.5, 1.5)),
    "in": (0, (1, 1.5)),
    "rms": (0, (7, 2, 1.5, 2, 1.5, 2)),
    "wn": (0, (9, 2)),
    "ws": (0, (4, 1.5, 1, 1.5)),
    "ghost": (0, (6, 1.5)),
    "renorm": (0, (9, 2, 1.5, 2)),
    "sync": (0, (3, 1)),
    "skipinit": (0, (1, 1)),
    "fixup": (0, (5, 1.5, 1, 1.5, 1, 1.5)),
    "nf": (0, (8, 3)),
    "dyt": (0, (3, 2)),
    "l1": (0, (2, 2)),
    "dropout": (0, (4, 3)),
}


#: What a figure calls each of them.
NAMES: dict[str, str] = {
    "none": "no norm",
    "bn": "BN",
    "ln": "LN",
    "gn": "GN",
    "in": "IN",
    "rms": "RMSNorm",
    "wn": "weight norm",
    "ws": "weight std.",
    "ghost": "ghost BN",
    "renorm": "batch renorm",
    "sync": "sync BN",
    "skipinit": "SkipInit",
    "fixup": "Fixup",
    "nf": "normaliser-free",
    "dyt": "DyT",
    "l1": "L1 BN",
    "dropout": "dropout",
}


INK, FAINT, GRID = "#22272e", "#5b6470", "#d9dde3"


#: For what is not a normaliser (learning rates, layers, initialisations): in this order.
CYCLE: tuple[str, ...] = (
    "#0072b2",
    "#d55e00",
    "#00896a",
    "#7b4fa3",
    "#b47b00",
    "#c0589a",
    "#6b7280",
)
