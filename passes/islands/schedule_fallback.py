"""Schedules every function that no kernel family took: no loop nest leaves the compiler serial and scalar."""

import tvm
from tvm import tirx

from eq_tvm.schedules.islands.fallback import fallback

from ..graph.relax_pass import relax_pass
from ..graph.states import SCHEDULED


@relax_pass
class ScheduleFallback:
    """Apply `schedules.fallback` to each PrimFunc that is not marked as scheduled."""

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace the unscheduled functions."""
        updated = tvm.IRModule(mod.functions, attrs=mod.attrs)
        for var, func in mod.functions_items():
            if isinstance(func, tirx.PrimFunc) and SCHEDULED not in (func.attrs or {}):
                updated[var] = fallback(func).with_attr(SCHEDULED, True)
        return updated
