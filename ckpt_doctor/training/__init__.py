"""What a training script calls: check before a resume, save atomically, remove old checkpoints."""
