//! PDFs: text, rules and pictures are placed on pages from top to bottom, over as many pages as it takes. Fonts are
//! part of the program; nothing is fetched.

mod page;
pub mod quote;
pub mod report;

use crate::fair_limit::{FairLimit, Permit};
use anyhow::{Result, anyhow};
use krilla::{
    Document,
    color::rgb,
    geom::{PathBuilder, Point, Rect, Size, Transform},
    image::Image,
    metadata::Metadata,
    num::NormalizedF32,
    page::PageSettings,
    paint::{Fill, Stroke},
    text::{Font, GlyphId, KrillaGlyph},
};
use parley::{
    Alignment, FontContext, Layout, LayoutContext,
    fontique::{Blob, Collection, CollectionOptions},
    style::{FontFamily, FontFamilyName, FontWeight, LineHeight, StyleProperty},
};
use std::{
    borrow::Cow,
    collections::HashMap,
    ops::Range,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};
use uuid::Uuid;

macro_rules! fonts {
    ($($file:literal)*) => { &[$(include_bytes!(concat!("../../fonts/", $file))),*] };
}

/// The fonts, in the order in which they are tried for a character.
const FONTS: &[&[u8]] = fonts! {
    "NotoSans-Regular.ttf"
    "NotoSans-Bold.ttf"
    "NotoSansArabic-Regular.ttf"
    "NotoSansArmenian-Regular.ttf"
    "NotoSansBengali-Regular.ttf"
    "NotoSansDevanagari-Regular.ttf"
    "NotoSansEthiopic-Regular.ttf"
    "NotoSansGeorgian-Regular.ttf"
    "NotoSansGujarati-Regular.ttf"
    "NotoSansGurmukhi-Regular.ttf"
    "NotoSansHebrew-Regular.ttf"
    "NotoSansKannada-Regular.ttf"
    "NotoSansKhmer-Regular.ttf"
    "NotoSansLao-Regular.ttf"
    "NotoSansMalayalam-Regular.ttf"
    "NotoSansMyanmar-Regular.ttf"
    "NotoSansOriya-Regular.ttf"
    "NotoSansSinhala-Regular.ttf"
    "NotoSansTamil-Regular.ttf"
    "NotoSansTelugu-Regular.ttf"
    "NotoSansThai-Regular.ttf"
    "NotoSansCJKkr-Regular.otf"
    "NotoSansSymbols-Regular.ttf"
    "NotoSansSymbols2-Regular.ttf"
    "NotoSansMath-Regular.ttf"
    "DroidSansFallbackFull.ttf"
    "NotoEmoji-Regular.ttf"
};

/// The fonts, and the names of their families in the same order. They are loaded once; clones share the fonts' data.
static CONTEXT: LazyLock<(FontContext, Vec<FontFamilyName<'static>>)> = LazyLock::new(|| {
    let mut collection = Collection::new(CollectionOptions { shared: false, system_fonts: false });
    let mut families = Vec::new();
    for font in FONTS {
        for (family, _) in collection.register_fonts(Blob::new(Arc::new(font)), None) {
            let name = collection.family_name(family).unwrap_or_default().to_owned();
            families.push(FontFamilyName::Named(name.into()));
        }
    }
    families.dedup();
    (FontContext { collection, source_cache: Default::default() }, families)
});

/// Limits the documents that are rendered at a time, per company to one: each holds its pictures and fonts in memory.
static PRINTERS: FairLimit = FairLimit::new(2, 1);
/// How long to wait for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A permit to render a document, for a company or for a user who has none.
pub async fn permit(whose: Uuid) -> Result<Permit, crate::Error> {
    let busy = crate::Error::Busy("Too many documents are being made right now: try again in a moment");
    PRINTERS.acquire(whose, PERMIT_TIMEOUT).await.ok_or(busy)
}

/// A color of red, green and blue.
pub type Color = rgb::Color;

/// How a text looks.
#[derive(Clone, Copy)]
pub struct Style {
    /// The font size in points.
    pub size: f32,
    /// Whether it is bold.
    pub bold: bool,
    /// Its color.
    pub color: Color,
    /// The alignment of its lines.
    pub align: Alignment,
}

