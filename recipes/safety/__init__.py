"""What must not be published: overlaps of training data and benchmark, secrets, metadata of images, wrong licences."""
