"""Networks and engines side by side: their accuracy, latency and size."""
