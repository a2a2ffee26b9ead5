-- By how many microseconds the node's clock is ahead of the time that all nodes reckon by.
ALTER TABLE node ADD COLUMN skew_us BIGINT;

-- The time that all nodes reckon by, in microseconds since 1970. Tests replace it by one that is set.
CREATE FUNCTION waybill_now() RETURNS BIGINT LANGUAGE sql VOLATILE
    AS $$ SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) $$;
