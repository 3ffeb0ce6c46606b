"""Distillation and triplet training: what turns a transfer set into a model file."""
