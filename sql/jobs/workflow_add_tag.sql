-- Whether the deal has the tag now: a deal with 100 other tags gets no more.
-- $1 deal   $2 tag
update deals set tags = case when tags ? $2 or jsonb_array_length(tags) >= 100 then tags else tags || to_jsonb($2::text) end, updated_at = now()
where id = $1 and not is_deleted
returning tags ? $2
