//! Detects a pooler that gives each transaction another connection and loses prepared statements.

use super::{
    address::parse,
    connection::{Connection, Statement, Statements},
    fault::Fault,
    pool::ConnectOptions,
};
use crate::config::Config;
use anyhow::bail;
use std::sync::Arc;

/// Two connections prepare different statements under the same name and run them in turn. If a pooler gives both the
/// same connection to the server, one of them fails or gets the result of the other's statement.
const TURNS: [[(&str, i32); 2]; 4] = [
    [("select 1", 1), ("select 2", 2)],
    [("select 3", 3), ("select 4", 4)],
    [("select 5", 5), ("select 6", 6)],
    [("select 7", 7), ("select 8", 8)],
];

/// Refuses a pooler that loses prepared statements, if they are used.
pub async fn check_pooler(url: &str, settings: &Config) -> anyhow::Result<()> {
    let options = ConnectOptions { config: parse(url)?, statements: Statements::of(settings) };
    match loses_statements(&options).await {
        Ok(false) => Ok(()),
        Ok(true) => bail!("DATABASE_URL {LOSES}"),
        Err(Fault::Lost(e)) => bail!("the database does not answer: {e}"),
        Err(Fault::Refused(e)) => bail!("{}", e.message()),
        Err(e) => bail!("{e}"),
    }
}

/// The error for an address behind such a pooler, without its subject.
pub(super) const LOSES: &str = "leads through a pooler that gives each transaction another connection and loses \
     prepared statements, such as PgBouncer in transaction mode before 1.21 or with max_prepared_statements = 0. Use \
     PgBouncer 1.21 or newer with max_prepared_statements = 500, or pool_mode = session, or set \
     RINGFENCE_PREPARED_STATEMENTS=off, which is slower";

/// Whether prepared statements are used, and lost by a pooler.
pub(super) async fn loses_statements(options: &ConnectOptions) -> Result<bool, Fault> {
    if options.statements == Statements::Unnamed {
        return Ok(false);
    }
    match carries(options).await {
        Err(Fault::Refused(e)) if ["42P05", "26000"].contains(&e.code().code()) => Ok(true),
        carries => carries.map(|carries| !carries),
    }
}

async fn carries(options: &ConnectOptions) -> Result<bool, Fault> {
    let mut connections = [options.connect().await?, options.connect().await?];
    for turn in TURNS {
        let mut prepared = Vec::new();
        for (connection, (text, _)) in connections.iter_mut().zip(turn) {
            prepared.push(connection.prepare([text]).await?);
        }
        for ((connection, (_, expected)), [statement]) in connections.iter_mut().zip(turn).zip(&prepared) {
            if number(connection, statement).await? != Some(expected) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

async fn number(connection: &mut Connection, statement: &Arc<Statement>) -> Result<Option<i32>, Fault> {
    let reply = connection.run(&[(statement, &[])]).await?.last()?;
    reply.first()?.map(|row| row.try_get(0usize)).transpose()
}
