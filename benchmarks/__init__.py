"""What ckpt-doctor costs on the machine at hand, beside what one would use otherwise: `python -m benchmarks --help`.

`cases.py` lists the cases; each is a function that makes its files, has whole processes measured (`bench.py`) and
yields rows. `page.py` turns the results into tables and into `docs/speed.md`, which shows those of `results.json`.
"""
