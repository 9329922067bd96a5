"""Lets one thread run loops that it ends before others have started."""

import tvm
from tvm import tirx

from eq_tvm.schedules.islands.short_loops import without_short_loops

from ..graph.relax_pass import relax_pass


@relax_pass
class SerializeShortLoops:
    """Apply `schedules.without_short_loops` to each PrimFunc: behind `ScheduleFallback`."""

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace the functions."""
        updated = tvm.IRModule(mod.functions, attrs=mod.attrs)
        for var, func in mod.functions_items():
            if isinstance(func, tirx.PrimFunc):
                updated[var] = without_short_loops(func)
        return updated
