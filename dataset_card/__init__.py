"""Cards of a release's two datasets: templates, and the typed data that fills them. Imports the library alone."""
