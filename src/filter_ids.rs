//! The ids in a query by which a list is filtered. They must belong to the caller's company, deleted or former ones
//! too; otherwise the response is a 404 with the thing's name, as for an unknown id (contract: conventions, N-404).

use crate::{
    Result,
    db::{Permission, Scoped},
    error::ResultExt,
    sql,
};
use postgres_types::ToSql;
use uuid::Uuid;

/// The ids in a query, by what they name.
#[derive(Default)]
pub struct FilterIds {
    /// A contact.
    pub contact: Option<Uuid>,
    /// A deal.
    pub deal: Option<Uuid>,
    /// A folder of files.
    pub folder: Option<Uuid>,
    /// The owner of the records: a user, called "Owner" in the 404.
    pub owner: Option<Uuid>,
    /// A user.
    pub user: Option<Uuid>,
    /// A stage of a pipeline.
    pub stage: Option<Uuid>,
}

impl FilterIds {
    /// Refuses the first id that is not there. A caller without a company passes, and is refused later if one is
    /// needed.
    pub async fn must_be_there<D: Permission>(&self, db: &Scoped<D>) -> Result<()> {
        let Self { contact, deal, folder, owner, user, stage } = self;
        let ids = [contact, deal, folder, owner, user, stage];
        if ids.iter().all(|id| id.is_none()) {
            return Ok(());
        }
        let ids = ids.map(|id| id as &(dyn ToSql + Sync));
        db.optional::<i32>(sql!("filter_ids/must_be_there"), &ids).await.or_empty_without_company().map(drop)
    }
}
