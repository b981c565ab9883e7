"""Speech recognition: who writes down what is said, and how texts are compared."""
