//! Stub.
use super::prelude::*;
routes! {}
