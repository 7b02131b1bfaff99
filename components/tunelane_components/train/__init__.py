"""LoRA fine-tuning of an encoder into a text classifier."""
