"""Figures and plots of verification: NumPy in, numbers out."""
