"""Numbers, effects and p values as a page shows them."""

from __future__ import annotations

import math


def number(value: object, spec: str = ".3g") -> str:
    """Format a number for prose; what is missing becomes an en dash, infinity its sign."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) == "<NA>":
        return "–"
    x = float(value)  # type: ignore[arg-type]
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    text = format(x, spec)
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return text.replace("-", "−")


def effect(estimate: float, low: float, high: float) -> str:
    """Format an estimate and its interval, with two digits of the interval's width.

    Three significant digits would show "1.21 [1.21, 1.21]" for an effect known to 0.001. Where
    the interval has no width or an open side, it is three digits. An interval stays on one line:
    its space does not break.
    """
    width, size = high - low, max(abs(low), abs(high))
    spec = ".3g"
    if 1e-9 * size < width < math.inf and size < 1e4:
        spec = f".{max(0, 1 - math.floor(math.log10(width)))}f"
    text = number(estimate, spec)
    return text if math.isnan(width) else f"{text} [{number(low, spec)},\u00a0{number(high, spec)}]"


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def p_value(value: object) -> str:
    """Format a p-value: two digits, and no more precision than a test of this kind has."""
    text = number(value, ".2g")
    if text == "–":
        return text
    return "< 0.001" if float(value) < 1e-3 else text  # type: ignore[arg-type]
