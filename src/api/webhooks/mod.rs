//! What Twilio, SendGrid and the readers of mails tell. Nobody is signed in here. The company is the one that the address
//! or the number names, a signature or a key proves it, and from then on only that company's rows can be reached. All of it
//! may come twice and in any order. `twilio.rs` and `sendgrid.rs` hear the providers, and `tracking.rs` who reads a mail.
//! Of a mail that comes in, `intake.rs` says how much at a time, `part_heads.rs` makes it readable, and `inbound_mail.rs` says
//! what is kept of it.

mod inbound_mail;
mod intake;
mod part_heads;
mod sendgrid;
mod tracking;
mod twilio;

use super::prelude::*;

routes! {
    /// A text that came in (Twilio)
    public post "/api/sms/webhook/incoming" limit twilio::FORM => twilio::incoming_sms;
    /// What became of a text (Twilio)
    public post "/api/sms/webhook/status" limit twilio::FORM => twilio::sms_status;
    /// What becomes of a call, or a call that came in (Twilio)
    public post "/api/calls/webhook" limit twilio::FORM => twilio::call_status;
    /// What is spoken to who is called
    public get "/api/calls/twiml" => twilio::greeting;
    /// What is spoken to who is called
    public post "/api/calls/twiml" limit PUBLIC_BODY_LIMIT => twilio::greeting;
    /// A mail that came in (SendGrid's Inbound Parse)
    public post "/api/emails/webhook/inbound" limit sendgrid::LIMIT => sendgrid::inbound;
    /// What became of mails (SendGrid's Event Webhook)
    public post "/api/emails/webhook/events" limit sendgrid::EVENTS_LIMIT => sendgrid::events;
    /// A picture of one point, which tells that a mail was opened
    public get "/api/emails/track/open/{email_id}" => tracking::picture;
    /// Tells that a mail was opened
    public post "/api/emails/track/open/{email_id}" limit PUBLIC_BODY_LIMIT => tracking::opened;
    /// A page on which a recipient of a campaign can unsubscribe
    public get "/api/unsubscribe/{token}" => tracking::ask;
    /// Unsubscribes a recipient of a campaign (RFC 8058)
    public post "/api/unsubscribe/{token}" limit PUBLIC_BODY_LIMIT => tracking::unsubscribe;
}

/// One sentence for every reason: a stranger learns nothing of numbers and companies.
fn refused() -> Error {
    Error::Forbidden("The signature is not valid".into())
}

/// A text in XML, without the characters that no document may have.
fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|c| wire::is_xml(*c)).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
