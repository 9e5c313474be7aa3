//! A company's deals in figures and charts, for a meeting.

use super::page::{ACCENT, GRAY, INK, MARGIN, Money, Page, RULE, TINT, bold, color, plain};
use crate::pdf::Style;
use anyhow::Result;
use krilla::metadata::Metadata;
use parley::Alignment;
use serde::Deserialize;

/// The content of the report.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// The company's name; `None` for a user without a company.
    pub company: Option<String>,
    /// The currency in ISO 4217.
    pub currency: Option<String>,
    /// The first day of the period in which the deals were created, `YYYY-MM-DD`.
    pub first_day: Option<String>,
    /// The last day of that period.
    pub last_day: Option<String>,
    /// When the document was made, for the footer.
    pub generated: String,
    /// The number of deals.
    pub deals: i64,
    /// Their total value.
    pub value: f64,
    /// The number of deals won.
    pub won: i64,
    /// The total value of the deals won.
    pub won_value: f64,
    /// The stages that have deals, in order.
    pub stages: Vec<Stage>,
    /// The last months, in order.
    pub months: Vec<Month>,
}

/// The deals of a stage.
#[derive(Debug, Clone, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// The number of its deals.
    pub deals: i64,
    /// Their total value.
    pub value: f64,
}

/// The deals that were created in a month.
#[derive(Debug, Deserialize)]
pub struct Month {
    /// The month, `YYYY-MM`.
    pub month: String,
    /// Their total value.
    pub value: f64,
    /// The total value of those that were won.
    pub won: f64,
}

/// The maximum number of bars; the last one sums up all further stages.
const MAX_BARS: usize = 10;
const PALE: (u8, u8, u8) = (168, 194, 219);

/// Renders the PDF: A4, or letter for a company whose currency is the US dollar.
pub fn render(report: &Report) -> Result<Vec<u8>> {
    let money = Money::new(report.currency.as_deref().unwrap_or("USD"));
    let mut page = Page::new(money.code == "USD");
    page.title(report);
    page.figures(report, &money);
    page.stages(report, &money);
    if report.deals > 0 {
        page.months(report, &money);
    }
    let company = report.company.as_deref().unwrap_or("No company");
    page.foot(company, &format!("generated {}", report.generated));
    let metadata = Metadata::new().title("Analytics report".into()).authors(vec![company.into()]).language("en".into());
    page.sheet.finish(metadata)
}

/// An amount, such as `$1,234.50` or `EUR 1,234.50`.
fn amount(money: &Money, value: f64) -> String {
    let text = money.print(money.minor(value));
    if money.code == "USD" { format!("${text}").replace("$-", "-$") } else { format!("{} {text}", money.code) }
}

