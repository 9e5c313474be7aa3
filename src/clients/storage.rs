//! The object store with the files' content: a local folder, S3, Google Cloud Storage or Azure, depending on the URL.

use crate::config::is_address;
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use nix::unistd::geteuid;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutPayload, RetryConfig,
    WriteMultipart,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    local::LocalFileSystem,
    memory::InMemory,
    path::Path,
    prefix::PrefixStore,
};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, DirBuilder},
    io,
    ops::Range,
    os::unix::fs::{DirBuilderExt, MetadataExt, lchown},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// The size of a part in bytes: the minimum that S3 accepts.
pub const PART_BYTES: usize = 5 << 20;
/// How often, and for how long, requests to a store that does not respond are retried: somebody is waiting.
const MAX_RETRIES: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(10);
/// The object that says to which database the store belongs: its identity as text. It is not a company's file.
const OWNER: &str = "ringfence-database";
/// The object that is written and deleted again to see whether both can be done.
const PROBE: &str = "ringfence-probe";
/// How many files are looked up to find out to which database an older store belongs.
const SAMPLE_SIZE: usize = 1000;

/// The store.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    /// The folder of a local store, in which a killed server leaves parts that the store itself does not list.
    folder: Option<PathBuf>,
    /// Its address as people are told it.
    address: String,
}

/// To which database a store belongs, according to the store.
pub enum Mark {
    /// The identity of the database.
    Owner(Uuid),
    /// The store does not say; these are some of its files.
    None(Vec<Uuid>),
}

impl Mark {
    /// Some files of a store that does not say to which database it belongs.
    pub fn files(&self) -> &[Uuid] {
        match self {
            Self::Owner(_) => &[],
            Self::None(files) => files,
        }
    }
}

/// The file whose content an object is. Keys are `company/file`, both of them ids as they are written here. Any other
/// key was not made here, for example an object of a store below this one.
pub fn file_of(key: &Path) -> Option<Uuid> {
    let (company, file) = key.as_ref().split_once('/')?;
    let id = |part: &str| part.parse::<Uuid>().ok().filter(|id| id.to_string() == part);
    id(company).and(id(file))
}

/// An address without the user, the password and the parameters that it may have.
fn printable(url: &url::Url) -> String {
    format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Refuses an address of a provider's server that is none, with which its client would panic.
fn check_endpoint(variable: &str, endpoint: Option<String>) -> Result<()> {
    match endpoint {
        Some(endpoint) if !is_address(&endpoint) => {
            bail!("{variable}: {endpoint:?} is no address such as https://storage.example.com")
        }
        _ => Ok(()),
    }
}

/// What is said of an object that cannot be written: where it is in a local store, or else its key.
fn unwritten(file: Option<&std::path::Path>, key: &Path) -> String {
    format!("cannot write {}", file.map_or_else(|| key.to_string(), |file| file.display().to_string()))
}

/// Creates a folder and its parents.
fn make_folder(folder: &std::path::Path, mode: u32) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above, 0o777)?;
    }
    match DirBuilder::new().mode(mode).create(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| hand_over(folder)),
    }
}

/// Gives what root has created to the owner of its folder; otherwise the server's user could neither write nor read
/// what an administrator's command leaves.
fn hand_over(path: &std::path::Path) -> io::Result<()> {
    match path.parent() {
        Some(above) if geteuid().is_root() => {
            let owner = fs::metadata(above)?;
            lchown(path, Some(owner.uid()), Some(owner.gid()))
        }
        _ => Ok(()),
    }
}

/// Content that was read from an object.
pub struct Content {
    /// The bytes.
    pub stream: BoxStream<'static, object_store::Result<Bytes>>,
    /// Which bytes of the object these are.
    pub range: Range<u64>,
    /// The size of the whole object, in bytes.
    pub size: u64,
}

impl Storage {
    /// Opens `file:///folder`, which is created if it is missing, or `s3://bucket/…`, `gs://bucket/…` or
    /// `az://container/…`, with the provider's environment variables.
    pub fn open(url: &str) -> Result<Self> {
        Self::at(url, true)
    }

    /// Opens a store for reading, like [`Storage::open`], but does not create a missing folder: it is an empty store.
    pub fn look_at(url: &str) -> Result<Self> {
        Self::at(url, false)
    }

