-- {rows} invoices, as so many events left them: one each second, the last of them at {last} (Unix seconds), a kilobyte each.
-- For SQLite and PostgreSQL; {id} is how either makes an id as of a UUIDv7.

INSERT INTO event (id, source, event_type, resource, resource_id, received_at, data, matched)
WITH RECURSIVE numbers (n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})
SELECT {id}, 'crm', 'invoice.updated', 'invoice', CAST(n AS TEXT), ({last} - {rows} + n) * 1000000,
    '{"id":"' || n || '","formatted_number":"INV-' || n || '","clientid":"17","currency_name":"EUR","date":"2026-03-01",'
    || '"duedate":"2026-03-31","subtotal":"1299.00","total_tax":"246.81","total":"1545.81","adjustment":"0.00","status":"2",'
    || '"items":[{"description":"Pro plan","qty":"1","rate":"999.00"},{"description":"Seats","qty":"3","rate":"100.00"}],'
    || '"adminnote":"{filler}"}', 0
FROM numbers;

INSERT INTO record (resource, ordinal, resource_id, source, event_id, whole, created_at, updated_at)
SELECT resource, CAST(resource_id AS BIGINT), resource_id, source, id, 1, received_at, received_at FROM event;
