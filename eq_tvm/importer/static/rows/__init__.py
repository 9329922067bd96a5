"""Tensors with as many rows as the data choose.

NonMaxSuppression and NonZero give a row for each thing that they find. Compiled, such a tensor has as many rows as
there can be, and a count of those that mean something beside it. What computes each row by itself computes the others,
too, whatever they hold; `Model.run` leaves them out. `follow` knows for each operator which axis of its result the rows
are; one that reads across rows can't be compiled.
"""

from eq_tvm.importer.static.rows.follow import follow

__all__ = ["follow"]
