//! Building blocks of the tests: companies, servers, databases, fake providers, and the walk of the whole API.

pub mod archive;
pub mod cluster;
pub mod command;
pub mod database;
pub mod log;
pub mod metrics;
pub mod old_database;
pub mod plans;
pub mod proxy;
pub mod random;
pub mod repository;
pub mod seed;
pub mod server;
pub mod smtp;
pub mod tls;
pub mod twilio;
pub mod walk;
pub mod world;
