select app.oldest_program()
