"""What comes from other tools, and goes back to them: whether it computes the same there and here.

Run as modules from this folder's parent: ``python -m formats.torchvision_models``.
"""
