//! Decides which staged rows fit, by what the catalog says about the table they go into: its columns, checks and unique
//! keys. So the import respects a rule that a migration adds without a change here. A row that does not fit gets the
//! reason in `problem`; what can be repaired without guessing is repaired and reported.

use super::tables::Table;
use crate::{sql, wire};
use std::collections::BTreeSet;
use tokio_postgres::GenericClient;
use uuid::Uuid;

/// The statement that creates the empty staging table. `n` is the order in which the rows are added.
pub(super) fn create_stage(table: &Table) -> String {
    let columns: Vec<String> = table.columns().map(|(name, kind, _)| format!("{name} {kind}")).collect();
    format!(
        "create temporary table {} (n bigint generated always as identity primary key, problem text, tenant_id uuid, altered text[], {})",
        table.stage(),
        columns.join(", ")
    )
}

/// The columns of the new table that the staged rows fill.
pub(super) async fn staged_columns(db: &impl GenericClient, table: &Table) -> anyhow::Result<Vec<Column>> {
    let staged: BTreeSet<&str> = table.columns().map(|(name, _, _)| name).chain(["tenant_id"]).collect();
    let columns = db.query(sql!("import/columns").text, &[&table.new]).await?;
    let columns = columns.iter().map(|row| {
        let name: String = row.get("name");
        let own = table.fallbacks.iter().find(|(column, _)| *column == name);
        let fallback = row.get::<_, Option<String>>("fallback").or(own.map(|(_, value)| (*value).to_owned()));
        Column { name, required: row.get("required"), fallback, is_time: row.get("is_time") }
    });
    Ok(columns.filter(|column| staged.contains(column.name.as_str())).collect())
}

/// A column of a new table.
pub(super) struct Column {
    pub(super) name: String,
    required: bool,
    fallback: Option<String>,
    is_time: bool,
}

/// Judges the staged rows.
pub(super) async fn judge(db: &impl GenericClient, table: &Table) -> anyhow::Result<()> {
    let (stage, new) = (table.stage(), table.new);
    let columns = staged_columns(db, table).await?;
    for column in table.lower {
        db.execute(&format!("update {stage} set {column} = lower({column}) where {column} <> lower({column})"), &[])
            .await?;
    }
    for column in table.numbers {
        write_as_dialled(db, table, column).await?;
    }
    if table.owner.is_some() {
        db.execute(sql!("import/homes").text, &[]).await?;
    }
    for statement in table.prepare {
        db.execute(statement.text, &[]).await?;
    }
    if table.has("was_deleted") {
        reject(db, &stage, "'it was deleted in the old database'", "was_deleted").await?;
    }
    if let Some(owner) = table.owner {
        give_tenant(db, &stage, new, owner).await?;
        if columns.iter().any(|column| column.required && column.name == "company_id") {
            give_company(db, &stage, new).await?;
        }
    }
    for (column, target) in table.references {
        if *target == "contacts" {
            let follow = format!("update {stage} s set {column} = m.kept from old_merged m where m.id = s.{column}");
            db.execute(&follow, &[]).await?;
        }
        let tenant = if *target == "users" { "coalesce(t.company_id, t.id)" } else { "t.tenant_id" };
        let detach = format!(
            "with seen as (
               select s.n, {tenant} as tenant from {stage} s left join {target} t on t.id = s.{column}
               where s.{column} is not null and s.problem is null
             ), changed as (
               update {stage} s set {column} = null from seen where seen.n = s.n and seen.tenant is distinct from s.tenant_id
               returning s.id, seen.tenant is null as is_gone
             )
             insert into old_report (table_name, id, action, reason)
             select '{new}', id, 'detached', '{column} ' || case when is_gone then 'did not come over' else 'is another company''s' end from changed"
        );
        db.execute(&detach, &[]).await?;
    }
    for statement in table.settle {
        db.execute(statement.text, &[]).await?;
    }
    fits_columns(db, table, &columns).await?;
    fits_checks(db, &stage, new, &columns).await?;
    for statement in table.rank {
        db.execute(statement.text, &[]).await?;
    }
    if new == "users" {
        tell_odd_addresses(db).await?;
    }
    fits_keys(db, &stage, new, &columns).await?;
    if table.altered.is_empty() {
        return Ok(());
    }
    let altered = format!(
        "insert into old_report (table_name, id, action, reason) select '{}', id, 'changed', unnest(altered) from {stage} where problem is null",
        table.name()
    );
    db.execute(&altered, &[]).await?;
    Ok(())
}

