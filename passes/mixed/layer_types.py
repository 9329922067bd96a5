"""The types that layers get by cost."""

NARROWEST, NARROW, WIDE = "int6", "int7", "int8"
# By type: that of a network whose weights its weights are, and of one whose inputs its inputs are.
TYPES = {
    NARROWEST: (NARROWEST, NARROWEST),
    NARROW: (NARROW, NARROW),
    "w8a7": (WIDE, NARROW),
    "w7a8": (NARROW, WIDE),
    WIDE: (WIDE, WIDE),
}