/// A short number for the axis of a chart, such as `1.2M`.
fn short(value: f64) -> String {
    let (scale, unit) = match value.abs() {
        v if v >= 1e12 => (1e12, "T"),
        v if v >= 1e9 => (1e9, "B"),
        v if v >= 1e6 => (1e6, "M"),
        v if v >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let text = format!("{:.1}", value / scale);
    format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// The smallest round number that is not below `value`.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].map(|n| n * unit).into_iter().find(|top| *top >= value).unwrap_or(value)
}

/// The length of a bar; 0 for negative values.
fn length(value: f64, of: f64, room: f32) -> f32 {
    if of > 0.0 { (value.max(0.0) / of).min(1.0) as f32 * room } else { 0.0 }
}

impl Page {
    fn title(&mut self, report: &Report) {
        self.y += self.put(MARGIN, self.y, self.inner, bold(22.0, ACCENT), "Analytics report") + 2.0;
        if let Some(company) = &report.company {
            self.y += self.put(MARGIN, self.y, self.inner, bold(12.0, INK), company);
        }
        let period = match (&report.first_day, &report.last_day) {
            (None, None) => "All deals".to_owned(),
            (Some(first), None) => format!("Deals made since {first}"),
            (None, Some(last)) => format!("Deals made until {last}"),
            (Some(first), Some(last)) => format!("Deals made from {first} to {last}"),
        };
        self.y += self.put(MARGIN, self.y, self.inner, plain(10.0, GRAY), &period) + 16.0;
    }

    fn figures(&mut self, report: &Report, money: &Money) {
        let each = |sum: f64, count: i64| if count > 0 { sum / count as f64 } else { 0.0 };
        let rows = [
            ("Total Deals", report.deals.to_string()),
            ("Total Value", amount(money, report.value)),
            ("Deals Won", report.won.to_string()),
            ("Won Value", amount(money, report.won_value)),
            ("Win Rate", format!("{:.1} %", 100.0 * each(report.won as f64, report.deals))),
            ("Avg Deal Size", amount(money, each(report.value, report.deals))),
        ];
        self.sheet.fill(MARGIN, self.y, self.inner, 20.0, color(TINT));
        for (style, name) in [(bold(8.5, ACCENT), "Figure"), (bold(8.5, ACCENT).right(), "Value")] {
            self.put(MARGIN + 6.0, self.y + 4.5, self.inner - 12.0, style, name);
        }
        self.y += 20.0;
        for (name, value) in rows {
            self.put(MARGIN + 6.0, self.y + 4.0, self.inner * 0.4, plain(10.0, INK), name);
            self.put(MARGIN + self.inner * 0.4, self.y + 4.0, self.inner * 0.6 - 6.0, bold(10.0, INK).right(), &value);
            self.y += 21.0;
            self.sheet.fill(MARGIN, self.y, self.inner, 0.6, color(RULE));
        }
        self.y += 24.0;
    }

    /// Adds the heading of a chart, on a new page unless this much room is left.
    fn heading(&mut self, text: &str, room: f32) {
        if self.room() < room {
            self.next_page();
        }
        self.y += self.put(MARGIN, self.y, self.inner, bold(12.0, INK), text) + 8.0;
    }

    /// Adds a text on one line, shortened to fit.
    fn line(&mut self, x: f32, y: f32, width: f32, style: Style, text: &str) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut kept: Vec<char> = text.chars().take(200).collect();
        let mut shown = self.sheet.text(&text, style, f32::MAX);
        while shown.width() > width && kept.pop().is_some() {
            let cut: String = kept.iter().chain(['…'].iter()).collect();
            shown = self.sheet.text(&cut, style, f32::MAX);
        }
        self.sheet.put(x, y, shown);
    }

    fn stages(&mut self, report: &Report, money: &Money) {
        let mut stages = report.stages.clone();
        if stages.len() > MAX_BARS {
            let rest = stages.split_off(MAX_BARS - 1);
            let (deals, value) = rest.iter().fold((0, 0.0), |(n, v), stage| (n + stage.deals, v + stage.value));
            stages.push(Stage { name: format!("{} more stages", rest.len()), deals, value });
        }
        self.heading("Value by stage", 60.0 + 19.0 * stages.len() as f32);
        if stages.is_empty() {
            self.y += self.put(MARGIN, self.y, self.inner, plain(10.0, GRAY), "There are no deals.") + 24.0;
            return;
        }
        let most = stages.iter().map(|stage| stage.value).fold(0.0, f64::max);
        let (names, values) = (self.inner * 0.28, self.inner * 0.32);
        let bars = self.inner - names - values;
        for stage in &stages {
            self.line(MARGIN, self.y, names - 8.0, plain(9.0, INK), &stage.name);
            let length = length(stage.value, most, bars).max(1.0);
            self.sheet.fill(MARGIN + names, self.y + 0.5, length, 12.0, color(ACCENT));
            let plural = if stage.deals == 1 { "" } else { "s" };
            let text = format!("{} · {} deal{plural}", amount(money, stage.value), stage.deals);
            self.put_figure(MARGIN + self.inner, self.y, values - 8.0, plain(9.0, GRAY), &text);
            self.y += 19.0;
        }
        self.y += 20.0;
    }

    fn months(&mut self, report: &Report, money: &Money) {
        const HEIGHT: f32 = 120.0;
        const SIDE: f32 = 44.0;
        self.heading(&format!("Deals made by month ({})", money.code), HEIGHT + 70.0);
        let mut x = MARGIN;
        for (ink, name) in [(PALE, "All deals"), (ACCENT, "Won since")] {
            self.sheet.fill(x, self.y + 2.0, 8.0, 8.0, color(ink));
            self.put(x + 12.0, self.y, 80.0, plain(8.5, GRAY), name);
            x += 76.0;
        }
        self.y += 22.0;
        let top = ceiling(report.months.iter().map(|month| month.value.max(month.won)).fold(0.0, f64::max));
        for part in [0.0, 0.5, 1.0] {
            let y = self.y + HEIGHT * (1.0 - part as f32);
            self.sheet.fill(MARGIN + SIDE, y, self.inner - SIDE, 0.6, color(RULE));
            self.put_figure(MARGIN + SIDE - 6.0, y - 6.0, SIDE - 6.0, plain(8.0, GRAY), &short(top * part));
        }
        let step = (self.inner - SIDE) / report.months.len().max(1) as f32;
        for (n, month) in report.months.iter().enumerate() {
            let x = MARGIN + SIDE + n as f32 * step;
            for (value, ink) in [(month.value, PALE), (month.won, ACCENT)] {
                let height = length(value, top, HEIGHT);
                if height > 0.0 {
                    self.sheet.fill(x + step * 0.2, self.y + HEIGHT - height, step * 0.6, height, color(ink));
                }
            }
            let center = Style { align: Alignment::Center, ..plain(7.5, GRAY) };
            self.put(x, self.y + HEIGHT + 4.0, step, center, &month.month);
        }
        self.y += HEIGHT + 30.0;
    }
}
