"""Speed of every kernel and every engine, always beside the reference and always with the error."""
