"""The test suite; a package so that ``python -m tests.golden`` runs from the repository's root."""
