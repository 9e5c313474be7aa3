//! Every integration test, in one binary. One file an area; each test is a new company in one shared database.
#![allow(missing_docs, unreachable_pub, reason = "nothing outside this binary reads it")]

mod bad_input;
mod contacts;
mod contract;
mod isolation;
mod schema;
mod structure;
mod world;
