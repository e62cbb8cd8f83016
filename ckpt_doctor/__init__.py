"""ckpt-doctor: will a training run resume correctly from this checkpoint, and if not, repair the file."""
