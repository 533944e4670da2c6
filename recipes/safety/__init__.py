"""What must not go out: overlaps of train and benchmark, secrets, metadata of pictures, licences."""
