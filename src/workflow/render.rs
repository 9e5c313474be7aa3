//! Fills the templates of a step. Each template has its limits, and all of a step have a common one, because a
//! webhook's payload may hold as many templates as fit into a request.

use super::{Action, Context, Webhook, template};
use serde_json::Value;

/// The maximum number of templates in one config.
pub(super) const MAX_TEXTS: usize = 100;

/// What a group of templates may still use.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// The number of steps that the templates may take.
    fuel: u64,
    /// The number of bytes that the templates may produce.
    bytes: usize,
}

impl Budget {
    /// The budget of one step.
    pub const STEP: Self = Self { fuel: 10_000, bytes: 256 << 10 };
    /// The budget of all steps of a dry run, whose response contains what each of them produces.
    pub const DRY_RUN: Self = Self { fuel: 50_000, bytes: 1 << 20 };
}

impl Action {
    /// The action with its templates rendered, using at most one step's share of what is left; otherwise the field
    /// whose template failed, and why. Call it on a thread that may block.
    pub fn rendered(&self, context: &Context, left: &mut Budget) -> Result<Self, String> {
        let mut wire = serde_json::to_value(self).map_err(|e| e.to_string())?;
        if !matches!(self, Action::Webhook(Webhook { payload: None, .. }) | Action::Wait(_)) {
            let had = Budget { fuel: left.fuel.min(Budget::STEP.fuel), bytes: left.bytes.min(Budget::STEP.bytes) };
            let is_mail = matches!(self, Action::SendEmail(_));
            let mut renderer = Renderer { context, is_mail, texts: MAX_TEXTS, left: had };
            let rendered = renderer.render_value(&mut wire["config"], "");
            // What a failed template used is not known, so all of it counts.
            let over = if rendered.is_ok() { renderer.left } else { Budget { fuel: 0, ..renderer.left } };
            left.fuel -= had.fuel - over.fuel;
            left.bytes -= had.bytes - over.bytes;
            rendered?;
        }
        serde_json::from_value(wire).map_err(|e| e.to_string())
    }

    /// The action with its templates rendered on a blocking thread, away from the async runtime.
    pub async fn rendered_aside(&self, context: &Context) -> Result<Self, String> {
        let (action, context) = (self.clone(), context.clone());
        let mut left = Budget::STEP;
        let rendered = tokio::task::spawn_blocking(move || action.rendered(&context, &mut left));
        rendered.await.unwrap_or_else(|_| Err("The templates of this step cannot be rendered".into()))
    }
}

/// A step whose templates are being rendered.
struct Renderer<'a> {
    context: &'a Context,
    is_mail: bool,
    texts: usize,
    left: Budget,
}

impl Renderer<'_> {
    fn render_value(&mut self, value: &mut Value, path: &str) -> Result<(), String> {
        match value {
            Value::String(text) if path != "url" && template::is_one(text) => {
                *text = self.render(text, path).map_err(|why| format!("{path}: {why}"))?;
            }
            Value::Array(list) => {
                for one in list {
                    self.render_value(one, path)?;
                }
            }
            Value::Object(map) => {
                for (key, one) in map {
                    self.render_value(one, if path.is_empty() { key } else { path })?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn render(&mut self, text: &str, path: &str) -> Result<String, String> {
        self.texts = self.texts.checked_sub(1).ok_or_else(|| format!("there are more than {MAX_TEXTS} templates"))?;
        let long = "the templates of this step take too long together";
        if self.left.fuel == 0 {
            return Err(long.into());
        }
        let (made, fuel) = template::render(text, self.context, self.is_mail && path == "body")?;
        self.left.fuel = self.left.fuel.checked_sub(fuel).ok_or(long)?;
        // PostgreSQL's text and JSON cannot contain it.
        if made.contains('\0') {
            return Err("the text has a character that cannot be stored".into());
        }
        let large = "the texts of this step are too long together";
        self.left.bytes = self.left.bytes.checked_sub(made.len()).ok_or(large)?;
        Ok(made)
    }
}
