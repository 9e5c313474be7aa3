//! What the documents have in common: colors, amounts of money, and a page with margins.

use super::{Color, Sheet, Style, Text};
use iso_currency::Currency;
use parley::Alignment;
use std::rc::Rc;

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
    Style { size, bold: false, color: color(ink), align: Alignment::Left }
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

    /// Puts a text on one line that ends at `right`, in a smaller size if it is wider than this width: no figure is
    /// broken or cut.
    pub(super) fn put_figure(&mut self, right: f32, y: f32, width: f32, style: Style, text: &str) {
        let mut figure = self.sheet.text(text, style, f32::MAX);
        if figure.width() > width {
            let size = style.size * width / figure.width();
            figure = self.sheet.text(text, Style { size, ..style }, f32::MAX);
        }
        self.sheet.put(right - figure.width(), y, figure);
    }

    /// The paragraphs of a text, at least one, each at the side where its script starts.
    pub(super) fn paragraphs(&mut self, width: f32, style: Style, text: &str) -> Vec<Rc<Text>> {
        let style = Style { align: Alignment::Start, ..style };
        text.trim_end().split('\n').map(|part| self.sheet.text(part, style, width).into()).collect()
    }

    /// Adds paragraphs, line by line: where a page is full, they continue on the next one, below what `head` puts
    /// there.
    pub(super) fn flow(&mut self, x: f32, paragraphs: &[Rc<Text>], head: impl Fn(&mut Self)) {
        for text in paragraphs {
            let mut from = 0;
            while from < text.lines() {
                if text.fitting(from, self.room()) == from {
                    self.next_page();
                    head(self);
                }
                let to = text.fitting(from, self.room()).max(from + 1);
                self.sheet.put_lines(x, self.y, text, from..to);
                self.y += text.top(to) - text.top(from);
                from = to;
            }
        }
    }

    /// Adds a footer to every page: whose document it is, what it is, and the page number on the right.
    pub(super) fn foot(&mut self, whose: &str, what: &str) {
        let pages = self.sheet.pages();
        let y = self.sheet.height - 44.0;
        // Isolated, so that a name from right to left leaves the rest in order (Unicode annex 9, first strong isolate).
        let left = format!("\u{2068}{whose}\u{2069} · {what}");
        for page in 0..pages {
            let left = self.sheet.text(&left, plain(8.0, GRAY), self.inner * 0.75);
            self.sheet.put_on(page, MARGIN, y, left);
            let right = format!("Page {} of {pages}", page + 1);
            let right = self.sheet.text(&right, plain(8.0, GRAY).right(), self.inner * 0.25);
            self.sheet.put_on(page, MARGIN + self.inner * 0.75, y, right);
        }
    }
}
