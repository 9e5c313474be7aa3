-- Whoever scheduled a text is told when it fails at Twilio, too.

-- As in V0088, and of one that Twilio did not take, or may have taken. What is tried again has no error yet, and who cancelled it
-- while Twilio was asked waits for nothing.
create or replace trigger tell_unsent after update of is_cancelled, error_message on scheduled_sms for each row
  when (new.company_id is not null and not old.is_cancelled and (not old.is_sent or old.error_message is null)
    and (new.is_cancelled or new.is_sent) and new.error_message is not null)
  execute function app.tell_unsent('A text failed', 'The text to %s failed: %s', 'to_address', '/inbox');
