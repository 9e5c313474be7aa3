//! Phone calls (contract: calls).

use crate::support::{
    twilio::{Account, PUBLIC_URL, number, signed_with},
    world::World,
};
use serde_json::json;

#[tokio::test]
async fn the_feed_has_what_the_screen_reads() {
    let acme = World::new().await;
    for (minutes, direction, company) in [(2, "inbound", Some(acme.company)), (1, "outbound", None)] {
        let sql = "insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address, duration, created_at)
            values ($1, $2, $3, $4, 'in-progress', '+15550100', '+15550101', 61, now() - make_interval(mins => $5))";
        acme.db.execute(sql, &[&acme.company, &company, &acme.member.id, &direction, &minutes]).await.unwrap();
    }
    let list = acme.member.get("/api/calls").await.expect(200);
    assert_eq!((&list[0]["direction"], &list[1]["direction"]), (&json!("outbound"), &json!("inbound")));
    let call = &list[1];
    assert_eq!((&call["from"], &call["to"]), (&call["from_address"], &call["to_address"]));
    assert_eq!(
        (&call["duration"], &call["status"], &call["started_at"]),
        (&json!(61), &json!("in-progress"), &call["created_at"])
    );
    let mut keys: Vec<&String> = call.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "contact_id",
            "created_at",
            "direction",
            "duration",
            "ended_at",
            "from",
            "from_address",
            "id",
            "notes",
            "recording_url",
            "started_at",
            "status",
            "to",
            "to_address"
        ]
    );
    assert_eq!(
        acme.admin.get("/api/calls/").await.expect(200).as_array().unwrap().len(),
        1,
        "the historical one is the member's"
    );
    assert_eq!(acme.member.get("/api/calls/?type=incoming").await.expect(200).as_array().unwrap().len(), 1);
    assert_eq!(acme.member.get("/api/calls/?type=all").await.expect(200).as_array().unwrap().len(), 2);
    acme.lone().await.get("/api/calls/").await.detail(403);
}

#[tokio::test]
async fn the_caller_has_two_names() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let second = number();
    acme.admin.post("/api/sms/phone-numbers", json!({"phone_number": second})).await.expect(200);
    for from in [&account.number, &second] {
        for caller in [json!({"from": from}), json!({"from_number": from}), json!({"from": from, "from_number": from})]
        {
            let mut call = json!({"to": number()});
            call.as_object_mut().unwrap().extend(caller.as_object().unwrap().clone());
            let made = acme.member.post("/api/calls/make", call).await.expect(200);
            assert_eq!(made["success"], true);
            assert_eq!(account.asked().last().unwrap()["From"], *from, "{caller}");
        }
    }
}

/// Twilio made the call although its response was lost: its callbacks say so, before or after that.
#[tokio::test]
async fn a_call_that_goes_on_has_no_end() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let tells = async |sid: &str, status: &str, duration: &str| {
        let callback = account.asked().last().unwrap()["StatusCallback"].clone();
        let fields = [("CallSid", sid), ("CallStatus", status), ("CallDuration", duration)];
        account.tells(callback.strip_prefix(PUBLIC_URL).unwrap(), &fields).await.expect(200);
    };
    let shown = async || {
        let call = acme.admin.get("/api/calls/").await.expect(200)[0].clone();
        let error = "select error_message is not null from calls where tenant_id = $1 order by created_at desc limit 1";
        (
            call["status"].as_str().unwrap().to_owned(),
            call["ended_at"].is_string(),
            acme.value::<bool>(error, &[&acme.company]).await,
        )
    };
    let goes_on = ("in-progress".to_owned(), false, false);
    let slow = account.is_slow();
    let call = acme.admin.post("/api/calls/make", json!({"to": "+14155550002"}));
    let told = async {
        slow.asked().await;
        tells("CA1", "in-progress", "").await;
        slow.release();
    };
    let (answer, ()) = tokio::join!(call, told);
    answer.detail(502);
    assert_eq!(shown().await, goes_on);
    tells("CA1", "completed", "300").await;
    assert_eq!(shown().await, ("completed".into(), true, false));

    acme.admin.post("/api/calls/make", json!({"to": "+14155550003"})).await.detail(502);
    assert_eq!(shown().await, ("failed".into(), true, true));
    tells("CA2", "in-progress", "").await;
    assert_eq!(shown().await, goes_on);
    tells("CA2", "completed", "300").await;
    tells("CA2", "ringing", "").await;
    assert_eq!(shown().await, ("completed".into(), true, false));
}

