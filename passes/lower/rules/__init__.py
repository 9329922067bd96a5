"""What each operator of an annotated module lowers to.

A rule gets the lowering in progress (`lowering`) and the call, and returns a value (`lowered_values`), or None where
the operator stays float. `table` names all of them.
"""
