"""Tensors with as many rows as the data choose.

NonMaxSuppression and NonZero give a row for each thing that they find. Compiled, such a tensor has as many rows as
there can be, and a count of those that mean something beside it. What computes each row by itself computes the others,
too, whatever they hold; `Model.run` leaves them out. `follow` knows for each operator which axis of its result the rows
are. What reads across rows (a maximum, the best ones, a concatenation) gets neutral numbers where there are none, or
only those that there are; where no rule says how, it can't be compiled.

Counts are numbers like others: `numbers` follows what is computed from them, as far as it decides shapes.
"""

from eq_tvm.importer.static.rows.follow import follow
from eq_tvm.importer.static.rows.numbers import settle_numbers

__all__ = ["follow", "settle_numbers"]
