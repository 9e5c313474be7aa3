select app.sender_is_taken()
