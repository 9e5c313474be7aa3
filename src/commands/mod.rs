//! The commands for administrators, each in a file or folder of its name. `serve` also has `worker`, and `location`
//! finds the database and the store for all of them.

pub mod archive;
pub mod backfill;
pub mod backup;
pub mod demo;
pub mod doctor;
pub mod erase;
pub mod files;
pub mod import;
pub mod local;
pub mod location;
pub mod operator;
pub mod secrets;
pub mod serve;
pub mod user;
