"""The command line: parse, call, print."""

import gc

# Most of what a command makes, imports first, stays to its end: little is there for a search to find
gc.set_threshold(1_000_000, 20, 100)
