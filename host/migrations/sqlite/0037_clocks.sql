-- By how many microseconds the node's clock is ahead of the time that all nodes reckon by.
ALTER TABLE node ADD COLUMN skew_us BIGINT;
