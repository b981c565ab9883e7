"""Speaker encoders: whose voice it is."""
