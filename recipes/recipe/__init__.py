"""A recipe as its YAML says it, and the items that it is about. Imports the library alone."""
