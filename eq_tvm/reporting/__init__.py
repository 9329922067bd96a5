"""The report: one page that shows what a compiled network is made of, and where it loses."""
