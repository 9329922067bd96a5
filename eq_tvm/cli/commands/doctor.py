"""`doctor`: is all there that eq_tvm needs?"""

from __future__ import annotations

import json
from dataclasses import asdict

from eq_tvm.cli.app import Json, app, examples


@app.command(epilog=examples("doctor", "doctor --json"))
def doctor(as_json: Json = False) -> int:
    """Say what is installed, for which targets this machine can compile, and what to do where something is missing.

    The exit code is 0 where compiling for this machine works, and 2 where it does not.
    """
    from eq_tvm.running.doctor import examine

    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            todo = f": {check.todo}" if check.todo else ""
            print(f"{check.name:16}{'ok' if check.ok else '--':4}{check.found}{todo}", flush=True)
    works = all(check.ok for check in checks if check.needed)
    if as_json:
        print(json.dumps({"ok": works, "checks": [asdict(check) for check in checks]}))
    return 0 if works else 2
