//! The ids in a query by which a list is narrowed. They must be of the caller's company, deleted or former or not;
//! otherwise 404 with the thing's name, as for an id that nobody has (contract: conventions, N-404).

use crate::{
    Result,
    db::{Door, Scoped},
    error::ResultExt,
    sql,
};
use postgres_types::ToSql;
use uuid::Uuid;

/// Each with what it names; those left out name nothing.
#[derive(Default)]
pub struct Named {
    /// A contact.
    pub contact: Option<Uuid>,
    /// A deal.
    pub deal: Option<Uuid>,
    /// A folder of files.
    pub folder: Option<Uuid>,
    /// The user whose the records are, under this name.
    pub owner: Option<Uuid>,
    /// A user.
    pub user: Option<Uuid>,
    /// A stage of a pipeline.
    pub stage: Option<Uuid>,
}

impl Named {
    /// Refuses the first one that is not there. Who needs a company and has none is told so by what comes after it.
    pub async fn must_be_there<D: Door>(&self, db: &Scoped<D>) -> Result<()> {
        let Self { contact, deal, folder, owner, user, stage } = self;
        let ids = [contact, deal, folder, owner, user, stage];
        if ids.iter().all(|id| id.is_none()) {
            return Ok(());
        }
        let ids = ids.map(|id| id as &(dyn ToSql + Sync));
        db.optional::<i32>(sql!("named/must_be_there"), &ids).await.or_empty_without_company().map(drop)
    }
}
