-- Suppresses an address that its provider or owner reports; the name that some texts are from is not an address.
-- $1 channel   $2 address   $3 reason
select true from app.suppress($1, $2, $3, app.user_id()) where app.suppressed_form($1, $2) <> ''
