-- Addresses as they are kept here, so that two forms of one are seen to be the same.
update old_suppressions set address = app.suppressed_form(channel, address) where address <> app.suppressed_form(channel, address)
