-- How many historical rows of the operator's company there are. They are their users' and hidden from operators.
select * from app.historical_rows() where row_count > 0;
