"""Pictures drawn from records."""
