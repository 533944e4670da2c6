"""From a teacher's judgements to what a student is trained on."""
