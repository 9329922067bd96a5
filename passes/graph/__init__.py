"""What any pass uses to read and write a module, whatever state it is in.

Walking over Relax bindings, the network as numbered nodes, and what single operators compute. Nothing here knows of
scales, images or kernels; what only one phase needs belongs to that phase's folder.
"""
