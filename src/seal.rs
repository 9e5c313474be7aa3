//! Providers' secrets at rest: AES-256-GCM under a key outside the database, bound to the company and the field, so
//! that a sealed value is of no use in another row.

use crate::{Error, Result, signed::mac};
use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use anyhow::{Context, anyhow, bail};
use hmac::Mac;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;

/// The keys, newest first: the first seals, all of them open.
pub struct Sealer(Vec<([u8; KEY_ID_BYTES], Aes256Gcm)>);

impl Sealer {
    /// `keys` are 32 bytes each, in hexadecimal.
    pub fn new(keys: &[String]) -> anyhow::Result<Self> {
        let mut ciphers = Vec::new();
        for text in keys {
            let bytes =
                (0..text.len()).step_by(2).map(|i| text.get(i..i + 2).and_then(|h| u8::from_str_radix(h, 16).ok()));
            let bytes: Vec<u8> = bytes.collect::<Option<_>>().unwrap_or_default();
            let cipher = Aes256Gcm::new_from_slice(&bytes).ok().filter(|_| bytes.len() == 32);
            let cipher = cipher
                .context("RINGFENCE_SECRET_KEY is not 32 bytes in hexadecimal: make one with `openssl rand -hex 32`")?;
            let mut id = [0; KEY_ID_BYTES];
            id.copy_from_slice(&Sha256::digest([b"key id of ".as_slice(), &bytes].concat())[..KEY_ID_BYTES]);
            ciphers.push((id, cipher));
        }
        if ciphers.is_empty() {
            bail!("RINGFENCE_SECRET_KEY is not set: make one with `openssl rand -hex 32`");
        }
        Ok(Self(ciphers))
    }

    /// Keys derived from these for another purpose, so that frequent sealing does not wear down the keys of secrets.
    pub fn of(keys: &[String], purpose: &str) -> anyhow::Result<Self> {
        let derived = |key: &String| hexadecimal(&mac(key.as_bytes(), &[purpose.as_bytes()]).finalize().into_bytes());
        Self::new(&keys.iter().map(derived).collect::<Vec<_>>())
    }

    /// A company's trimmed secret as it is stored: sealed (key id, nonce, ciphertext with tag), and its last four
    /// characters. `None` if it is empty.
    pub fn seal(&self, company: Uuid, field: &str, secret: &str) -> Result<Option<(Vec<u8>, String)>> {
        let secret = secret.trim();
        if secret.is_empty() {
            return Ok(None);
        }
        let sealed = self.seal_bytes(company, field, secret.as_bytes())?;
        Ok(Some((sealed, last_four(secret))))
    }

    /// Opens what [`Sealer::seal`] made for the same company and field; [`Error::NoKey`] if none of the keys does.
    pub fn open(&self, company: Uuid, field: &str, sealed: &[u8]) -> Result<String> {
        let opened = self.try_open(company, field, sealed).and_then(|bytes| Ok(String::from_utf8(bytes)?));
        opened.map_err(|e| {
            tracing::error!(error = %e, %company, field, "a company's secret cannot be read");
            Error::NoKey(match field {
                "twilio_auth_token" => "Twilio's token cannot be read: enter it again in the settings",
                "sendgrid_api_key" => "SendGrid's key cannot be read: enter it again in the settings",
                _ => "The secret that webhooks are signed with cannot be read: make a new one",
            })
        })
    }

    /// Seals confidential data that is not a company's secret; `row` is where it is stored.
    pub fn seal_bytes(&self, row: Uuid, field: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        self.try_seal(row, field, bytes).map_err(internal)
    }

    /// Opens what [`Sealer::seal_bytes`] made for the same row and field.
    pub fn open_bytes(&self, row: Uuid, field: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        self.try_open(row, field, sealed).map_err(internal)
    }

    /// The id of the key that seals; all that it sealed begins with it.
    pub fn newest(&self) -> [u8; KEY_ID_BYTES] {
        self.0[0].0
    }

    /// What to do about credentials that none of the keys opens; `None` where there are none. Of each key, by its id,
    /// it is given how many credentials are sealed under it.
    pub fn problem<'a>(&self, sealed: impl Iterator<Item = (&'a [u8], i64)>) -> Option<String> {
        let (mut all, mut unknown) = (0, 0);
        for (key, credentials) in sealed {
            all += credentials;
            if self.0.iter().all(|(known, _)| known != key) {
                unknown += credentials;
            }
        }
        (unknown > 0).then(|| {
            format!(
                "{unknown} of the {all} credentials of providers cannot be opened with RINGFENCE_SECRET_KEY: give it every key that \
                 was in use, or have these credentials entered again"
            )
        })
    }

    /// Seals under the newest key what was sealed under any of them for this row and field.
    pub fn reseal(&self, row: Uuid, field: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.try_seal(row, field, &self.try_open(row, field, sealed)?)
    }

    fn try_seal(&self, row: Uuid, field: &str, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (id, cipher) = &self.0[0];
        let nonce: [u8; NONCE_BYTES] = crate::auth::random();
        let payload = Payload { msg: bytes, aad: &bound_to(row, field) };
        let sealed = cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| anyhow!("cannot seal {field}"))?;
        Ok([id.as_slice(), &nonce, &sealed].concat())
    }

    fn try_open(&self, row: Uuid, field: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (id, rest) = sealed.split_at_checked(KEY_ID_BYTES).context("a sealed value is too short")?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().context("a sealed value is too short")?;
        let (_, cipher) =
            self.0.iter().find(|(known, _)| known == id).context("sealed under a key that is not configured")?;
        let payload = Payload { msg: text, aad: &bound_to(row, field) };
        cipher.decrypt(&Nonce::from(*nonce), payload).map_err(|_| anyhow!("{field} was sealed for another row"))
    }
}

/// Two hexadecimal digits for each byte, as in keys.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a secret is masked, and therefore not a new one.
pub fn is_masked(secret: &str) -> bool {
    secret.trim_start().starts_with("****")
}

fn internal(e: anyhow::Error) -> Error {
    Error::Internal(e.to_string().into())
}

fn bound_to(row: Uuid, field: &str) -> Vec<u8> {
    [row.as_bytes(), field.as_bytes()].concat()
}

/// The end of a secret, to recognize it by; empty for a short one, of which it would be most.
fn last_four(secret: &str) -> String {
    let length = secret.chars().count();
    if length < 12 { String::new() } else { secret.chars().skip(length - 4).collect() }
}
