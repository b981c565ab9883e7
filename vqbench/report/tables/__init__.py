"""Tables and lists, in a terminal, in Markdown, as JSON and CSV."""
