"""Rules: a `Case` in, `Finding`s out. They open no files."""
