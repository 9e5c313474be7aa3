//! Signed strings that this server issues and gets back: the signature proves that it issued them for this purpose.
//! They are not encrypted.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The keys of one purpose, newest first: the first signs, all of them verify.
pub struct Signer(Vec<Vec<u8>>);

/// Size of the signature, in bytes.
const SIGNATURE_BYTES: usize = 16;

impl Signer {
    /// Keys derived from those that seal the secrets: they outlive session tokens, as links in mails must.
    pub fn new(keys: &[String], purpose: &str) -> Self {
        let key = |key: &String| mac(key.as_bytes(), &[purpose.as_bytes()]).finalize().into_bytes().to_vec();
        Self(keys.iter().map(key).collect())
    }

    /// The signed form of `content`, which is valid for `what` only.
    pub fn sign(&self, what: &[u8], mut content: Vec<u8>) -> String {
        let signature = mac(&self.0[0], &[what, &content]).finalize().into_bytes();
        content.extend_from_slice(&signature[..SIGNATURE_BYTES]);
        BASE64_URL_SAFE_NO_PAD.encode(content)
    }

    /// The content of a text that this server signed for `what`.
    pub fn open(&self, what: &[u8], text: &str) -> Option<Vec<u8>> {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (content, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        if !self.0.iter().any(|key| mac(key, &[what, content]).verify_truncated_left(signature).is_ok()) {
            return None;
        }
        bytes.truncate(bytes.len() - SIGNATURE_BYTES);
        Some(bytes)
    }
}

/// An HMAC of these parts.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("an HMAC key has any length");
    for part in parts {
        mac.update(part);
    }
    mac
}
