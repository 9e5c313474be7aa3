select coalesce(current_setting('app.unfinished_restore', true), '') = 'on'
