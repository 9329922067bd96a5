"""Files of any kind that people name, where what is wrong with them must be one line.

Here lives how YAML is read, and how a file is written whole or not at all, and whether that can be before work begins.
Nothing here knows what is in a file; directories with a compiled network are in `eq_tvm.artifacts`.
"""
