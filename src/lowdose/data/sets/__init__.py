"""From raw micrographs to a training set: survey the files, decide, cut crops into shards."""
