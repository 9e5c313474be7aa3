//! Charts as SVG. Ink, grid and bars have placeholder colours here, which the page's style replaces with ones that fit
//! its background; the colours of series work on a light and a dark background.

use anyhow::{Result, anyhow};
use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const BAR: RGBColor = RGBColor(3, 3, 3);
/// The colours of series, in order.
pub const COLOURS: [&str; 9] =
    ["#3b82c4", "#e08a1e", "#2f9e68", "#c2499a", "#8068c8", "#d1555b", "#1f9aa8", "#9a8a2f", "#7d8794"];
const SIZE: (u32, u32) = (640, 300);
/// The height of a line of text above the plot.
const LABEL: i32 = 18;

/// A series of a chart, with a value for each place on the horizontal axis.
pub struct Series {
    pub name: String,
    pub values: Vec<Option<f64>>,
    /// The index of its colour.
    pub colour: usize,
    pub mark: Mark,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Mark {
    /// A point next to the other series' points.
    Dot,
    /// Like [`Mark::Dot`], but only its outline.
    Ring,
    /// Points that a line connects.
    Line,
    /// A bar on top of the series before it.
    Stacked,
}

/// A limit to reach, or not to exceed.
pub struct Limit<'a> {
    pub at: f64,
    pub label: &'a str,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn colour(number: usize) -> RGBColor {
    let text = COLOURS[number % COLOURS.len()];
    let part = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap_or(0);
    RGBColor(part(1), part(3), part(5))
}

fn text(size: u32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).color(&INK).pos(Pos::new(horizontal, vertical))
}

/// Draws these series over these places; `axis` names the vertical axis and its unit.
pub fn draw(places: &[String], series: &[Series], axis: &str, limits: &[Limit]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        paint(&area, places, series, axis, limits).map_err(|e| anyhow!("a chart cannot be drawn: {e}"))?;
        area.present().map_err(|e| anyhow!("a chart cannot be drawn: {e}"))?;
    }
    Ok(svg)
}

fn paint(
    area: &Area,
    places: &[String],
    series: &[Series],
    axis: &str,
    limits: &[Limit],
) -> Result<(), Box<dyn std::error::Error>> {
    let sum = |place: usize| {
        let at = |s: &Series| s.values.get(place).copied().flatten().filter(|v| v.is_finite()).unwrap_or(0.0);
        let stacked: f64 = series.iter().filter(|s| s.mark == Mark::Stacked).map(at).sum();
        series.iter().map(at).fold(stacked, f64::max)
    };
    let highest = (0..places.len()).map(sum).chain(limits.iter().map(|l| l.at)).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin_top(12 + limits.len() as i32 * LABEL)
        .margin_right(8)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(-0.5..places.len() as f64 - 0.5, 0.0..(highest * 1.12).max(0.1))?;
    let digits = if highest < 10.0 { 1 } else { 0 };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(6)
        .y_desc(axis)
        .y_label_formatter(&|value| format!("{value:.digits$}"))
        .label_style(text(14, HPos::Left, VPos::Top))
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (place, name) in places.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(place as f64, 0.0));
        for (line, part) in name.split(' ').enumerate() {
            let at = (x, y + 8 + 16 * line as i32);
            area.draw(&Text::new(part.to_owned(), at, text(14, HPos::Center, VPos::Top)))?;
        }
    }
    // The label of a line is above the plot, where nothing is drawn over it.
    for (nth, limit) in limits.iter().enumerate() {
        let right = places.len() as f64 - 0.5;
        chart.draw_series([PathElement::new(vec![(-0.5, limit.at), (right, limit.at)], BAR.stroke_width(2))])?;
        let (x, _) = chart.backend_coord(&(right, limit.at));
        let (label, at) = (format!("— {}", limit.label), (x, nth as i32 * LABEL));
        area.draw(&Text::new(label, at, text(14, HPos::Right, VPos::Top).color(&BAR)))?;
    }
    put(&mut chart, places.len(), series)
}

fn put(chart: &mut Chart, places: usize, series: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    let beside = series.iter().filter(|s| matches!(s.mark, Mark::Dot | Mark::Ring)).count();
    let mut below = vec![0.0; places];
    let mut nth = 0;
    for one in series {
        let style = colour(one.colour);
        let found = one.values.iter().enumerate().filter_map(|(place, value)| Some((place, (*value)?)));
        let found: Vec<(usize, f64)> = found.filter(|(_, value)| value.is_finite()).collect();
        match one.mark {
            Mark::Dot | Mark::Ring => {
                let shift = if beside > 1 { (nth as f64 / (beside - 1) as f64 - 0.5) * 0.56 } else { 0.0 };
                let style = if one.mark == Mark::Dot { style.filled() } else { style.stroke_width(2) };
                chart.draw_series(
                    found.iter().map(|(place, value)| Circle::new((*place as f64 + shift, *value), 4, style)),
                )?;
                nth += 1;
            }
            Mark::Line => {
                let points: Vec<(f64, f64)> = found.iter().map(|(place, value)| (*place as f64, *value)).collect();
                chart.draw_series([PathElement::new(points.clone(), style.stroke_width(2))])?;
                chart.draw_series(points.into_iter().map(|at| Circle::new(at, 3, style.filled())))?;
            }
            Mark::Stacked => {
                let bars = found.iter().map(|(place, value)| {
                    let from = below[*place];
                    below[*place] += value;
                    let at = *place as f64;
                    Rectangle::new([(at - 0.28, from), (at + 0.28, from + value)], style.filled())
                });
                let bars: Vec<_> = bars.collect();
                chart.draw_series(bars)?;
            }
        }
    }
    Ok(())
}
