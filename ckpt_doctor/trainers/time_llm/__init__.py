"""Time-LLM: what its trainer writes, and how it resumes."""
