select coalesce(current_setting('ringfence.unfinished_restore', true), '') = 'on'