/// Rewrites a column's phone numbers in the form in which the program looks them up, and reports invalid ones.
async fn write_as_dialled(db: &impl GenericClient, table: &Table, column: &str) -> anyhow::Result<()> {
    let (stage, name) = (table.stage(), table.name());
    let write = format!("update {stage} set {column} = app.dialled({column}) where app.dialled({column}) <> {column}");
    db.execute(&write, &[]).await?;
    let tell = format!(
        "insert into old_report (table_name, id, action, reason)
         select '{name}', id, 'noted', '{column} is no number in E.164, and none can be made of it: it stays as it is'
         from {stage} where {column} !~ '^\\+[1-9][0-9]{{6,14}}$' and btrim({column}) <> ''"
    );
    db.execute(&tell, &[]).await?;
    Ok(())
}

/// Reports accounts whose address cannot be used to log in, or cannot receive mail, by the rules of the API.
async fn tell_odd_addresses(db: &impl GenericClient) -> anyhow::Result<()> {
    for row in db.query(sql!("import/new_addresses").text, &[]).await? {
        let (id, email): (Uuid, &str) = (row.get("id"), row.get("email"));
        let reason = if wire::old_address(email, &()).is_err() {
            "the address is none, and nobody logs in by it: give it one"
        } else if wire::new_address(email, &()).is_err() {
            "the address is none that mail gets to, such as the code for a new password: give it another one"
        } else {
            continue;
        };
        db.execute(sql!("import/told_of_user").text, &[&id, &"changed", &reason]).await?;
    }
    Ok(())
}

async fn reject(db: &impl GenericClient, stage: &str, reason: &str, condition: &str) -> anyhow::Result<()> {
    db.execute(&format!("update {stage} set problem = {reason} where problem is null and ({condition})"), &[]).await?;
    Ok(())
}

/// Sets the tenant of each row: its company, or for a historical row that of its user in the old database. A company's
/// row whose user is in another company goes to the company's first admin. Historical rows of a user who has left the
/// company only here become the company's own, like those that were here before the user left.
async fn give_tenant(db: &impl GenericClient, stage: &str, new: &str, owner: &str) -> anyhow::Result<()> {
    let orphan = format!("not exists (select from users u where u.id = {stage}.{owner})");
    let whose = format!("case when {owner} is null then 'it has no user' else 'its user did not come over' end");
    reject(db, stage, &whose, &orphan).await?;
    let homeless =
        format!("company_id is not null and not exists (select from companies c where c.id = {stage}.company_id)");
    reject(db, stage, "'its company did not come over'", &homeless).await?;
    let own = format!(
        "update {stage} s set tenant_id = coalesce(s.company_id, h.tenant_id), problem = case when s.company_id is null then h.problem end
         from old_homes h where h.user_id = s.{owner} and s.problem is null"
    );
    db.execute(&own, &[]).await?;
    let foreign = format!(
        "with head as (
           select distinct on (u.company_id) u.company_id, u.id from users u where u.company_id is not null
           order by u.company_id, u.is_deleted, u.user_role = 'company_admin' desc, u.created_at, u.id
         ), changed as (
           update {stage} s set {owner} = coalesce(h.id, s.{owner}), problem = case when h.id is null then 'its user is '
             || case when u.company_id is null then 'in no company here' else 'another company''s' end
             || ', and its company has nobody: give it somebody with `ringfence user assign`, and import again' end
           from users u, companies c left join head h on h.company_id = c.id
           where u.id = s.{owner} and s.problem is null and c.id = s.company_id and u.company_id is distinct from s.company_id
             and not exists (select from old_user_companies o join members m on m.user_id = o.user_id and m.tenant_id = o.company_id
               where o.user_id = u.id and o.company_id = s.company_id)
           returning s.id, s.problem
         )
         insert into old_report (table_name, id, action, reason)
         select '{new}', id, 'detached', '{owner} is another company''s: it belongs to the company''s first admin now' from changed where problem is null"
    );
    db.execute(&foreign, &[]).await?;
    leave_behind(db, stage, new, owner, (0, i64::MAX)).await?;
    let members = format!(
        "insert into members (tenant_id, user_id)
         select distinct s.tenant_id, s.{owner} from {stage} s join users u on u.id = s.{owner}
         where s.problem is null and s.tenant_id <> u.id and u.company_id is distinct from s.tenant_id
         on conflict do nothing"
    );
    db.execute(&members, &[]).await?;
    Ok(())
}

