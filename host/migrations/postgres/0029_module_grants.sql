-- What was approved of what a version's manifest asks for, as a JSON list of words such as `http:api.example.com`.
ALTER TABLE module ADD COLUMN approved TEXT;
