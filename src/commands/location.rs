//! Where a command finds its database and its store of files.

use super::doctor;
use crate::{
    App,
    clients::storage::Storage,
    config::{Config, Database},
    db::{self, Db, local::Cluster, migrate},
    say, sql,
};
use anyhow::{Context, bail};
use std::path::PathBuf;

/// Where the database is: at the given addresses, or in the private cluster.
pub struct Location {
    cluster: Option<Cluster>,
    /// The folder of the private cluster, which has the store of files and the secrets, too.
    pub folder: Option<PathBuf>,
    /// The address of the API's login.
    pub api: String,
    admin: Option<String>,
}

impl Location {
    /// Finds the database, and starts the private cluster if no address is given.
    pub async fn open(given: Database) -> anyhow::Result<Self> {
        let non_empty = |url: Option<String>| url.filter(|u| !u.is_empty());
        if let Some(api) = non_empty(given.database_url.clone()) {
            return Ok(Self { cluster: None, folder: None, api, admin: non_empty(given.database_admin_url) });
        }
        if non_empty(given.database_admin_url).is_some() {
            bail!("DATABASE_ADMIN_URL is set and DATABASE_URL is not: set both, or neither for a private PostgreSQL");
        }
        let folder = given.data.unwrap_or_else(db::local::default_folder);
        let mut cluster = Cluster::open(&folder).await?;
        cluster.keep_running();
        let (api, admin) = cluster.own_database().await?;
        Ok(Self { cluster: Some(cluster), folder: Some(folder), api, admin: Some(admin) })
    }

    /// The address of the administrator's login; an error where none is given.
    pub fn admin(&self) -> anyhow::Result<&str> {
        self.admin.as_deref().context(
            "this command is an administrator's: set DATABASE_ADMIN_URL to the address of one for this database",
        )
    }

    /// One of PostgreSQL's programs, of the private cluster's version when there is one.
    pub fn program(&self, name: &str) -> PathBuf {
        self.cluster.as_ref().map_or_else(|| name.into(), |cluster| cluster.bin(name))
    }

    /// Whether the database is the private cluster.
    pub fn is_private(&self) -> bool {
        self.cluster.is_some()
    }

    /// Stops the private cluster unless another process uses it.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.cluster {
            Some(cluster) => cluster.close().await,
            None => Ok(()),
        }
    }
}

/// Runs something with the database, and then closes it in any case. An error of the work takes precedence over one of
/// closing.
pub async fn located<T>(
    database: Database,
    work: impl AsyncFnOnce(&Location) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let at = Location::open(database).await?;
    let done = work(&at).await;
    let closed = at.close().await;
    done.and_then(|done| closed.map(|()| done))
}

/// Runs something with all that a server has but its socket.
pub async fn with_app(
    database: Database,
    mut config: Config,
    run: impl AsyncFnOnce(App) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    located(database, async |at| {
        config.resolve(at.folder.as_deref())?;
        doctor::check_before_serving(&at.api).await?;
        db::check_pooler(&at.api, &config).await?;
        run(App::new(Db::of(&at.api, &config)?, config)?).await
    })
    .await
}

/// Runs something with the server's connections and the store of files, which is not created with `only_looks`, and
/// without the secrets.
pub async fn with_server_storage(
    database: Database,
    config: Config,
    only_looks: bool,
    run: impl AsyncFnOnce(&Db, &Storage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    located(database, async |at| {
        doctor::check_before_serving(&at.api).await?;
        db::check_pooler(&at.api, &config).await?;
        run(&Db::of(&at.api, &config)?, &config.open_storage(at.folder.as_deref(), only_looks)?).await
    })
    .await
}

/// Runs something with the administrator's address and the store of files, which is not created with `only_looks`.
pub async fn with_storage(
    database: Database,
    config: Config,
    only_looks: bool,
    run: impl AsyncFnOnce(&str, &Storage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    located(database, async |at| {
        let admin = at.admin()?;
        run(admin, &config.open_storage(at.folder.as_deref(), only_looks)?).await
    })
    .await
}

/// Runs something as the administrator of a migrated database: under their own role if the policies let it see every
/// company, as they do for the platform's own roles, and otherwise as ringfence_dba.
pub async fn administer(
    database: Database,
    work: impl AsyncFnOnce(&mut tokio_postgres::Client) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let done = located(database, async |at| {
        let admin = at.admin()?;
        let mut client = db::connect(admin).await?;
        migrate::require_current(&client).await?;
        if !client.query_one(sql!("ops/sees_all").text, &[]).await?.get::<_, bool>(0) {
            client = db::connect_as_dba(admin).await?;
        }
        work(&mut client).await
    });
    say!("{}", done.await?);
    Ok(())
}
