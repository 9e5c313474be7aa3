//! What Twilio, SendGrid and the readers of mails tell. Nobody is signed in here. The company is the one that the
//! address or the number names, a signature or a key proves it, and from then on only that company's rows can be
//! reached. All of it may come twice and in any order, and is repeated here while the database is away
//! (`db::retry_webhook`). `twilio.rs` and `sendgrid.rs` hear the providers, and `tracking.rs` who reads a mail. Of a
//! mail that comes in, `intake.rs` says how much at a time, `part_heads.rs` makes it readable, and `inbound_mail.rs`
//! says what is kept of it.

mod inbound_mail;
mod intake;
mod part_heads;
mod sendgrid;
mod tracking;
mod twilio;

use super::prelude::*;

routes! {
    /// Receives a text (Twilio)
    public post "/api/sms/webhook/incoming" limit twilio::MAX_FORM_BYTES => twilio::incoming_sms;
    /// Receives the status of a text (Twilio)
    public post "/api/sms/webhook/status" limit twilio::MAX_FORM_BYTES => twilio::sms_status;
    /// Receives the status of a call, or an incoming call (Twilio)
    public post "/api/calls/webhook" limit twilio::MAX_FORM_BYTES => twilio::call_status;
    /// The words spoken when a call is answered
    public get "/api/calls/twiml" => twilio::greeting;
    /// The words spoken when a call is answered
    public post "/api/calls/twiml" limit MAX_PUBLIC_BODY_BYTES => twilio::greeting;
    /// Receives a mail (SendGrid's Inbound Parse)
    public post "/api/emails/webhook/inbound" limit sendgrid::MAX_MAIL_BYTES => sendgrid::inbound;
    /// Receives events of mails (SendGrid's Event Webhook)
    public post "/api/emails/webhook/events" limit sendgrid::MAX_EVENTS_BYTES => sendgrid::events;
    /// A one-pixel picture that records that a mail was opened
    public get "/api/emails/track/open/{email_id}" => tracking::picture;
    /// Records that a mail was opened
    public post "/api/emails/track/open/{email_id}" limit MAX_PUBLIC_BODY_BYTES => tracking::opened;
    /// A page on which a recipient of a campaign can unsubscribe
    public get "/api/unsubscribe/{token}" => tracking::ask;
    /// Unsubscribes a recipient of a campaign (RFC 8058)
    public post "/api/unsubscribe/{token}" limit MAX_PUBLIC_BODY_BYTES => tracking::unsubscribe;
}

/// One sentence for every reason: strangers learn nothing about numbers and companies.
fn refused() -> Error {
    Error::Forbidden("The signature is not valid".into())
}

/// The text escaped for XML, without characters that XML forbids.
fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|c| wire::is_xml(*c)).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
