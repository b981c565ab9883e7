"""Predictors of what listeners would rate."""
