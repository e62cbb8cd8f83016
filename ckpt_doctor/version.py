"""The version of the package: below every stage, for files that a migration writes name it."""

__version__ = "0.3.0"
HOME = "https://pypi.org/project/ckpt-doctor/"
"""The project's page."""
