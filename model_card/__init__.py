"""Cards of a release's model and metric: templates, and the typed data that fills them. Imports the library alone."""