/// Gives historical rows of a user who has left the company only here to the company. Notifications are left out: their
/// user sees them without a company, too.
async fn leave_behind(
    db: &impl GenericClient,
    stage: &str,
    new: &str,
    owner: &str,
    (first, last): (i64, i64),
) -> Result<(), tokio_postgres::Error> {
    let left_behind = format!(
        "with changed as (
           update {stage} s set company_id = s.tenant_id from companies c, users u
           where s.n > $1 and s.n <= $2 and s.problem is null and s.company_id is null
             and c.id = s.tenant_id and u.id = s.{owner} and u.company_id is distinct from s.tenant_id
             and exists (select from app.protected_table p where p.table_name = '{new}')
           returning s.id
         )
         insert into old_report (table_name, id, action, reason)
         select '{new}', id, 'changed', 'its user has left the company here: it is the company''s own now, as the move made of those before' from changed"
    );
    db.execute(&left_behind, &[&first, &last]).await?;
    Ok(())
}

/// Historical rows of a batch follow users who were given a company since they were judged, like rows that were
/// imported before. Until the transaction ends, nobody can be given a company.
pub(super) async fn follow_users(
    db: &impl GenericClient,
    table: &Table,
    first: i64,
    last: i64,
) -> Result<(), tokio_postgres::Error> {
    let (Some(owner), stage) = (table.owner, table.stage()) else { return Ok(()) };
    let rows = "s.n > $1 and s.n <= $2 and s.problem is null and s.company_id is null";
    let hold = format!(
        "select from users u where u.id in (select s.{owner} from {stage} s where {rows}) order by u.id for share"
    );
    db.execute(&hold, &[&first, &last]).await?;
    let follow = format!(
        "update {stage} s set tenant_id = u.company_id from users u
         where {rows} and u.id = s.{owner} and s.tenant_id = u.id and u.company_id is not null"
    );
    db.execute(&follow, &[&first, &last]).await?;
    leave_behind(db, &stage, table.new, owner, (first, last)).await
}

/// If the backfill is finished, historical rows are not allowed any more: they get the company that it would give them.
async fn give_company(db: &impl GenericClient, stage: &str, new: &str) -> anyhow::Result<()> {
    let give = format!(
        "with changed as (
           update {stage} s set company_id = s.tenant_id from companies c
           where s.problem is null and s.company_id is null and c.id = s.tenant_id
           returning s.id
         )
         insert into old_report (table_name, id, action, reason)
         select '{new}', id, 'changed', 'it had no company: it is its user''s company''s now, as after the backfill' from changed"
    );
    db.execute(&give, &[]).await?;
    reject(db, stage, "'its user has no company, and the backfill is finished'", "company_id is null").await
}

