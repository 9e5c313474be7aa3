-- $1 before   $2 how many of each at most
select app.forget_workflow_runs($1, $2)
