"""The card of a candidate, with what the Hub reads of it."""
