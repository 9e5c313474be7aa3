-- $1 company
update companies set status = 'suspended', updated_at = now() where id = $1
