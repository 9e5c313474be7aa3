//! The outside world. Nothing in here knows the database.

pub mod mail;
pub mod storage;

/// Makes ring the provider of TLS for the libraries that ask for a default one. Doing it again is harmless.
pub fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
