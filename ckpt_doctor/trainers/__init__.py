"""What is known of the trainers whose checkpoints are judged."""
