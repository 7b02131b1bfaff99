"""Inference off the event loop: who waits, which thread runs what, which models and answers stay in memory."""
