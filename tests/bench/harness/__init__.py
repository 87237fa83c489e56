"""What the rows of tests/bench/run stand on: processes, data, peers, statistics."""
