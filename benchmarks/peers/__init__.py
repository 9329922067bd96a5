"""The engines that are compared, and what each of them loads.

Models, converters, caches of what was made, workers that time an engine in a process of its own.
"""
