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
const PIXELS: usize = 4_000_000;
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
    if size.width.checked_mul(size.height).is_none_or(|pixels| pixels > PIXELS) {
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
    page.foot(&format!("{} · {} · made {}", quote.company.name, quote.number, quote.generated));
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
            let initials: String = initials.take(2).flat_map(char::to_uppercase).collect();
            self.sheet.fill(MARGIN, y, 38.0, 38.0, color(ACCENT));
            let style = Style { align: Alignment::Center, ..bold(16.0, (255, 255, 255)) };
            let text = self.sheet.text(&initials, style, 38.0);
            let top = y + (38.0 - text.height()) / 2.0;
            self.sheet.put(MARGIN, top, text);
            y += 48.0;
        }
        y += self.put(MARGIN, y, half, bold(13.0, INK), &company.name);
        let filled = |part: &Option<String>| part.clone().filter(|text| !text.trim().is_empty());
        let city = [filled(&company.zip), filled(&company.city), filled(&company.state)];
        let city = city.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let under = [filled(&company.address), Some(city), filled(&company.email), filled(&company.phone)];
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
        self.y += self.put(MARGIN, self.y, self.inner, bold(14.0, INK), &quote.title) + 4.0;
        if let Some(description) = quote.description.as_deref().filter(|text| !text.trim().is_empty()) {
            self.paragraph(plain(10.0, INK), description);
        }
        self.y += 14.0;
    }

    /// The columns of the table: position, width and name.
    fn columns(&self) -> [(f32, f32, &'static str); 6] {
        let widths = [0.35, 0.09, 0.15, 0.12, 0.12, 0.17];
        let names = ["Description", "Qty", "Unit price", "Discount", "Tax", "Net"];
        let mut x = MARGIN;
        std::array::from_fn(|n| {
            let column = (x, self.inner * widths[n], names[n]);
            x += column.1;
            column
        })
    }

    fn table_head(&mut self) {
        self.sheet.fill(MARGIN, self.y, self.inner, 20.0, color(TINT));
        for (n, (x, width, name)) in self.columns().into_iter().enumerate() {
            let style = if n == 0 { bold(8.5, ACCENT) } else { bold(8.5, ACCENT).right() };
            self.put(x + 6.0, self.y + 4.5, width - 12.0, style, name);
        }
        self.y += 20.0;
    }

    fn row(&mut self, cells: [String; 6]) {
        let columns = self.columns();
        let style = |n: usize| if n == 0 { plain(9.5, INK) } else { plain(9.5, INK).right() };
        let mut texts = Vec::new();
        for (n, ((_, width, _), cell)) in columns.iter().zip(&cells).enumerate() {
            texts.push(self.sheet.text(cell, style(n), width - 12.0));
        }
        let height = texts.iter().map(|text| text.height()).fold(0.0, f32::max) + 10.0;
        if height > self.room() {
            self.next_page();
            self.table_head();
        }
        for ((x, ..), text) in columns.into_iter().zip(texts) {
            self.sheet.put(x + 6.0, self.y + 5.0, text);
        }
        self.y += height;
        self.sheet.fill(MARGIN, self.y, self.inner, 0.6, color(RULE));
    }

    fn table(&mut self, quote: &Quote, money: &Money) {
        if self.room() < 90.0 {
            self.next_page();
        }
        self.table_head();
        let total = money.minor(quote.amount);
        let mut sums = Vec::new();
        if quote.lines.is_empty() {
            let amount = money.print(total);
            self.row([quote.title.clone(), "1".into(), amount.clone(), percent(0.0), percent(0.0), amount]);
        } else {
            let (mut gross, mut discount, mut tax) = (0, 0, 0);
            for line in &quote.lines {
                let amounts = line.amounts();
                self.row([
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
        let height = sums.len() as f32 * 17.0 + 48.0;
        if height > self.room() {
            self.next_page();
        }
        self.y += 10.0;
        let (x, width) = (MARGIN + self.inner * 0.52, self.inner * 0.48);
        for (name, sum) in sums {
            self.put(x + 6.0, self.y, width * 0.4, plain(9.5, GRAY), name);
            self.put(x + width * 0.4, self.y, width * 0.6 - 6.0, plain(9.5, INK).right(), &money.print(sum));
            self.y += 17.0;
        }
        self.sheet.fill(x, self.y + 2.0, width, 28.0, color(ACCENT));
        let white = (255, 255, 255);
        self.put(x + 8.0, self.y + 7.5, width * 0.3, bold(12.0, white), "Total");
        let total = format!("{} {}", money.code, money.print(total));
        self.put(x + width * 0.3, self.y + 7.5, width * 0.7 - 8.0, bold(12.0, white).right(), &total);
        self.y += 48.0;
    }

    fn terms(&mut self, quote: &Quote) {
        if let Some(terms) = quote.terms.as_deref().filter(|text| !text.trim().is_empty()) {
            if self.room() < 40.0 {
                self.next_page();
            }
            self.y += self.put(MARGIN, self.y, self.inner, bold(8.0, ACCENT), "TERMS") + 2.0;
            self.paragraph(plain(9.5, INK), terms);
        }
    }
}
