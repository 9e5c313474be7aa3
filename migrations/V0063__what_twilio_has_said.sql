-- That Twilio knows an account only the server says, which has asked.
set role ringfence_owner;
revoke insert (is_verified, last_verified_at), update (is_verified, last_verified_at) on twilio_settings from ringfence_operator_write;
reset role;
