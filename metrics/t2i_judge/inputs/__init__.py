"""What users bring: pictures, tables, and whether a picture is of the kind that a judge has learnt."""
