"""The published tables again, ours beside what was published: ``python -m benchmarks.tables --help``.

__main__    the command line
running     the loop over pictures and methods; skips what a file of results already holds
protocols   one per table: which pictures, how they are degraded, what is compared
pictures    reading, cropping, degrading and scoring
methods     ours and what a user would take instead
published   the published numbers, all in one place
rows        one finished cell; a CSV that grows by one line at a time
report      the Markdown
"""
