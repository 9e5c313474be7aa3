//! Files that are arriving, kept on disk until a part of them or all can be processed, so that a slow sender holds
//! neither memory nor a permit.

use crate::{
    Error, Result,
    clients::storage::PART_BYTES,
    fair_limit::{FairLimit, Permit},
};
use anyhow::Context;
use bytes::BytesMut;
use std::{io::SeekFrom, time::Duration};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
    task::spawn_blocking,
};
use uuid::Uuid;

/// Disk space that is reserved at a time, in bytes: a part of an upload needs only one lot, and never waits for a
/// second one.
const LOT_BYTES: usize = PART_BYTES;
/// The lots of the whole program, in total 1 GiB, and of one company, in total 120 MiB. Each file has at least one, so
/// this also limits the files that arrive at a time, each of which has some hundred kilobytes of buffers.
static ROOM: FairLimit = FairLimit::new(204, 24);
/// Files of more than one lot at a time, in all and per company: a company's lots suffice for two of the largest,
/// imports of 50 MiB; more would wait for each other's lots.
static LARGE: FairLimit = FairLimit::new(64, 2);
/// How long a file waits for a lot while all are taken.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(60);
/// The number of bytes that are read or written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// A file without a name in the system's folder for temporary ones (`TMPDIR`), which is gone when it is dropped.
pub struct Spool {
    file: File,
    size: usize,
    whose: Uuid,
    room: Vec<Permit>,
    large: Option<Permit>,
}

impl Spool {
    /// Creates an empty file, which counts for this company.
    pub async fn new(whose: Uuid) -> Result<Self> {
        let file = spawn_blocking(tempfile::tempfile).await.map_err(|e| Error::Internal(e.to_string().into()))?;
        let mut file = File::from_std(file.map_err(failed)?);
        file.set_max_buf_size(BUFFER_BYTES);
        Ok(Self { file, size: 0, whose, room: Vec::new(), large: None })
    }

    /// The number of bytes in it.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Appends bytes; waits while there is no room for them.
    pub async fn put(&mut self, bytes: &[u8]) -> Result<()> {
        while self.room.len() * LOT_BYTES < self.size + bytes.len() {
            let busy = || Error::Busy("Too many files are coming in right now: try again in a moment");
            if self.room.len() == 1 {
                self.large = Some(LARGE.acquire(self.whose, PERMIT_TIMEOUT).await.ok_or_else(busy)?);
            }
            self.room.push(ROOM.acquire(self.whose, PERMIT_TIMEOUT).await.ok_or_else(busy)?);
        }
        self.file.write_all(bytes).await.map_err(failed)?;
        self.size += bytes.len();
        Ok(())
    }

    /// Goes back to the beginning, from where [`Spool::next`] reads.
    pub async fn rewind(&mut self) -> Result<()> {
        // A failure of the last write is reported here at the latest.
        self.file.flush().await.map_err(failed)?;
        self.file.seek(SeekFrom::Start(0)).await.map(drop).map_err(failed)
    }

    /// Reads the next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<BytesMut>> {
        let mut piece = BytesMut::with_capacity(BUFFER_BYTES);
        let read = self.file.read_buf(&mut piece).await.map_err(failed)?;
        Ok((read > 0).then_some(piece))
    }

    /// Empties the file.
    pub async fn clear(&mut self) -> Result<()> {
        self.size = 0;
        self.file.set_len(0).await.map_err(failed)?;
        self.rewind().await
    }

    /// Reads the whole file into memory.
    pub async fn into_bytes(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.size);
        self.rewind().await?;
        self.file.read_to_end(&mut bytes).await.map_err(failed)?;
        Ok(bytes)
    }
}

/// Writes a temporary file, which is gone at once; an error that names the folder, if that cannot be done.
pub fn probe() -> anyhow::Result<()> {
    let written = tempfile::tempfile().and_then(|mut file| std::io::Write::write_all(&mut file, b"x"));
    let folder = std::env::temp_dir();
    written.with_context(|| format!("no file can be written to the folder {}, which TMPDIR names", folder.display()))
}

/// The error if the disk is full, for example.
fn failed(e: std::io::Error) -> Error {
    let folder = std::env::temp_dir();
    tracing::error!(error = %e, folder = %folder.display(), "a file that comes in cannot be kept in the folder for temporary files");
    Error::Busy("No file can be taken right now: try again later")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn one_company_does_not_fill_the_disk() {
        let (one, lot, moment) = (Uuid::from_u128(1), vec![7; LOT_BYTES], Duration::from_millis(300));
        let mut large = Spool::new(one).await.unwrap();
        for _ in 0..24 {
            large.put(&lot).await.unwrap();
        }
        let mut more = Spool::new(one).await.unwrap();
        assert!(timeout(moment, more.put(b"x")).await.is_err(), "it waits");
        let mut others = Spool::new(Uuid::from_u128(2)).await.unwrap();
        others.put(b"others").await.unwrap();
        assert_eq!(others.into_bytes().await.unwrap(), b"others");
        drop(large);
        more.put(b"x").await.unwrap();
        more.clear().await.unwrap();
        more.put(b"yz").await.unwrap();
        assert_eq!((more.size(), more.into_bytes().await.unwrap()), (2, b"yz".to_vec()));
    }

    #[tokio::test]
    async fn files_of_one_company_do_not_wait_for_each_other_for_ever() {
        let (whose, bytes) = (Uuid::from_u128(4), vec![7; LOT_BYTES]);
        let part = async || {
            let mut part = Spool::new(whose).await?;
            part.put(&bytes[..LOT_BYTES / 2]).await?;
            tokio::task::yield_now().await;
            part.put(&bytes[LOT_BYTES / 2..]).await
        };
        let import = async || {
            let mut import = Spool::new(whose).await?;
            for _ in 0..10 {
                import.put(&bytes).await?;
            }
            Ok::<_, Error>(())
        };
        let parts = futures_util::future::try_join_all((0..30).map(|_| part()));
        let imports = futures_util::future::try_join_all((0..4).map(|_| import()));
        let all = futures_util::future::try_join(parts, imports);
        timeout(PERMIT_TIMEOUT / 3, all).await.unwrap().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_told() {
        let full = std::fs::File::options().read(true).write(true).open("/dev/full").unwrap();
        let mut spool =
            Spool { file: File::from_std(full), size: 0, whose: Uuid::from_u128(3), room: Vec::new(), large: None };
        let told = async {
            spool.put(b"x").await?;
            spool.rewind().await
        };
        assert!(matches!(told.await, Err(Error::Busy(_))));
    }
}