/// Times outside of the years 1 to 9999 count as missing; missing values get the column's default, if it has one.
async fn fits_columns(db: &impl GenericClient, table: &Table, columns: &[Column]) -> anyhow::Result<()> {
    let stage = &table.stage();
    let is_odd = |c: &Column| format!("({0} < '0001-01-01' or {0} >= '10000-01-01')", c.name);
    let (vital, others): (Vec<&Column>, Vec<&Column>) =
        columns.iter().filter(|c| c.is_time).partition(|c| c.required && c.fallback.is_none());
    if !others.is_empty() {
        let odd: Vec<String> = others.iter().map(|c| is_odd(c)).collect();
        let values = others.iter().map(|c| format!("{0} = case when not {1} then {0} end", c.name, is_odd(c)));
        let names = others.iter().map(|c| {
            let instead = if c.required { "the default" } else { "it has none" };
            format!("case when {} then '{} is no time of a calendar: {instead}' end", is_odd(c), c.name)
        });
        let mend = format!(
            "with odd as (
               select n, array_remove(array[{}], null) as reasons from {stage} where problem is null and ({})
             ), changed as (
               update {stage} s set {} from odd where odd.n = s.n returning s.id, odd.reasons
             )
             insert into old_report (table_name, id, action, reason) select '{}', id, 'changed', unnest(reasons) from changed",
            names.collect::<Vec<_>>().join(", "),
            odd.join(" or "),
            values.collect::<Vec<_>>().join(", "),
            table.name(),
        );
        db.execute(&mend, &[]).await?;
    }
    let required = || columns.iter().filter(|c| c.required && c.name != "tenant_id");
    let fallbacks: Vec<_> = required().filter_map(|c| Some((&c.name, c.fallback.as_ref()?))).collect();
    if !fallbacks.is_empty() {
        let values: Vec<String> = fallbacks.iter().map(|(c, value)| format!("{c} = coalesce({c}, {value})")).collect();
        let missing: Vec<String> = fallbacks.iter().map(|(c, _)| format!("{c} is null")).collect();
        let fill =
            format!("update {stage} set {} where problem is null and ({})", values.join(", "), missing.join(" or "));
        db.execute(&fill, &[]).await?;
    }
    let mut wrong: Vec<String> =
        required().map(|c| format!("when {0} is null then '{0} is missing'", c.name)).collect();
    wrong.extend(vital.iter().map(|c| format!("when {} then '{} is no time of a calendar'", is_odd(c), c.name)));
    reject_first(db, stage, &wrong).await
}

/// Sets the first reason that applies.
async fn reject_first(db: &impl GenericClient, stage: &str, wrong: &[String]) -> anyhow::Result<()> {
    if wrong.is_empty() {
        return Ok(());
    }
    let cases = wrong.join(" ");
    let update = format!(
        "update {stage} s set problem = w.reason from (select n, case {cases} end as reason from {stage} where problem is null) w
         where w.n = s.n and w.reason is not null"
    );
    db.execute(&update, &[]).await?;
    Ok(())
}

async fn fits_checks(db: &impl GenericClient, stage: &str, new: &str, columns: &[Column]) -> anyhow::Result<()> {
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    let checks = db.query(sql!("import/checks").text, &[&new, &names]).await?;
    let wrong = checks.iter().map(|row| {
        let rule: String = row.get("rule");
        format!("when not ({rule}) then 'it does not fit: {}'", rule.replace('\'', "''"))
    });
    reject_first(db, stage, &wrong.collect::<Vec<_>>()).await
}

/// Of rows with the same unique key only the first one fits, and none if the key exists here already.
async fn fits_keys(db: &impl GenericClient, stage: &str, new: &str, columns: &[Column]) -> anyhow::Result<()> {
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    for key in db.query(sql!("import/unique_keys").text, &[&new, &names]).await? {
        let (name, parts, only): (String, Vec<String>, String) = (key.get("name"), key.get("parts"), key.get("only"));
        let list: Vec<String> = parts.iter().enumerate().map(|(i, part)| format!("{part} as k{i}")).collect();
        let (list, keys) = (list.join(", "), Vec::from_iter((0..parts.len()).map(|i| format!("k{i}"))));
        let present = keys.iter().map(|k| format!("{k} is not null")).collect::<Vec<_>>().join(" and ");
        let same = keys.iter().map(|k| format!("mine.{k} = theirs.{k}")).collect::<Vec<_>>().join(" and ");
        let partition = keys.join(", ");
        let update = format!(
            "with mine as (select n, {list} from {stage} where problem is null and ({only})),
             taken as (
               select n from (select n, row_number() over (partition by {partition} order by n) as place from mine where {present}) x where place > 1
               union
               select mine.n from mine join (select {list} from {new} where {only}) theirs on {same}
             )
             update {stage} s set problem = 'another row has its {}' from taken where taken.n = s.n",
            if name.ends_with("_pkey") { "id".into() } else { format!("unique key {name}") }
        );
        db.execute(&update, &[]).await?;
    }
    Ok(())
}
