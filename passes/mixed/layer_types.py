"""The types that layers get by cost."""

NARROWEST, NARROW, WIDE = BASES = ("int6", "int7", "int8")
# By type: that of a network whose weights its weights are, and of one whose inputs its inputs are.
TYPES = {"int6": ("int6", "int6"), "int7": ("int7", "int7"), "w8a7": ("int8", "int7"), "w7a8": ("int7", "int8")}
TYPES |= {"int8": ("int8", "int8")}
