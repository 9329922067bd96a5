"""Networks that come from other tools: whether they compute here what they do there.

Run as modules from this folder's parent: ``python -m imported.torchvision_models``.
"""
