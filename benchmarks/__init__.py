"""Times of every kernel and of whole steps, beside PyTorch, the machine's limits and the error."""
