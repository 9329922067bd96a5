"""What the outputs of a network mean: classes, boxes, masks.

Here live names of classes, decoders of detectors' outputs, how a task is recognized, pictures of what was found, and
how good that is by the definitions of the field (mAP, mIoU). All of it is numpy and Pillow: nothing here runs networks.
"""
