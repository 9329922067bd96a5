"""Tables in Markdown of what was measured."""
