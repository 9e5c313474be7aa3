//! A quote as it is sent to a customer.

use super::{
    Style,
    page::{ACCENT, GRAY, INK, MARGIN, Money, Page, RULE, TINT, bold, color, plain},
};
use anyhow::Result;
use base64::{Engine, prelude::BASE64_STANDARD};
use krilla::{image::Image, metadata::Metadata};
use parley::Alignment;
use serde::Deserialize;

/// The content of the quote.
#[derive(Debug, Deserialize)]
pub struct Quote {
    /// The quote's number.
    pub number: String,
    /// What it is about.
    pub title: String,
    /// The price, which the lines explain but do not determine.
    pub amount: f64,
    /// `draft`, `sent`, …
    pub status: String,
    /// The day on which it was created, `YYYY-MM-DD`.
    pub date: String,
    /// The last day on which it is valid.
    pub valid_until: Option<String>,
    /// A text above the lines.
    pub description: Option<String>,
    /// A text below the lines.
    pub terms: Option<String>,
    /// When the document was made, for the footer.
    pub generated: String,
    /// The lines of the quote.
    pub lines: Vec<Line>,
    /// The company that makes the quote.
    pub company: Company,
    /// The contact that it is for.
    pub client: Option<Client>,
}

/// A line of a quote.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// What is sold.
    pub description: String,
    /// The quantity, with three decimals.
    pub quantity: f64,
    /// The price of one, in minor units of the currency.
    pub unit_price: i64,
    /// The tax, in percent of the price after the discount.
    pub tax: f64,
    /// The discount, in percent.
    pub discount: f64,
}

/// The company that makes the quote.
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "a company's fields are those of the contract")]
pub struct Company {
    pub name: String,
    /// The currency in ISO 4217.
    pub currency: String,
    /// A `data:` URL of a PNG or JPEG; other URLs are not fetched.
    pub logo_url: Option<String>,
    /// A PNG or JPEG, which takes precedence over the URL.
    #[serde(skip)]
    pub logo: Option<Vec<u8>>,
    pub address: Option<String>,
    pub city: Option<String>,
    pub state: Option<String>,
    pub zip: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
}

/// The contact for whom the quote is.
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "a contact's fields are those of the contract")]
pub struct Client {
    pub name: String,
    pub company: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
}

/// The maximum number of pixels of a logo.
const MAX_LOGO_PIXELS: usize = 4_000_000;
/// The names of the table's columns.
const NAMES: [&str; 6] = ["Description", "Qty", "Unit price", "Discount", "Tax", "Net"];
/// The height of the table's head, and the room beside and above the text of a cell, in points.
const HEAD: f32 = 20.0;
const SIDE: f32 = 6.0;
const ABOVE: f32 = 5.0;
/// Where the texts of each column begin, and their width, in points.
type Columns = [(f32, f32); 6];

/// The amounts of a line in minor units, each rounded, so that what is printed adds up.
struct Amounts {
    gross: i128,
    discount: i128,
    tax: i128,
}

impl Line {
    fn amounts(&self) -> Amounts {
        let gross = share(self.unit_price.into(), self.quantity, 1);
        let discount = share(gross, self.discount, 100);
        let tax = share(gross - discount, self.tax, 100);
        Amounts { gross, discount, tax }
    }
}

/// `amount * number / of`, exact for a `number` rounded to four decimals; halves are rounded away from zero.
fn share(amount: i128, number: f64, of: i128) -> i128 {
    const PLACES: i128 = 10_000;
    let (product, whole) = (amount * (number * PLACES as f64).round() as i128, PLACES * of);
    (product.abs() + whole / 2) / whole * product.signum()
}

/// A number without trailing zeros: `2.5` and not `2.5000`.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn percent(value: f64) -> String {
    if value == 0.0 { "–".into() } else { format!("{} %", number(value)) }
}

/// The company's logo, if it can be printed.
fn logo(company: &Company) -> Option<Image> {
    let data = company.logo.clone().or_else(|| {
        let (_, data) = company.logo_url.as_deref()?.strip_prefix("data:image/")?.split_once(";base64,")?;
        BASE64_STANDARD.decode(data).ok()
    })?;
    // A small file can contain an enormous picture.
    let size = imagesize::blob_size(&data).ok()?;
    if size.width.checked_mul(size.height).is_none_or(|pixels| pixels > MAX_LOGO_PIXELS) {
        return None;
    }
    let image = if data.starts_with(b"\x89PNG") {
        Image::from_png(data.into(), true)
    } else {
        Image::from_jpeg(data.into(), true)
    };
    image.ok()
}

