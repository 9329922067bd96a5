"""The embedded example: a small trained network and its images."""