    fn at(url: &str, makes_folder: bool) -> Result<Self> {
        let url: url::Url = url.parse().with_context(|| format!("RINGFENCE_STORAGE_URL is no address: {url}"))?;
        let address = printable(&url);
        if url.scheme() == "file" {
            let folder =
                url.to_file_path().map_err(|()| anyhow!("RINGFENCE_STORAGE_URL names no local folder: {url}"))?;
            if !makes_folder && !folder.exists() {
                return Ok(Self { store: Arc::new(InMemory::new()), folder: None, address });
            }
            // Only the server's user reads customers' files; parent folders may lead to others' files, such as
            // PostgreSQL's.
            make_folder(&folder, 0o700)
                .with_context(|| format!("cannot make the folder for files {}", folder.display()))?;
            // Acknowledged data has reached the disk.
            let store = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true).with_automatic_cleanup(true);
            return Ok(Self { store: Arc::new(store), folder: Some(folder), address });
        }
        super::use_ring();
        let (scheme, prefix) = ObjectStoreScheme::parse(&url)
            .with_context(|| format!("RINGFENCE_STORAGE_URL cannot be used: {}", url.scheme()))?;
        let retry = RetryConfig { max_retries: MAX_RETRIES, retry_timeout: TIMEOUT, ..RetryConfig::default() };
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::AmazonS3 => {
                let builder = AmazonS3Builder::from_env().with_url(url).with_retry(retry);
                check_endpoint("AWS_ENDPOINT", builder.get_config_value(&AmazonS3ConfigKey::Endpoint))?;
                check_endpoint("AWS_ENDPOINT_URL_S3", builder.get_config_value(&AmazonS3ConfigKey::S3Endpoint))?;
                Arc::new(builder.build()?)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(url).with_retry(retry);
                check_endpoint("GOOGLE_BASE_URL", builder.get_config_value(&GoogleConfigKey::BaseUrl))?;
                Arc::new(builder.build()?)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(url).with_retry(retry);
                check_endpoint("AZURE_STORAGE_ENDPOINT", builder.get_config_value(&AzureConfigKey::Endpoint))?;
                Arc::new(builder.build()?)
            }
            _ => bail!("RINGFENCE_STORAGE_URL begins with file:, s3:, gs: or az:, and not with {}:", url.scheme()),
        };
        Ok(Self { store: Arc::new(PrefixStore::new(store, prefix)), folder: None, address })
    }

    /// Its address, without what may be secret in it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Writes an object and deletes it again; an error that says where, if either cannot be done.
    pub async fn probe(&self) -> Result<()> {
        let key = Path::from(PROBE);
        let probed = async {
            self.store.put(&key, PutPayload::from_static(b"x")).await?;
            self.delete(&key).await
        };
        probed.await.with_context(|| format!("nothing can be written to the store of files at {}", self.address))
    }

    /// Starts an object, which is deleted again unless [`Writing::keep`] is called.
    pub async fn write(&self, key: &str, tracker: &TaskTracker) -> Result<Writing> {
        let key = Path::parse(key)?;
        let file = self.file(&key);
        if let Some(folder) = file.as_deref().and_then(std::path::Path::parent) {
            make_folder(folder, 0o777).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let upload = self.store.put_multipart(&key).await.with_context(|| unwritten(file.as_deref(), &key))?;
        Ok(Writing {
            store: self.store.clone(),
            key,
            file,
            upload: Some(WriteMultipart::new_with_chunk_size(upload, PART_BYTES)),
            hash: Sha256::new(),
            size: 0,
            kept: false,
            tracker: tracker.clone(),
        })
    }

    /// The path of an object in a local store.
    fn file(&self, key: &Path) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(key.as_ref()))
    }

    /// An object or a part of it; `None` if it does not exist.
    pub async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Content>> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        match self.store.get_opts(&Path::parse(key)?, options).await {
            Ok(found) => {
                let (range, size) = (found.range.clone(), found.meta.size);
                Ok(Some(Content { stream: found.into_stream(), range, size }))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// A whole small object; `None` if it does not exist.
    pub async fn read_all(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut content) = self.read(key, None).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        while let Some(chunk) = content.stream.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    /// To which database the store belongs.
    pub async fn mark(&self) -> Result<Mark> {
        if let Some(owner) = self.owner().await? {
            return Ok(Mark::Owner(owner));
        }
        let files = self.list().try_filter_map(|object| std::future::ready(Ok(file_of(&object.location))));
        Ok(Mark::None(files.take(SAMPLE_SIZE).try_collect().await?))
    }

    async fn owner(&self) -> Result<Option<Uuid>> {
        let Some(text) = self.read_all(OWNER).await? else { return Ok(None) };
        let owner = str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        owner
            .map(Some)
            .with_context(|| format!("the object {OWNER} in the store of files has no identity of a database"))
    }

    /// Assigns the store to this database unless it belongs to one; returns to which one it belongs then.
    pub async fn claim(&self, database: Uuid) -> Result<Uuid> {
        match self.put_owner(database, PutMode::Create).await {
            // A store without conditional writes: no owner was seen.
            Err(object_store::Error::NotImplemented { .. }) => self.set_owner(database).await?,
            Ok(()) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        self.owner().await?.context("the store of files does not keep what is written to it")
    }

    /// Assigns the store to this database.
    pub async fn set_owner(&self, database: Uuid) -> Result<()> {
        Ok(self.put_owner(database, PutMode::Overwrite).await?)
    }

    async fn put_owner(&self, database: Uuid, mode: PutMode) -> object_store::Result<()> {
        let (key, text) = (Path::from(OWNER), PutPayload::from(format!("{database}\n")));
        self.store.put_opts(&key, text, mode.into()).await?;
        let handed_over = self.file(&key).map_or(Ok(()), |file| hand_over(&file));
        handed_over.map_err(|e| object_store::Error::Generic { store: "local", source: e.into() })
    }

    /// Every object except the one that says to which database the store belongs.
    pub fn list(&self) -> impl Stream<Item = Result<ObjectMeta>> {
        let objects = self.store.list(None).map_err(Into::into);
        objects.try_filter(|object| std::future::ready(object.location.as_ref() != OWNER)).boxed()
    }

    /// Every object below this prefix.
    pub fn list_below(&self, part: &str) -> impl Stream<Item = Result<ObjectMeta>> {
        self.store.list(Some(&Path::from(part))).map_err(Into::into).boxed()
    }

    /// Deletes an object; a missing one is no error.
    pub async fn delete(&self, key: &Path) -> Result<()> {
        match self.store.delete(key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether an object exists.
    pub async fn has(&self, key: &Path) -> Result<bool> {
        match self.store.head(key).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Deletes parts of uploads that a killed server left in a local folder before this time.
    pub async fn delete_stale_parts(&self, before: SystemTime) -> Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let clean = move || -> std::io::Result<()> {
            for company in std::fs::read_dir(folder)? {
                let company = company?;
                if !company.file_type()?.is_dir() {
                    continue;
                }
                for part in std::fs::read_dir(company.path())? {
                    let part = part?;
                    let stale = part.metadata().and_then(|m| m.modified()).is_ok_and(|time| time < before);
                    if stale && part.file_name().to_string_lossy().contains('#') {
                        std::fs::remove_file(part.path())?;
                    }
                }
            }
            Ok(())
        };
        Ok(tokio::task::spawn_blocking(clean).await??)
    }
}

/// An object that is being written. Dropped without [`Writing::keep`], it leaves nothing behind.
pub struct Writing {
    store: Arc<dyn ObjectStore>,
    key: Path,
    /// Its path in a local store.
    file: Option<PathBuf>,
    upload: Option<WriteMultipart>,
    hash: Sha256,
    size: u64,
    kept: bool,
    tracker: TaskTracker,
}

impl Writing {
    /// Appends bytes; waits until each part that they fill is in the store, so that memory use stays small. The bytes
    /// are copied, because even a few may keep a large buffer allocated.
    pub async fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let upload = self.upload.as_mut().context("the object is finished")?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        upload.write(bytes);
        upload.wait_for_capacity(1).await.with_context(|| unwritten(self.file.as_deref(), &self.key))
    }

    /// The number of bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Completes the object; returns its SHA-256.
    pub async fn finish(&mut self) -> Result<[u8; 32]> {
        let upload = self.upload.take().context("the object is finished")?;
        upload.finish().await.with_context(|| unwritten(self.file.as_deref(), &self.key))?;
        self.file.as_deref().map_or(Ok(()), hand_over)?;
        Ok(self.hash.clone().finalize().into())
    }

    /// Keeps the object, whose row exists or is about to be written. Call it before the statement: if that is
    /// interrupted it may still have been executed, and an object without a row is swept.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Deletes the object, to which certainly no row refers.
    pub fn discard(mut self) {
        self.kept = false;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (store, key, upload) = (self.store.clone(), self.key.clone(), self.upload.take());
        self.tracker.spawn(async move {
            let removed = match upload {
                Some(upload) => upload.abort().await,
                None => store.delete(&key).await,
            };
            match removed {
                // One that could not be written to its end is not there.
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => tracing::warn!(error = %e, %key, "an object stays until the next sweep"),
            }
        });
    }
}
