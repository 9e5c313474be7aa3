//! What the documents have in common: colors, amounts of money, and a page with margins.

use super::{Color, Sheet, Style};
use iso_currency::Currency;
use parley::Alignment;

pub(super) const INK: (u8, u8, u8) = (28, 34, 46);
pub(super) const GRAY: (u8, u8, u8) = (104, 112, 128);
pub(super) const ACCENT: (u8, u8, u8) = (24, 82, 140);
pub(super) const TINT: (u8, u8, u8) = (238, 243, 248);
pub(super) const RULE: (u8, u8, u8) = (214, 220, 228);
pub(super) const MARGIN: f32 = 54.0;
/// The height reserved for the footer, in points.
const FOOT: f32 = 64.0;

pub(super) fn color((red, green, blue): (u8, u8, u8)) -> Color {
    Color::new(red, green, blue)
}

pub(super) fn plain(size: f32, ink: (u8, u8, u8)) -> Style {
    Style { size, bold: false, color: color(ink), align: Alignment::Start }
}

pub(super) fn bold(size: f32, ink: (u8, u8, u8)) -> Style {
    Style { bold: true, ..plain(size, ink) }
}

impl Style {
    pub(super) fn right(self) -> Self {
        Self { align: Alignment::Right, ..self }
    }
}

/// Amounts of a currency, in its minor units.
pub(super) struct Money {
    pub(super) code: String,
    digits: u32,
}

impl Money {
    pub(super) fn new(code: &str) -> Self {
        let code = code.trim().to_uppercase();
        let digits = Currency::from_code(&code).and_then(|c| c.exponent()).unwrap_or(2);
        Self { code, digits: u32::from(digits) }
    }

    /// An amount in minor units, rounded.
    pub(super) fn minor(&self, amount: f64) -> i128 {
        (amount * 10_f64.powi(self.digits as i32)).round() as i128
    }

    /// Formats an amount, such as `1,234.50`.
    pub(super) fn print(&self, minor: i128) -> String {
        let unit = 10_i128.pow(self.digits);
        let whole = (minor.abs() / unit).to_string();
        let mut text = String::new();
        for (n, digit) in whole.chars().enumerate() {
            if n > 0 && (whole.len() - n).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        if self.digits > 0 {
            text += &format!(".{:0width$}", minor.abs() % unit, width = self.digits as usize);
        }
        if minor < 0 { format!("-{text}") } else { text }
    }
}

/// A document that is filled from top to bottom.
pub(super) struct Page {
    pub(super) sheet: Sheet,
    /// The vertical position of the next item.
    pub(super) y: f32,
    /// The width between the margins.
    pub(super) inner: f32,
}

impl Page {
    /// An empty document on letter or A4 paper.
    pub(super) fn new(letter: bool) -> Self {
        let (width, height) = if letter { (612.0, 792.0) } else { (595.28, 841.89) };
        Self { sheet: Sheet::new(width, height), y: MARGIN, inner: width - 2.0 * MARGIN }
    }

    /// Puts a text and returns its height.
    pub(super) fn put(&mut self, x: f32, y: f32, width: f32, style: Style, text: &str) -> f32 {
        let text = self.sheet.text(text, style, width);
        let height = text.height();
        self.sheet.put(x, y, text);
        height
    }

    pub(super) fn room(&self) -> f32 {
        self.sheet.height - FOOT - self.y
    }

    pub(super) fn next_page(&mut self) {
        self.sheet.next_page();
        self.y = MARGIN;
    }

    /// Adds a paragraph as wide as the page, split where it must continue on the next one.
    pub(super) fn paragraph(&mut self, style: Style, text: &str) {
        for part in text.lines() {
            let mut rest: Vec<&str> = vec![part];
            while let Some(part) = rest.pop() {
                let text = self.sheet.text(part, style, self.inner);
                let height = text.height();
                if height <= self.room() {
                    self.sheet.put(MARGIN, self.y, text);
                    self.y += height;
                } else if height < self.sheet.height / 3.0 {
                    self.next_page();
                    rest.push(part);
                } else {
                    // In two, at the last blank before the middle.
                    let middle = (part.len() / 2..part.len()).find(|n| part.is_char_boundary(*n)).unwrap_or(part.len());
                    let cut = part[..middle].rfind(' ').filter(|n| *n > 0).unwrap_or(middle);
                    let (first, second) = part.split_at(cut);
                    rest.push(second.trim_start());
                    rest.push(first);
                }
            }
        }
    }

    /// Adds a footer to every page, with the page number on the right.
    pub(super) fn foot(&mut self, left: &str) {
        let pages = self.sheet.pages();
        let y = self.sheet.height - 44.0;
        for page in 0..pages {
            let left = self.sheet.text(left, plain(8.0, GRAY), self.inner * 0.75);
            self.sheet.put_on(page, MARGIN, y, left);
            let right = format!("Page {} of {pages}", page + 1);
            let right = self.sheet.text(&right, plain(8.0, GRAY).right(), self.inner * 0.25);
            self.sheet.put_on(page, MARGIN + self.inner * 0.75, y, right);
        }
    }
}
