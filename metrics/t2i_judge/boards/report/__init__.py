"""RUN/report.html: a board as a page that people send around, in one file that needs no network."""
