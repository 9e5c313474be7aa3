//! Every integration test, in one binary. One file an area; each test is a new company in one shared database.
#![allow(missing_docs, unreachable_pub, reason = "nothing outside this binary reads it")]

mod contacts;
mod request_path;
mod world;
