"""What users bring: images and tables; and whether an image is of the kind that a judge was trained on."""
