"""Types of layers, chosen in several ways."""