/// A text that has been broken into lines.
pub struct Text {
    text: String,
    layout: Layout<Color>,
}

impl Text {
    /// The number of lines; an empty text has one.
    pub fn lines(&self) -> usize {
        self.layout.len()
    }

    /// The vertical position of a line's top in the text, in points; the height of the text for the one after the last.
    fn top(&self, line: usize) -> f32 {
        self.layout.get(line).map_or_else(|| self.height(), |line| line.metrics().block_min_coord)
    }

    /// The lines from this one on that fit into this height; they end before the returned line.
    pub fn fitting(&self, from: usize, height: f32) -> usize {
        let bottom = self.top(from) + height;
        (from..self.lines()).find(|line| self.top(line + 1) > bottom).unwrap_or(self.lines())
    }

    /// Whether it is written from right to left: its first letter with a direction decides.
    pub fn is_rtl(&self) -> bool {
        self.layout.is_rtl()
    }

    /// The height in points.
    pub fn height(&self) -> f32 {
        self.layout.height()
    }

    /// The width of its longest line, in points.
    pub fn width(&self) -> f32 {
        self.layout.width()
    }
}

enum Item {
    Text(Rc<Text>, Range<usize>),
    Fill { width: f32, height: f32, color: Color },
    Image { image: Image, width: f32, height: f32 },
}

/// A document to draw on.
pub struct Sheet {
    /// The width of a page, in points.
    pub width: f32,
    /// The height of a page, in points.
    pub height: f32,
    fonts: FontContext,
    layouts: LayoutContext<Color>,
    pages: Vec<Vec<(f32, f32, Item)>>,
}

impl Sheet {
    /// An empty first page of this size in points.
    pub fn new(width: f32, height: f32) -> Self {
        Self { width, height, fonts: CONTEXT.0.clone(), layouts: LayoutContext::new(), pages: vec![Vec::new()] }
    }

    /// The number of pages.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Starts another page.
    pub fn next_page(&mut self) {
        self.pages.push(Vec::new());
    }

    /// Breaks a text into lines of this width.
    pub fn text(&mut self, text: &str, style: Style, width: f32) -> Text {
        let text: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        let mut builder = self.layouts.ranged_builder(&mut self.fonts, &text, 1.0, false);
        builder.push_default(StyleProperty::FontFamily(FontFamily::List(Cow::Borrowed(&CONTEXT.1))));
        builder.push_default(StyleProperty::FontSize(style.size));
        builder.push_default(StyleProperty::LineHeight(LineHeight::FontSizeRelative(1.35)));
        builder.push_default(StyleProperty::Brush(style.color));
        builder.push_default(StyleProperty::FontWeight(FontWeight::new(if style.bold { 700.0 } else { 400.0 })));
        // A word that is longer than the line is broken.
        builder.push_default(StyleProperty::OverflowWrap(parley::OverflowWrap::Anywhere));
        let mut layout = builder.build(&text);
        layout.break_all_lines(Some(width));
        layout.align(style.align, Default::default());
        Text { text, layout }
    }

    /// Puts a text on the last page, with its top left corner at `x`, `y`.
    pub fn put(&mut self, x: f32, y: f32, text: Text) {
        self.put_on(self.pages.len() - 1, x, y, text);
    }

    /// Puts a text on this page, with its top left corner at `x`, `y`.
    pub fn put_on(&mut self, page: usize, x: f32, y: f32, text: Text) {
        let lines = 0..text.lines();
        self.add(page, x, y, Item::Text(text.into(), lines));
    }

    /// Puts some lines of a text on the last page, with their top left corner at `x`, `y`.
    pub fn put_lines(&mut self, x: f32, y: f32, text: &Rc<Text>, lines: Range<usize>) {
        self.add(self.pages.len() - 1, x, y, Item::Text(text.clone(), lines));
    }

    /// Puts a filled box on the last page; a low one is a rule.
    pub fn fill(&mut self, x: f32, y: f32, width: f32, height: f32, color: Color) {
        self.add(self.pages.len() - 1, x, y, Item::Fill { width, height, color });
    }

