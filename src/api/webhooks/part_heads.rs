//! Cleans the headers of a form's parts, which contain the names that senders gave to attached files. A control
//! character there makes a form unreadable from that point on, and the mail would be lost over a file name.

use axum::body::Bytes;
use bytes::BytesMut;

/// Separates a part's headers from its content.
const BEHIND_HEAD: &[u8] = b"\r\n\r\n";

/// Replaces control characters in a form's part headers with blanks, piece by piece.
pub(super) struct Heads {
    /// What precedes a part's headers, except the rest of its line.
    boundary: Vec<u8>,
    in_head: bool,
    /// Number of bytes seen of what ends the headers or the content.
    seen: usize,
    /// A carriage return that is a control character unless a line feed follows.
    held: bool,
    last: u8,
}

impl Heads {
    /// For a form of this content type; `None` if it names no boundary.
    pub(super) fn of(kind: &str) -> Option<Self> {
        let given = kind.split(';').filter_map(|part| part.trim().split_once('='));
        let boundary =
            given.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary")).map(|(_, value)| value).next()?;
        let boundary = ["\r\n--", boundary.trim().trim_matches('"')].concat().into_bytes();
        // The first boundary has no line break before it.
        Some(Self { boundary, in_head: false, seen: 2, held: false, last: 0 })
    }

    /// The next piece, cleaned.
    pub(super) fn clean(&mut self, piece: Bytes) -> Bytes {
        let mut out = BytesMut::with_capacity(piece.len() + 1);
        for &byte in &piece {
            if self.held && byte != b'\n' {
                self.put(b' ', &mut out);
            } else if self.held {
                self.put(b'\r', &mut out);
            }
            self.held = self.in_head && byte == b'\r';
            if !self.held {
                let is_alone = byte == b'\n' && self.last != b'\r';
                let is_odd = byte.is_ascii_control() && !b"\t\n".contains(&byte) || is_alone;
                self.put(if self.in_head && is_odd { b' ' } else { byte }, &mut out);
            }
        }
        out.freeze()
    }

    fn put(&mut self, byte: u8, out: &mut BytesMut) {
        out.extend_from_slice(&[byte]);
        self.last = byte;
        let end = if self.in_head { BEHIND_HEAD } else { &self.boundary };
        self.seen = match end.get(self.seen) {
            Some(wanted) if *wanted == byte => self.seen + 1,
            // A carriage return occurs only at the start, or the pattern is one line break twice.
            _ => usize::from(end.first() == Some(&byte)),
        };
        if self.seen == end.len() {
            (self.in_head, self.seen) = (!self.in_head, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_cleaned_and_contents_are_not() {
        let form = "--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"a\u{1}b\rc\nd\u{7f}\te.pdf\"\r\n\r\n\u{1}\r\u{1}\n\r\n--c\u{1}\r\r\n\
            --b\r\nContent-Type: x\u{0}\r\n\r\n\r\n--b--\r\n";
        let wanted = "--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"a b c d \te.pdf\"\r\n\r\n\u{1}\r\u{1}\n\r\n--c\u{1}\r\r\n\
            --b\r\nContent-Type: x \r\n\r\n\r\n--b--\r\n";
        for size in 1..form.len() {
            let mut heads = Heads::of("multipart/form-data; charset=utf-8; boundary=\"b\"").unwrap();
            let pieces = form.as_bytes().chunks(size).map(|piece| heads.clean(Bytes::copy_from_slice(piece)));
            assert_eq!(String::from_utf8(pieces.flatten().collect()).unwrap(), wanted, "in pieces of {size}");
        }
        assert!(Heads::of("multipart/form-data").is_none());
    }
}
