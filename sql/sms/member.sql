-- Whether the caller may ask at all.
select true