    /// Puts a picture on the last page, as large as fits into this width and height; returns its height.
    pub fn picture(&mut self, x: f32, y: f32, width: f32, height: f32, image: Image) -> f32 {
        let (w, h) = image.size();
        let scale = (width / w as f32).min(height / h as f32);
        let (width, height) = (w as f32 * scale, h as f32 * scale);
        self.add(self.pages.len() - 1, x, y, Item::Image { image, width, height });
        height
    }

    fn add(&mut self, page: usize, x: f32, y: f32, item: Item) {
        if let Some(page) = self.pages.get_mut(page) {
            page.push((x, y, item));
        }
    }

    /// Writes the PDF.
    pub fn finish(self, metadata: Metadata) -> Result<Vec<u8>> {
        let mut document = Document::new();
        document.set_metadata(metadata);
        let mut fonts = HashMap::new();
        for items in &self.pages {
            let settings =
                PageSettings::from_wh(self.width, self.height).ok_or_else(|| anyhow!("a page without size"))?;
            let mut page = document.start_page_with(settings);
            let mut surface = page.surface();
            for (x, y, item) in items {
                match item {
                    Item::Text(text, lines) => draw(&mut surface, &mut fonts, *x, *y, text, lines)?,
                    Item::Fill { width, height, color } => {
                        let Some(rect) = Rect::from_xywh(*x, *y, *width, *height) else { continue };
                        let mut path = PathBuilder::new();
                        path.push_rect(rect);
                        surface.set_fill(Some(fill(*color)));
                        surface.set_stroke(None);
                        if let Some(path) = path.finish() {
                            surface.draw_path(&path);
                        }
                    }
                    Item::Image { image, width, height } => {
                        let Some(size) = Size::from_wh(*width, *height) else { continue };
                        surface.push_transform(&Transform::from_translate(*x, *y));
                        surface.draw_image(image.clone(), size);
                        surface.pop();
                    }
                }
            }
            surface.finish();
            page.finish();
        }
        document.finish().map_err(|e| anyhow!("cannot write the PDF: {e:?}"))
    }
}

fn fill(color: Color) -> Fill {
    Fill { paint: color.into(), opacity: NormalizedF32::ONE, rule: Default::default() }
}

/// How much thicker the lines of a letter become in a family without bold fonts, in parts of the font size.
const EMBOLDENED: f32 = 1.0 / 30.0;

/// Draws the glyphs that the layout has chosen, run by run: a run has one font, and a text here has one color.
fn draw(
    surface: &mut krilla::surface::Surface<'_>,
    fonts: &mut HashMap<u64, Font>,
    left: f32,
    top: f32,
    text: &Text,
    lines: &Range<usize>,
) -> Result<()> {
    let top = top - text.top(lines.start);
    for line in text.layout.lines().take(lines.end).skip(lines.start) {
        let (y, mut x) = (top + line.metrics().baseline, left + line.metrics().offset);
        for run in line.runs() {
            let start = x;
            let font = run.font().clone();
            let (data, id) = font.data.into_raw_parts();
            let known = match fonts.entry(id) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    new.insert(Font::new(data.into(), font.index).ok_or_else(|| anyhow!("a font cannot be read"))?)
                }
            };
            let size = run.font_size();
            let mut glyphs = Vec::<KrillaGlyph>::new();
            for cluster in run.visual_clusters() {
                if cluster.is_ligature_continuation() {
                    if let Some(glyph) = glyphs.last_mut() {
                        glyph.text_range.end = cluster.text_range().end;
                    }
                    continue;
                }
                for glyph in cluster.glyphs() {
                    glyphs.push(KrillaGlyph::new(
                        GlyphId::new(glyph.id),
                        glyph.advance / size,
                        glyph.x / size,
                        glyph.y / size,
                        0.0,
                        cluster.text_range(),
                        None,
                    ));
                    x += glyph.advance;
                }
            }
            if let (false, Some(style)) = (glyphs.is_empty(), text.layout.styles().first()) {
                surface.set_fill(Some(fill(style.brush)));
                surface.set_stroke(run.synthesis().embolden().then(|| Stroke {
                    paint: style.brush.into(),
                    width: size * EMBOLDENED,
                    ..Stroke::default()
                }));
                surface.draw_glyphs(Point::from_xy(start, y), &glyphs, known.clone(), &text.text, size, false);
            }
        }
    }
    Ok(())
}
