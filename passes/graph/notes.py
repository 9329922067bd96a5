"""Notes of preparation for what follows, on ``main`` of the canonical module: they change nothing that it computes."""

import json
from typing import Any

import tvm

_PREFIX = "note."  # of their attributes


def with_note(mod: tvm.IRModule, kind: str, content: Any) -> tvm.IRModule:
    """The module with a note, whose content JSON can write, in the place of a former one of that kind."""
    return _with_main(mod, mod["main"].with_attr(_PREFIX + kind, json.dumps(content)))


def note(mod: tvm.IRModule, kind: str) -> Any:
    """What was noted, with lists for tuples; an empty dict where nothing was."""
    noted = (mod["main"].attrs or {}).get(_PREFIX + kind)
    return json.loads(str(noted)) if noted else {}


def without_notes(mod: tvm.IRModule) -> tvm.IRModule:
    """The module without any of them."""
    main = mod["main"]
    for name in [name for name in dict(main.attrs or {}) if name.startswith(_PREFIX)]:
        main = main.without_attr(name)
    return _with_main(mod, main)


def _with_main(mod: tvm.IRModule, main: tvm.relax.Function) -> tvm.IRModule:
    changed = tvm.IRModule(mod.functions, attrs=mod.attrs)
    changed["main"] = main
    return changed
