"""The identities of scale-invariant weights."""

from __future__ import annotations

from functools import partial

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import worst

_exact = partial(Claim, chapter="invariance", kind="exact", expected=0.0, tolerance=1e-9)
CLAIMS = (
    _exact(
        id="invariance-function", sources=("ioffe2015",),
        statement="Scaling each unit's weights by its own positive factor changes no output.",
        prediction="With factors from 0.001 to 1,000 outputs agree to rounding.",
        statistic=partial(worst, part="identity", metric="function"),
    ),
    _exact(
        id="invariance-orthogonal", sources=("vanlaarhoven2017", "arora2019"),
        statement="The gradient of each unit's weights is orthogonal to them.",
        prediction="The cosine is zero to rounding for every unit.",
        statistic=partial(worst, part="identity", metric="orthogonal"),
    ),
    _exact(
        id="invariance-gradient", sources=("ioffe2015", "hoffer2018"),
        statement="At weights that are a times longer the gradient is a times shorter.",
        prediction="The product of factor and gradient stays the same to rounding.",
        statistic=partial(worst, part="identity", metric="gradient"),
    ),
    _exact(
        id="invariance-epsilon", sources=("arora2019",),
        statement="Weights a times longer act like an epsilon that is smaller by a squared.",
        prediction="With epsilon raised to match, weights 100 times shorter give the same output.",
        statistic=partial(worst, part="identity", metric="epsilon"),
    ),
    _exact(
        id="invariance-growth", sources=("vanlaarhoven2017", "arora2019"),
        statement="Without decay the squared length grows by exactly the squared SGD step.",
        prediction="After each of 300 steps each unit's length is the predicted one to rounding.",
        statistic=partial(worst, part="growth", metric="growth"),
    ),
    _exact(
        id="invariance-balance", sources=("wan2021", "kosson2024"),
        statement="With decay and momentum lengths and steps obey the derived balance.",
        prediction="Both sides agree to rounding for every unit at each of 300 steps.",
        statistic=partial(worst, part="balance", metric="balance"),
    ),
)  # fmt: skip
