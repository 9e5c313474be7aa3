//! Every integration test, in one binary. One file an area; each test is a new company in one shared database.
#![allow(missing_docs, unreachable_pub, reason = "nothing outside this binary reads it")]

mod auth;
mod bad_input;
mod calls;
mod companies;
mod contacts;
mod contract;
mod import;
mod invitations;
mod isolation;
mod leaks;
mod notifications;
mod registration;
mod schema;
mod sms;
mod smtp;
mod structure;
mod users;
mod world;
