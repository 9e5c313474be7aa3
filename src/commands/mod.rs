//! The commands of those who run Ringfence, beside `serve`, `worker` and `migrate`: a file or folder each, called as its command.

pub mod archive;
pub mod backfill;
pub mod backup;
pub mod demo;
pub mod doctor;
pub mod erase;
pub mod files;
pub mod import;
pub mod local;
pub mod operator;
pub mod secrets;
pub mod user;
