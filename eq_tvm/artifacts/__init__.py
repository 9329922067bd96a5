"""What compilation leaves on the disk.

Here lives how a bundle is written, described and read again, how a directory is replaced as a whole, and which linker
makes shared objects. A board that only runs bundles imports this, so nothing here needs TVM's compiler when it is
imported, and nothing here knows how a network is quantized or run. (The other artifact is in `eq_tvm.standalone`.)
"""
