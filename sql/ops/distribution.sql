-- Rows by table and company: with a company, historical, and all. `company` is empty where a user has none yet.
select * from app.distribution();
