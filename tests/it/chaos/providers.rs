//! Fake providers of texts and mails. They accept everything and record each delivery.

use crate::support::smtp;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
};
use uuid::Uuid;

#[derive(Default)]
struct Taken {
    /// For each text, the accounts that sent it.
    texts: Mutex<HashMap<String, Vec<String>>>,
    /// For each recipient, the number of mails.
    mails: Mutex<HashMap<String, usize>>,
    delivered: Notify,
    /// Texts are delivered, but the response is an error.
    is_broken: AtomicBool,
}

#[derive(Clone)]
pub struct Providers {
    pub http: u16,
    pub smtp: u16,
    taken: Arc<Taken>,
}

impl Providers {
    pub async fn open() -> Self {
        let taken = Arc::<Taken>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap().port();
        let base = "/2010-04-01/Accounts";
        let router = Router::new()
            .route(&format!("{base}/{{account}}/Messages.json"), post(text))
            .route(&format!("{base}/{{account}}/Calls.json"), post(created))
            .route(&format!("{base}/{{account}}/IncomingPhoneNumbers.json"), get(numbers))
            .route(&format!("{base}/{{account}}"), get(async || Json(json!({"status": "active"}))))
            .route("/v3/mail/send", post(async || StatusCode::ACCEPTED))
            .with_state(taken.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let smtp = listener.local_addr().unwrap().port();
        let (sender, mut mails) = mpsc::unbounded_channel::<smtp::Mail>();
        tokio::spawn(async move {
            let ways = smtp::Ways::taking(sender);
            while let Ok((stream, _)) = listener.accept().await {
                let ways = ways.clone();
                tokio::spawn(async move { smtp::converse(stream, 0, &ways).await });
            }
        });
        let kept = taken.clone();
        tokio::spawn(async move {
            while let Some(mail) = mails.recv().await {
                let to = mail.to.trim().trim_matches(['<', '>']).to_owned();
                *kept.mails.lock().unwrap().entry(to).or_default() += 1;
                kept.delivered.notify_waiters();
            }
        });
        Self { http, smtp, taken }
    }

    /// Waits for the next delivery.
    pub async fn delivered(&self) {
        self.taken.delivered.notified().await;
    }

    /// Whether texts are delivered with an error as the response.
    pub fn set_broken(&self, is_broken: bool) {
        self.taken.is_broken.store(is_broken, Relaxed);
    }

    pub fn texts(&self) -> HashMap<String, Vec<String>> {
        self.taken.texts.lock().unwrap().clone()
    }

    pub fn mails(&self) -> HashMap<String, usize> {
        self.taken.mails.lock().unwrap().clone()
    }
}

async fn text(State(taken): State<Arc<Taken>>, Path(account): Path<String>, body: Bytes) -> Response {
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    taken.texts.lock().unwrap().entry(form["Body"].clone()).or_default().push(account);
    taken.delivered.notify_waiters();
    if taken.is_broken.load(Relaxed) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "<html>Something went wrong</html>").into_response();
    }
    created().await
}

async fn created() -> Response {
    let sid = format!("SM{}", Uuid::new_v4().simple());
    (StatusCode::CREATED, Json(json!({"sid": sid, "status": "queued"}))).into_response()
}

async fn numbers() -> Response {
    Json(json!({"incoming_phone_numbers": [], "next_page_uri": null})).into_response()
}
