"""Long runs over many images: shards that resume, many machines, and the battery that tries a judge."""
