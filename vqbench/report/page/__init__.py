"""The page of a run, or of two: one file that is read, listened to and looked at without a network."""
