"""How gradient, Hessian and smoothness scale with the length of the weights."""

from __future__ import annotations

import math
from functools import partial

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import worst

_exact = partial(
    Claim, chapter="landscape", kind="exact", sources=("vanlaarhoven2017", "lyu2022"),
    expected=0.0, tolerance=1e-9,
)  # fmt: skip
CLAIMS = (
    _exact(
        id="landscape-gradient-scale",
        statement="Multiplying the weights before BN by a divides their gradient by a.",
        prediction="For a of 0.1 and 10 the difference is zero to rounding.",
        statistic=partial(worst, metric="gradient scale"),
    ),
    _exact(
        id="landscape-eigenvalue-scale",
        statement="Multiplying the weights before BN by a divides the top eigenvalue by a squared.",
        prediction="For a of 0.1 and 10 the difference is zero to rounding.",
        statistic=partial(worst, metric="eigenvalue scale"),
    ),
    _exact(
        id="landscape-relative-scale",
        statement="Multiplying the weights before BN by a leaves relative smoothness as it is.",
        prediction="For a of 0.1 and 10 the four relative measures do not move.",
        statistic=partial(worst, metric="relative"),
    ),
    _exact(
        id="landscape-ray",
        statement="Along weights before BN the loss has no curvature: ⟨w, Hw⟩ is zero.",
        prediction="The cosine of w and Hw is zero to rounding.",
        statistic=partial(worst, metric="ray"),
    ),
    _exact(
        id="landscape-degree",
        statement="The Hessian maps the weights before BN to minus their gradient.",
        prediction="Hw + g is zero to rounding, relative to g.",
        statistic=partial(worst, metric="degree"),
    ),
    _exact(
        id="landscape-l1-constant",
        kind="theory", sources=("hoffer2018",), expected=math.sqrt(math.pi / 2), tolerance=0.001,
        statement="For Gaussian values standard deviation over mean absolute deviation is 1.2533.",
        prediction="Over a million values it is the root of π/2 within 0.001.",
        statistic=partial(worst, metric="ratio"),
    ),
)  # fmt: skip
