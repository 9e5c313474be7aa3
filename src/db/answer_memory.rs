//! Limits the memory for the database's responses. Their size is unbounded: a list without a limit is as long as its
//! company has made it, with texts of up to a megabyte in each row. So a message's bytes are counted when its length is
//! announced, before it is read. A small response reserves nothing; a larger one reserves memory from a budget of the
//! whole process until its last row is written, and is refused if the budget does not suffice. Nothing waits for
//! memory: responses that each hold a part of what they need would wait for one another.

use super::Fault;
use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

/// The bytes that each response may use without reserving them from the budget.
const FREE_BYTES: usize = 1 << 20;
/// The number of bytes in one permit of the budget.
const PERMIT_BYTES: usize = 64 << 10;
/// The maximum size of one response, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// The maximum number of bytes that the larger responses of one company may reserve together once they are read, so
/// that others have memory while its clients read slowly.
const MAX_COMPANY_BYTES: usize = 128 << 20;
/// The memory budget of the whole process, in units of [`PERMIT_BYTES`].
static BUDGET: Semaphore = Semaphore::const_new((256 << 20) / PERMIT_BYTES);
/// The overhead of rows that were read together, in bytes.
const BATCH_OVERHEAD_BYTES: usize = 64;

static COMPANIES: LazyLock<Mutex<HashMap<Uuid, usize>>> = LazyLock::new(Mutex::default);

fn companies() -> MutexGuard<'static, HashMap<Uuid, usize>> {
    COMPANIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The memory of a response, reserved until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    used: usize,
    had: usize,
    taken: Option<SemaphorePermit<'static>>,
    company: Option<Uuid>,
}

impl Default for Room {
    fn default() -> Self {
        Self { used: 0, had: FREE_BYTES, taken: None, company: None }
    }
}

impl Room {
    /// Makes sure that `bytes` more fit, besides the rows that are kept.
    pub(super) fn fit(&mut self, bytes: usize) -> Result<(), Fault> {
        let whole = self.used + bytes;
        if whole <= self.had { Ok(()) } else { self.grow(whole) }
    }

    #[cold]
    fn grow(&mut self, whole: usize) -> Result<(), Fault> {
        if whole > MAX_RESPONSE_BYTES {
            return Err(Fault::TooLarge);
        }
        let parts = (whole - self.had).div_ceil(PERMIT_BYTES);
        let more = BUDGET.try_acquire_many(parts as u32).map_err(|_| Fault::NoRoom)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            none => *none = Some(more),
        }
        self.had += parts * PERMIT_BYTES;
        Ok(())
    }

    /// Counts rows of `bytes` bytes, which were read together and are kept.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.used += bytes + BATCH_OVERHEAD_BYTES;
    }

    /// Whether the response has reserved memory from the budget.
    pub(super) fn is_large(&self) -> bool {
        self.taken.is_some()
    }

    /// Counts the response against the limit of its company.
    pub(super) fn belong(&mut self, company: Option<Uuid>) -> Result<(), Fault> {
        let Some(company) = company.filter(|_| self.is_large() && self.company.is_none()) else { return Ok(()) };
        let mut companies = companies();
        let all = companies.get(&company).map_or(0, |all| *all) + self.had;
        if all > MAX_COMPANY_BYTES {
            return Err(Fault::NoRoom);
        }
        companies.insert(company, all);
        self.company = Some(company);
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some(company) = self.company else { return };
        let mut companies = companies();
        if let Some(all) = companies.get_mut(&company) {
            *all = all.saturating_sub(self.had);
            if *all == 0 {
                companies.remove(&company);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In one test, because the whole process shares the budget.
    #[test]
    fn room_is_taken_and_given_back() {
        let all = BUDGET.available_permits();
        let large = |bytes: usize| {
            let mut room = Room::default();
            room.fit(bytes).map(|()| room)
        };
        assert!(!large(FREE_BYTES).unwrap().is_large());
        assert!(matches!(large(MAX_RESPONSE_BYTES + 1), Err(Fault::TooLarge)));

        let mut rows = Room::default();
        for _ in 0..=FREE_BYTES / (1000 + BATCH_OVERHEAD_BYTES) {
            rows.fit(1000).unwrap();
            rows.keep(1000);
        }
        assert!(rows.is_large(), "what is kept counts");
        assert_eq!(BUDGET.available_permits(), all - 1);
        drop(rows);
        assert_eq!(BUDGET.available_permits(), all);

        let held: Vec<Room> = (0..4).map(|_| large(MAX_RESPONSE_BYTES).unwrap()).collect();
        assert!(matches!(large(MAX_RESPONSE_BYTES), Err(Fault::NoRoom)));
        assert!(large(FREE_BYTES).is_ok());
        drop(held);
        assert_eq!(BUDGET.available_permits(), all);

        let (one, other) = (Some(Uuid::new_v4()), Some(Uuid::new_v4()));
        let of = |company| large(MAX_RESPONSE_BYTES).and_then(|mut room| room.belong(company).map(|()| room));
        let held = [of(one).unwrap(), of(one).unwrap()];
        assert!(matches!(of(one), Err(Fault::NoRoom)));
        assert!(of(other).is_ok());
        drop(held);
        assert!(of(one).is_ok() && companies().is_empty());
        assert_eq!(BUDGET.available_permits(), all);
    }
}
