"""Text that a picture should show, and text that was read in one: pure functions over strings and boxes."""
