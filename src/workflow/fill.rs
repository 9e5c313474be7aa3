//! Fills the templates of a step. Each template has its limits, and all of a step have a common one, because a
//! webhook's payload may hold as many templates as fit into a request.

use super::{Action, Context, Webhook, template};
use serde_json::Value;

/// The maximum number of templates in one config.
pub(super) const TEXTS: usize = 100;

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
    /// The action with its templates filled, using at most one step's share of what is left; otherwise the field whose
    /// template failed, and why. Call it on a thread that may block.
    pub fn filled(&self, context: &Context, left: &mut Budget) -> Result<Self, String> {
        let mut wire = serde_json::to_value(self).map_err(|e| e.to_string())?;
        if !matches!(self, Action::Webhook(Webhook { payload: None, .. }) | Action::Wait(_)) {
            let had = Budget { fuel: left.fuel.min(Budget::STEP.fuel), bytes: left.bytes.min(Budget::STEP.bytes) };
            let is_mail = matches!(self, Action::SendEmail(_));
            let mut filling = Filling { context, is_mail, texts: TEXTS, left: had };
            let filled = filling.fill(&mut wire["config"], "");
            // What a failed template used is not known, so all of it counts.
            let over = if filled.is_ok() { filling.left } else { Budget { fuel: 0, ..filling.left } };
            left.fuel -= had.fuel - over.fuel;
            left.bytes -= had.bytes - over.bytes;
            filled?;
        }
        serde_json::from_value(wire).map_err(|e| e.to_string())
    }

    /// The action with its templates filled on a blocking thread, away from the async runtime.
    pub async fn filled_aside(&self, context: &Context) -> Result<Self, String> {
        let (action, context) = (self.clone(), context.clone());
        let mut left = Budget::STEP;
        let filled = tokio::task::spawn_blocking(move || action.filled(&context, &mut left));
        filled.await.unwrap_or_else(|_| Err("The templates of this step cannot be filled".into()))
    }
}

/// A step whose templates are being filled.
struct Filling<'a> {
    context: &'a Context,
    is_mail: bool,
    texts: usize,
    left: Budget,
}

impl Filling<'_> {
    fn fill(&mut self, value: &mut Value, path: &str) -> Result<(), String> {
        match value {
            Value::String(text) if path != "url" && template::is_one(text) => {
                *text = self.render(text, path).map_err(|why| format!("{path}: {why}"))?;
            }
            Value::Array(list) => {
                for one in list {
                    self.fill(one, path)?;
                }
            }
            Value::Object(map) => {
                for (key, one) in map {
                    self.fill(one, if path.is_empty() { key } else { path })?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn render(&mut self, text: &str, path: &str) -> Result<String, String> {
        self.texts = self.texts.checked_sub(1).ok_or_else(|| format!("there are more than {TEXTS} templates"))?;
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