/// Renders the PDF: A4, or letter for a company whose currency is the US dollar.
pub fn render(quote: &Quote) -> Result<Vec<u8>> {
    let money = Money::new(&quote.company.currency);
    let mut page = Page::new(money.code == "USD");
    page.head(quote);
    page.client(quote);
    page.table(quote, &money);
    page.terms(quote);
    page.foot(&quote.company.name, &format!("{} · made {}", quote.number, quote.generated));
    let metadata = Metadata::new()
        .title(format!("Quotation {}", quote.number))
        .authors(vec![quote.company.name.clone()])
        .language("en".into());
    page.sheet.finish(metadata)
}

impl Page {
    fn head(&mut self, quote: &Quote) {
        let company = &quote.company;
        let half = self.inner * 0.55;
        let mut y = MARGIN;
        if let Some(image) = logo(company) {
            y += self.sheet.picture(MARGIN, y, 160.0, 54.0, image) + 10.0;
        } else {
            let initials =
                company.name.split_whitespace().filter_map(|word| word.chars().find(|c| c.is_alphanumeric()));
            let initials = initials.take(2).map(|initial| initial.to_uppercase().to_string()).collect::<Vec<_>>();
            // With a non-joiner between them: letters of some scripts are otherwise written as one.
            let initials = initials.join("\u{200c}");
            self.sheet.fill(MARGIN, y, 38.0, 38.0, color(ACCENT));
            let style = Style { align: Alignment::Center, ..bold(16.0, (255, 255, 255)) };
            let text = self.sheet.text(&initials, style, 38.0);
            let top = y + (38.0 - text.height()) / 2.0;
            self.sheet.put(MARGIN, top, text);
            y += 48.0;
        }
        y += self.put(MARGIN, y, half, bold(13.0, INK), &company.name);
        let non_blank = |part: &Option<String>| part.clone().filter(|text| !text.trim().is_empty());
        let city = [non_blank(&company.zip), non_blank(&company.city), non_blank(&company.state)];
        let city = city.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let under = [non_blank(&company.address), Some(city), non_blank(&company.email), non_blank(&company.phone)];
        for line in under.into_iter().flatten().filter(|line| !line.is_empty()) {
            y += self.put(MARGIN, y, half, plain(9.0, GRAY), &line);
        }

        let (x, width) = (MARGIN + half + 10.0, self.inner - half - 10.0);
        let mut right = MARGIN + self.put(x, MARGIN - 6.0, width, bold(22.0, ACCENT).right(), "QUOTATION");
        let status = quote.status.to_uppercase();
        for (label, value) in [
            ("Number", quote.number.as_str()),
            ("Date", &quote.date),
            ("Valid until", quote.valid_until.as_deref().unwrap_or("N/A")),
            ("Status", &status),
        ] {
            self.put(x, right, width * 0.42, plain(9.0, GRAY).right(), label);
            right += self.put(x + width * 0.45, right, width * 0.55, bold(9.0, INK).right(), value).max(14.0);
        }
        self.y = y.max(right) + 24.0;
    }

    fn client(&mut self, quote: &Quote) {
        if let Some(client) = &quote.client {
            self.y += self.put(MARGIN, self.y, self.inner, bold(8.0, ACCENT), "PREPARED FOR") + 2.0;
            self.y += self.put(MARGIN, self.y, self.inner, bold(11.0, INK), &client.name);
            for line in
                [&client.company, &client.email, &client.phone].into_iter().flatten().filter(|l| !l.trim().is_empty())
            {
                self.y += self.put(MARGIN, self.y, self.inner, plain(9.0, GRAY), line);
            }
            self.y += 18.0;
        }
        let title = Style { align: Alignment::Start, ..bold(14.0, INK) };
        self.y += self.put(MARGIN, self.y, self.inner, title, &quote.title) + 4.0;
        if let Some(description) = quote.description.as_deref().filter(|text| !text.trim().is_empty()) {
            let paragraphs = self.paragraphs(self.inner, plain(10.0, INK), description);
            self.flow(MARGIN, &paragraphs, |_| ());
        }
        self.y += 14.0;
    }

    /// The columns of the table for these rows: figures have as much room as the widest of them needs, all of them
    /// together up to a limit, and the description has the rest.
    fn columns(&mut self, rows: &[[String; 6]]) -> Columns {
        let mut widths = [0.0; 6];
        for (n, width) in widths.iter_mut().enumerate().skip(1) {
            let head = self.sheet.text(NAMES[n], bold(8.5, ACCENT), f32::MAX).width();
            let figures = rows.iter().map(|row| self.sheet.text(&row[n], plain(9.5, INK), f32::MAX).width());
            *width = figures.fold(head, f32::max);
        }
        let (figures, sides) = (widths.iter().sum::<f32>(), 2.0 * SIDE * NAMES.len() as f32);
        let most = (self.inner - sides) * 0.65;
        if figures > most {
            widths = widths.map(|width| width * most / figures);
        }
        widths[0] = self.inner - sides - figures.min(most);
        let mut x = MARGIN - SIDE;
        widths.map(|width| {
            x += width + 2.0 * SIDE;
            (x - width, width)
        })
    }

