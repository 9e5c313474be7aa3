//! Every integration test, in one binary: one file per area, and a new company per test in a shared database.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "nothing outside this binary reads it, and a test ends by panicking"
)]

mod activities;
mod analytics;
mod archive;
mod audit;
mod auth;
mod backfill;
mod backup;
mod bad_input;
mod calls;
mod campaigns;
mod chaos;
mod commands;
mod companies;
mod contacts;
mod contract;
mod conversations;
mod deals;
mod emails;
mod erase;
mod files;
mod idempotency;
mod import;
mod inbox;
mod invitations;
mod isolation;
mod jobs;
mod leaks;
mod metrics;
mod notifications;
mod old_database;
mod old_odd_rows;
mod operators;
mod pages;
mod partitions;
mod pipelines;
mod plans;
mod poolers;
mod quotes;
mod registration;
mod request_path;
mod scale;
mod schema;
mod search;
mod secrets;
mod sms;
mod standby;
mod structure;
mod support;
mod suppressions;
mod teams;
mod twilio_settings;
mod users;
mod webhooks;
mod workflow_runs;
mod workflows;
