//! Stub.
use super::super::prelude::*;
pub(super) async fn csv(_db: TenantDb) -> Result<Json<Message>> { Ok(message("")) }
pub(super) async fn excel(_db: TenantDb) -> Result<Json<Message>> { Ok(message("")) }