    fn table_head(&mut self, columns: &Columns) {
        self.sheet.fill(MARGIN, self.y, self.inner, HEAD, color(TINT));
        self.put(columns[0].0, self.y + 4.5, columns[0].1, bold(8.5, ACCENT), NAMES[0]);
        for ((x, width), name) in columns.iter().zip(NAMES).skip(1) {
            self.put_figure(x + width, self.y + 4.5, *width, bold(8.5, ACCENT), name);
        }
        self.y += HEAD;
    }

    /// Adds a row, below the head of the table if it is the first one of the table or of a page. A row that is taller
    /// than a third of a page is continued on the next one.
    fn row(&mut self, columns: &Columns, cells: &[String; 6], is_first: bool) {
        let description = self.paragraphs(columns[0].1, plain(9.5, INK), &cells[0]);
        let height = description.iter().map(|text| text.height()).sum::<f32>() + 2.0 * ABOVE;
        let least = height.min(self.sheet.height / 3.0) + if is_first { HEAD } else { 0.0 };
        let is_full = least > self.room();
        if is_full {
            self.next_page();
        }
        if is_full || is_first {
            self.table_head(columns);
        }
        self.y += ABOVE;
        for ((x, width), figure) in columns.iter().zip(cells).skip(1) {
            self.put_figure(x + width, self.y, *width, plain(9.5, INK), figure);
        }
        self.flow(columns[0].0, &description, |page| {
            page.table_head(columns);
            page.y += ABOVE;
        });
        self.y += ABOVE;
        self.sheet.fill(MARGIN, self.y, self.inner, 0.6, color(RULE));
    }

    fn table(&mut self, quote: &Quote, money: &Money) {
        let total = money.minor(quote.amount);
        let (mut rows, mut sums) = (Vec::new(), Vec::new());
        if quote.lines.is_empty() {
            let amount = money.print(total);
            rows.push([quote.title.clone(), "1".into(), amount.clone(), percent(0.0), percent(0.0), amount]);
        } else {
            let (mut gross, mut discount, mut tax) = (0, 0, 0);
            for line in &quote.lines {
                let amounts = line.amounts();
                rows.push([
                    line.description.clone(),
                    number(line.quantity),
                    money.print(line.unit_price.into()),
                    percent(line.discount),
                    percent(line.tax),
                    money.print(amounts.gross - amounts.discount),
                ]);
                gross += amounts.gross;
                discount += amounts.discount;
                tax += amounts.tax;
            }
            sums.push(("Subtotal", gross));
            for (name, sum) in [("Discount", -discount), ("Tax", tax), ("Adjustment", total - (gross - discount + tax))]
            {
                if sum != 0 {
                    sums.push((name, sum));
                }
            }
        }
        let columns = self.columns(&rows);
        for (n, row) in rows.iter().enumerate() {
            self.row(&columns, row, n == 0);
        }
        let height = sums.len() as f32 * 17.0 + 48.0;
        if height > self.room() {
            self.next_page();
        }
        self.y += 10.0;
        let (x, width) = (MARGIN + self.inner * 0.52, self.inner * 0.48);
        for (name, sum) in sums {
            self.put(x + 6.0, self.y, width * 0.4, plain(9.5, GRAY), name);
            self.put_figure(x + width - 6.0, self.y, width * 0.6, plain(9.5, INK), &money.print(sum));
            self.y += 17.0;
        }
        self.sheet.fill(x, self.y + 2.0, width, 28.0, color(ACCENT));
        let white = (255, 255, 255);
        self.put(x + 8.0, self.y + 7.5, width * 0.3, bold(12.0, white), "Total");
        let total = format!("{} {}", money.code, money.print(total));
        self.put_figure(x + width - 8.0, self.y + 7.5, width * 0.7, bold(12.0, white), &total);
        self.y += 48.0;
    }

    fn terms(&mut self, quote: &Quote) {
        if let Some(terms) = quote.terms.as_deref().filter(|text| !text.trim().is_empty()) {
            if self.room() < 40.0 {
                self.next_page();
            }
            let paragraphs = self.paragraphs(self.inner, plain(9.5, INK), terms);
            let heading = bold(8.0, ACCENT);
            let heading = if paragraphs[0].is_rtl() { heading.right() } else { heading };
            self.y += self.put(MARGIN, self.y, self.inner, heading, "TERMS") + 2.0;
            self.flow(MARGIN, &paragraphs, |_| ());
        }
    }
}
