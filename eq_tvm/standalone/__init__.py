"""The standalone library: a network as a shared object that needs neither TVM nor Python.

Here lives what turns a lowered module into C code and memory for it, what compiles and links that, and the C files that
every such library has. Running it is up to a program in C; nothing here is needed for bundles.
"""

from eq_tvm.standalone.companion import EXAMPLE
from eq_tvm.standalone.library import HEADER, Standalone, check_destination, write

__all__ = ["EXAMPLE", "HEADER", "Standalone", "check_destination", "write"]
