"""What is known of protective devices, and the thermal model made from it: integers only.

Figures, in thousandths of the rating. MCB of type B, C, D, IEC 60898-1: 1.13 must hold and 1.45
must trip within the conventional time, 1 h up to 63 A, 2 h above; 2.55 must trip within 60 s up to
32 A, 120 s above; magnetic from 3, 5, 10. All of it is repeated in makers' data sheets. gG, IEC
60269-1: 1.25 must hold and 1.6 must blow within 1, 2, 3, 4 h up to 63, 160, 400 A and above. That
is recollection, not verified; below 16 A the standard is more generous (1.5 and 1.9).

Model, one time constant tau: heat follows the square of the current, dh/dt = ((I / F)^2 - h) / tau;
h = 1, the conventional tripping load, is reached sooner or later at any current above F. Where
between holding and tripping a device trips is nobody's to know; F is the geometric mean of the two
(chosen): 1.280 for an MCB, 1.414 for gG. At the holding current h ends at hold^2 / F^2 = 78 %.
From cold, a current of x F reaches h = 1 after tau * ln(x^2 / (x^2 - 1)). So tau is

    MCB   what makes 2.55 trip just within its time: 60 s / 0.2903 = 206 s up to 32 A, 413 s above;
          then 1.45 trips after 312 s or 624 s, far within the conventional time
    gG    what makes 1.6 blow within a quarter of the conventional time (chosen: fuses are sooner
          than they must be, and one hour would forget too little): 900 s / 1.5187 = 592 s, and
          1185, 1777, 2370 s

Thresholds are chosen: heat is too much above 75 % (1.108 of an MCB's rating for ever, 1.224 of a
gG's, both held by every device), and little enough again below 65 % (1.032, 1.140). Until then
shares keep to 0.95 of the rating, where heat ends at 55 % and 45 %.
"""

from __future__ import annotations

from dataclasses import dataclass

MCB = ("B", "C", "D")
TYPES = ("gG", *MCB)
HOLDS_AND_OPERATES = {"gG": (1250, 1600), "B": (1130, 1450), "C": (1130, 1450), "D": (1130, 1450)}
MAGNETIC_FROM = {"B": 3000, "C": 5000, "D": 10_000}
FULL = {"gG": 1414, "B": 1280, "C": 1280, "D": 1280}
COOLS_AT = 950

WARNS_ABOVE_PERCENT = 75
COOL_BELOW_PERCENT = 65

# (up to this rating in mA, value); the last one is for every rating above
_CONVENTIONAL_h = {
    "gG": ((63_000, 1), (160_000, 2), (400_000, 3), (None, 4)),
    "MCB": ((63_000, 1), (None, 2)),
}
_TIME_CONSTANT_s = {
    "gG": ((63_000, 592), (160_000, 1185), (400_000, 1777), (None, 2370)),
    "MCB": ((32_000, 206), (None, 413)),
}


@dataclass(frozen=True, slots=True)
class Fuse:
    """One protective device; currents in mA."""

    holds_mA: int
    operates_mA: int
    conventional_h: int
    full_mA: int  # in the end 100 %
    cools_at_mA: int  # what shares keep to while it has to cool
    time_constant_ms: int
    half_ms: int  # in which half of a difference is gone


def fuse(fuse_type: str, rated_mA: int) -> Fuse:
    """The figures and the model of a device of this type and rating."""
    if fuse_type not in TYPES:
        raise ValueError(f"fuse type: {fuse_type!r} is none of {', '.join(TYPES)}")
    family = "MCB" if fuse_type in MCB else fuse_type
    holds, operates = HOLDS_AND_OPERATES[fuse_type]
    time_constant_ms = _for_rating(_TIME_CONSTANT_s[family], rated_mA) * 1000
    return Fuse(
        holds_mA=rated_mA * holds // 1000,
        operates_mA=rated_mA * operates // 1000,
        conventional_h=_for_rating(_CONVENTIONAL_h[family], rated_mA),
        full_mA=rated_mA * FULL[fuse_type] // 1000,
        cools_at_mA=rated_mA * COOLS_AT // 1000,
        time_constant_ms=time_constant_ms,
        half_ms=time_constant_ms * 693_147 // 1_000_000,  # ln 2
    )


def _for_rating(rows: tuple[tuple[int | None, int], ...], rated_mA: int) -> int:
    return next(value for most_mA, value in rows if most_mA is None or rated_mA <= most_mA)
