"""How many bits the weights of each layer have: dropped at random, learned, and what they cost and are worth."""
