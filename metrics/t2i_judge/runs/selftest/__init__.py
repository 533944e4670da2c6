"""Is a judge sane? Images and prompts are changed in ways whose effect on a sane judge's score is known."""
