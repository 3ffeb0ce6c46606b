"""Protocols, transfer sets, views, the embedding cache and synthetic faces."""
