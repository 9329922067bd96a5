"""What `eq_tvm.compile`, `eq_tvm.analysis.analyze` and the command line can be told, declared once for all of them.

Here lives what an option is, and the tables of those that belong together. A new option is one more field there: it
appears in the signature and the documentation of the functions, and on the command line. Nothing here imports NumPy,
TVM or what draws the command line, and nothing here does what the options ask for.
"""
