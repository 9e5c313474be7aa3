//! The outside world. Nothing in here knows the database.

pub mod mail;
