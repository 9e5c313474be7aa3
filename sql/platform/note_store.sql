select app.note_store()
