"""A pickle as data: read, walked, changed, written. Nothing in it is imported or called."""
