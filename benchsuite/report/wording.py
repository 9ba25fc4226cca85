"""Numbers and rules as a reader wants them printed."""

import math
import re

_NUMBER = r"[-−+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_ABOVE = re.compile(rf"[>≥]=?\s*({_NUMBER})")
_BELOW = re.compile(rf"[<≤]=?\s*({_NUMBER})")
_WITHIN = re.compile(rf"within\s*±\s*({_NUMBER})(?:\s*of\s*({_NUMBER}))?")
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """`value` with three significant digits: 0.0123, 14.2, 1,040, 1.20 × 10⁻⁵."""
    return _fixed(value, _decimals(value))


def percent(value: float) -> str:
    """A share of one as a percentage, without needless zeros: 0.1 %, 44.3 %, 100 %."""
    return minus(f"{100 * value:.3g}" if abs(value) < 0.9995 else f"{100 * value:.0f}") + " %"


def measured(estimate: float | None, interval: tuple[float, float], *, share: bool = False) -> str:
    """An estimate with its interval, all to the same decimal: 0.971 [0.960, 0.982].

    "cannot be resolved" where there is none.

    Three significant digits of the largest, more where the interval would vanish; `share` prints
    percentages.
    """
    if estimate is None:
        return "cannot be resolved"
    values = [100 * value if share else value for value in (estimate, *interval)]
    finite = [abs(value) for value in values if math.isfinite(value)]
    width = values[2] - values[1]
    decimals = _decimals(max(finite))
    if max(finite) >= 0.001:
        decimals = min(decimals, 4)
    if 0 < width < math.inf:
        decimals = min(max(decimals, -math.floor(math.log10(width / 2))), decimals + 3)
    shown, low, high = (_fixed(value, decimals) for value in values)
    unit = " %" if share else ""
    return f"{shown}{unit} [{low}, {high}]"


def minus(text: str) -> str:
    """`text` with a true minus sign wherever a hyphen stands before a number."""
    return re.sub(r"(?<![\w.])-(?=\.?\d)", "−", text)


def region(rule: str) -> tuple[float, float] | None:
    """Where an interval has to lie for `rule` to hold, (low, high); None unless it has one bound.

    `rule` is "> a", "< b" or "within ±w of c", alone or inside a sentence ("every bin > -0.02").
    """
    pairs = [(_float(width), _float(centre or "0")) for width, centre in _WITHIN.findall(rule)]
    regions = [(centre - width, centre + width) for width, centre in pairs]
    regions += [(_float(bound), math.inf) for bound in _ABOVE.findall(rule)]
    regions += [(-math.inf, _float(bound)) for bound in _BELOW.findall(rule)]
    return regions[0] if len(regions) == 1 else None


def duration(seconds: float) -> str:
    """Seconds as 0.4 s, 14 s or 3 min 20 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _float(text: str) -> float:
    return float(text.replace("−", "-"))


def _decimals(value: float) -> int:
    if value == 0 or not math.isfinite(value):
        return 2
    # Rounding first: 0.9996 prints as 1.00, which has one digit before the point.
    return max(2 - math.floor(math.log10(float(f"{abs(value):.2e}"))), 0)


def _fixed(value: float, decimals: int) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if decimals > 7 and value != 0:
        mantissa, exponent = f"{value:.2e}".split("e")
        return minus(f"{mantissa} × 10") + str(int(exponent)).translate(_SUPERSCRIPT)
    text = f"{value:,.{decimals}f}"
    return minus(text) if float(text.replace(",", "")) != 0 else text.removeprefix("-")
