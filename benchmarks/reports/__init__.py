"""Tables in Markdown, and JSON, of what was measured on this machine.

No measuring and no engines here: see `peers`.
"""