/// Where Twilio tells of a call that comes in only at its end.
#[tokio::test]
async fn a_call_that_came_in_began_before_it_ended() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let caller = number();
    let tells = async |sid: &str, status: &str, duration: &str| {
        let fields = [("CallSid", sid), ("CallStatus", status), ("CallDuration", duration)];
        let fields = [&fields[..], &[("From", &caller), ("To", &account.number)]].concat();
        account.tells("/api/calls/webhook", &fields).await.expect(200);
        let lasted = "select extract(epoch from ended_at - started_at)::int from calls
            where twilio_sid = $1 and created_at = started_at and started_at <= now()";
        acme.value::<Option<i32>>(lasted, &[&sid]).await
    };
    assert_eq!(tells("CAlast", "completed", "600").await, Some(600));
    assert_eq!(tells("CAmissed", "no-answer", "").await, Some(0));
    assert_eq!(tells("CAfirst", "ringing", "0").await, None);
    let figures = acme.admin.get("/api/calls/").await.expect(200);
    assert_eq!(figures[2]["duration"], 600, "the first of them");
}

/// Of a recording, Twilio tells the call and the account, and neither number.
#[tokio::test]
async fn a_recording_is_told_of_by_the_call_alone() {
    let (acme, other) = (World::new().await, World::new().await);
    let account = Account::of(&acme).await;
    // Another company of the same account, and one that only says so.
    let same = json!({"account_sid": account.sid, "auth_token": account.token, "phone_number": ""});
    other.admin.post("/api/twilio-settings/", same).await.expect(201);
    let stranger = World::new().await;
    let claim = json!({"account_sid": account.sid, "auth_token": "0".repeat(32), "phone_number": ""});
    stranger.admin.post("/api/twilio-settings/", claim).await.expect(201);
    let (caller, sid) = (number(), format!("CA{}", uuid::Uuid::new_v4().simple()));
    let call = [("CallSid", &*sid), ("CallStatus", "completed"), ("From", &caller), ("To", &account.number)];
    account.tells("/api/calls/webhook", &call).await.expect(200);
    let recording = |sid| {
        let url = ("RecordingUrl", "https://api.twilio.example/RE1");
        [("AccountSid", account.sid.as_str()), ("CallSid", sid), url, ("RecordingStatus", "completed")]
    };
    assert_eq!(signed_with("another token", "/api/calls/webhook", &recording(&sid)).await.status, 403);
    assert_eq!(signed_with(&"0".repeat(32), "/api/calls/webhook", &recording(&sid)).await.status, 403);
    assert_eq!(account.tells("/api/calls/webhook", &recording("CAunknown")).await.status, 403);
    account.tells("/api/calls/webhook", &recording(&sid)).await.expect(200);
    let shown = &acme.admin.get("/api/calls/").await.expect(200)[0];
    assert_eq!(
        [&shown["recording_url"], &shown["status"]],
        [&json!("https://api.twilio.example/RE1"), &json!("completed")]
    );
    for world in [&other, &stranger] {
        assert_eq!(world.admin.get("/api/calls/").await.expect(200), json!([]));
    }
}

/// Its outcome is still to be written to its row.
#[tokio::test]
async fn a_call_that_is_being_made_is_not_deleted() {
    let acme = World::new().await;
    let slow = Account::of(&acme).await.is_slow();
    let (made, deleted) = tokio::join!(acme.member.post("/api/calls/make", json!({"to": number()})), async {
        slow.asked().await;
        let id: uuid::Uuid = acme.value("select id from calls where tenant_id = $1", &[&acme.company]).await;
        let mut deleted = Vec::new();
        for area in ["calls", "inbox"] {
            deleted.push(acme.member.delete(&format!("/api/{area}/{id}")).await);
        }
        slow.release();
        deleted
    });
    assert!(deleted.iter().all(|answer| answer.detail(400).contains("right now")), "{deleted:?}");
    let path = format!("/api/calls/{}", made.expect(200)["call_id"].as_str().unwrap());
    acme.member.delete(&path).await.expect(200);
    assert_eq!(acme.member.delete(&path).await.detail(404), "Call not found");
    // A call that never got a response can be deleted after five minutes.
    let insert = "insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address, created_at)
        values ($1, $1, $2, 'outbound', 'initiated', '+15550100', '+15550101', now() - interval '6 minutes') returning id";
    let old: uuid::Uuid = acme.value(insert, &[&acme.company, &acme.member.id]).await;
    acme.member.delete(&format!("/api/calls/{old}")).await.expect(200);
}
