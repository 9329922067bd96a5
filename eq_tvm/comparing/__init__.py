"""Networks and engines side by side."""
