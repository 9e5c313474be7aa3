//! Files, folders and their content (contract: files).

use crate::support::{
    cluster::{as_owner, folder_like, socket},
    command::{configured, run, serve, text},
    database::{OwnDatabase, until, waiting_for},
    log::{self, has_warned},
    proxy::LostCommit,
    server::{admin_url, api_url, config, start_server, store_of},
    tls::Authority,
    world::{Answer, Person, World, answer, leave},
};
use reqwest::multipart::{Form, Part};
use ringfence::{
    App,
    clients::storage::Storage,
    config::{Config, Switch},
    db::{self, Db},
    jobs::sweep_files,
    store_owner,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    process::Command,
    time::{Duration, SystemTime},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

fn part(bytes: impl Into<Vec<u8>>, name: &str, mime: &str) -> Part {
    Part::bytes(bytes.into()).file_name(name.to_owned()).mime_str(mime).unwrap()
}

async fn upload(who: &Person, name: &str, bytes: impl Into<Vec<u8>>, fields: &[(&str, &str)]) -> Answer {
    let mut form = Form::new();
    for (name, value) in fields {
        form = form.text((*name).to_owned(), (*value).to_owned());
    }
    let form = form.part("file", part(bytes, name, "application/octet-stream"));
    answer(who.request("POST", "/api/files/upload").multipart(form)).await
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

async fn folder(who: &Person, name: &str, parent: Option<&Value>) -> Value {
    let parent = parent.map(|p| p["id"].clone());
    who.post("/api/files/folders", json!({"name": name, "parent_id": parent})).await.expect(200)
}

async fn names(who: &Person, path: &str) -> Vec<String> {
    let list = who.get(path).await.expect(200);
    list.as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap().to_owned()).collect()
}

async fn download(who: &Person, file: &Value, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = who.request("GET", &format!("/api/files/{}/download", id(file)));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// The objects of a company in the store.
fn objects(company: Uuid) -> Vec<String> {
    let folder = format!("{}/files/{company}", env!("CARGO_TARGET_TMPDIR"));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

async fn usage(who: &Person) -> (i64, i64) {
    let usage = who.get("/api/files/usage").await.expect(200);
    (usage["files"].as_i64().unwrap(), usage["bytes"].as_i64().unwrap())
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down() {
    let acme = World::new().await;
    let place = folder(&acme.admin, "Contracts", None).await;
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let fields = [("category", "legal"), ("folder_id", id(&place)), ("tags", r#"["a","b"]"#)];
    let made = upload(&acme.member, "C:\\papers\\../Vertrag für „Zoë“.bin", bytes.clone(), &fields).await.expect(200);
    assert_eq!(
        (&made["name"], &made["original_name"], &made["file_type"], &made["size"], &made["category"], &made["tags"]),
        (
            &json!("Vertrag für „Zoë“.bin"),
            &json!("Vertrag für „Zoë“.bin"),
            &json!("application/octet-stream"),
            &json!(1_200_000),
            &json!("legal"),
            &json!(["a", "b"])
        )
    );
    assert_eq!(
        (&made["folder_id"], &made["status"], &made["description"]),
        (&place["id"], &json!("active"), &json!(null))
    );
    assert_eq!(made["url"], json!(format!("/api/files/{}/download", id(&made))));
    assert_eq!(acme.admin.get(&format!("/api/files/{}", id(&made))).await.expect(200), made);

    let response = download(&acme.admin, &made, &[]).await;
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header("content-type"), header("content-length")),
        ("application/octet-stream".into(), "1200000".into())
    );
    assert_eq!((header("x-content-type-options"), header("accept-ranges")), ("nosniff".into(), "bytes".into()));
    assert_eq!(
        header("content-disposition"),
        "attachment; filename=\"Vertrag f_r _Zo__.bin\"; filename*=UTF-8''Vertrag%20f%C3%BCr%20%E2%80%9EZo%C3%AB%E2%80%9C%2Ebin"
    );
    let etag = header("etag");
    assert_eq!(etag, format!("\"{}\"", Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect::<String>()));
    assert_eq!(response.bytes().await.unwrap(), bytes);

    for (asked, range) in [
        ("bytes=0-0", 0..1),
        ("bytes=100-199", 100..200),
        ("bytes=1199990-", 1_199_990..1_200_000),
        ("bytes=-5", 1_199_995..1_200_000),
    ] {
        let response = download(&acme.admin, &made, &[("range", asked)]).await;
        assert_eq!(response.status(), 206, "{asked}");
        let said = format!("bytes {}-{}/1200000", range.start, range.end - 1);
        assert_eq!(response.headers()["content-range"], said);
        assert_eq!(response.bytes().await.unwrap(), bytes[range], "{asked}");
    }
    let beyond = download(&acme.admin, &made, &[("range", "bytes=1200000-")]).await;
    assert_eq!(
        (beyond.status().as_u16(), &beyond.headers()["content-range"]),
        (416, &"bytes */1200000".parse().unwrap())
    );
    for whole in [
        vec![("range", "bytes=0-1,5-6")],
        vec![("range", "lines=1-2")],
        vec![("range", "bytes=0-1"), ("if-range", "\"other\"")],
    ] {
        assert_eq!(download(&acme.admin, &made, &whole).await.status(), 200, "{whole:?}");
    }
    assert_eq!(download(&acme.admin, &made, &[("range", "bytes=0-1"), ("if-range", &etag)]).await.status(), 206);
    assert_eq!(download(&acme.admin, &made, &[("if-none-match", &etag)]).await.status(), 304);
    let head = acme.admin.request("HEAD", &format!("/api/files/{}/download", id(&made))).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"1200000".parse().unwrap()));

    let empty = upload(&acme.admin, "empty", [], &[("folder_id", "none"), ("tags", "x, y ,")]).await.expect(200);
    assert_eq!((&empty["size"], &empty["folder_id"], &empty["tags"]), (&json!(0), &json!(null), &json!(["x", "y"])));
    assert_eq!(download(&acme.admin, &empty, &[]).await.bytes().await.unwrap().len(), 0);
    assert_eq!(usage(&acme.member).await, (2, 1_200_000));
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    let acme = World::new().await;
    upload(&acme.admin, "same.txt", "1", &[]).await.expect(200);
    assert_eq!(objects(acme.company).len(), 1);
    assert!(upload(&acme.member, "same.txt", "2", &[]).await.detail(400).contains("already exists"));
    let place = folder(&acme.admin, "F", None).await;
    upload(&acme.admin, "same.txt", "3", &[("folder_id", id(&place))]).await.expect(200);
    assert_eq!(
        upload(&acme.admin, "x", "4", &[("folder_id", &Uuid::now_v7().to_string())]).await.detail(404),
        "Folder not found"
    );
    upload(&acme.admin, &"x".repeat(256), "5", &[]).await.expect(422);
    upload(&acme.admin, "x", "6", &[("category", &"x".repeat(101))]).await.expect(422);
    let (many, long) = ("x,".repeat(101), "x".repeat(101));
    for tags in [r#"["x", 1]"#, "[null]", &many, &long] {
        let refused = upload(&acme.admin, "x", "7", &[("tags", tags)]).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", "tags"]));
    }
    upload(&acme.admin, "large", vec![0; (10 << 20) + 1], &[]).await.expect(413);
    let none =
        answer(acme.admin.request("POST", "/api/files/upload").multipart(Form::new().text("category", "x"))).await;
    none.expect(422);
    let begin = "--b\r\ncontent-disposition: form-data; name=\"file\"";
    for (kind, body) in [
        ("multipart/form-data; boundary=b", format!("{begin}; filename=\"\"\r\n\r\n\r\n--b--\r\n")),
        ("multipart/form-data; boundary=b", format!("{begin}\r\n\r\ntext\r\n--b--\r\n")),
        ("multipart/form-data; boundary=b", String::new()),
        ("application/json", "{}".to_owned()),
    ] {
        let request = acme.admin.request("POST", "/api/files/upload").header("content-type", kind);
        let refused = answer(request.body(body.clone())).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", "file"]), "{body}");
    }
    let elf = [b"\x7fELF\x02\x01\x01\0".as_slice(), &[0; 64]].concat();
    for (name, mime, bytes) in [
        ("a.png", "image/png", b"MZ\x90\0program".as_slice()),
        ("a.pdf", "application/pdf", PNG),
        ("a.txt", "text/plain", PNG),
        ("a.doc", "application/msword", elf.as_slice()),
        ("a.jar", "application/x-thing", b"\xca\xfe\xba\xbe\0\0\0\x41"),
        ("a.svg", "image/svg+xml", b"\0asm\x01\0\0\0"),
        ("b.svg", "image/svg+xml", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("c.svg", "image/vnd.microsoft.portable-executable", b"MZ\x90\0program"),
        ("a.tiff", "image/tiff", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("page.png", "image/png", b"<html><script>alert(1)</script>"),
    ] {
        let form = Form::new().part("file", part(bytes, name, mime));
        let refused = answer(acme.admin.request("POST", "/api/files/upload").multipart(form)).await.detail(400);
        assert!(refused.contains("is not what"), "{name}: {refused}");
    }
    for (name, mime, bytes) in [
        ("b.png", "image/png", PNG),
        ("b.jpg", "image/jpeg", PNG),
        ("b.txt", "text/plain", b"hello".as_slice()),
        ("b.csv", "text/csv", b"BMI,Name\r\n1,2".as_slice()),
        ("c.csv", "application/vnd.ms-excel", b"MZ,Umsatz".as_slice()),
        ("b.rtf", "text/rtf", b"{\\rtf1 abc}".as_slice()),
        ("b.m4a", "audio/mp4", b"\0\0\0\x18ftypisom\0\0\0\0isommp42".as_slice()),
        ("b.dat", "application/x-thing", b"\0\x01"),
        ("c.cer", "application/pkix-cert", b"0\x82\x03\0\x30"),
        ("c.p7s", "application/pkcs7-signature", b"0\x82\x03\0\x30"),
        ("c.wasm", "application/wasm", b"\0asm\x01\0\0\0"),
        ("c.svgz", "image/svg+xml", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("c.rtf", "text/rtf", b"{\\rtf1 \0}"),
    ] {
        let form = Form::new().part("file", part(bytes, name, mime));
        let made = answer(acme.admin.request("POST", "/api/files/upload").multipart(form)).await.expect(200);
        assert_eq!(made["file_type"], json!(mime));
    }
    let extended = format!("{begin}; filename*=utf-8''%C3%A9.txt\r\n\r\ntext\r\n--b--\r\n");
    let request = acme.admin.request("POST", "/api/files/upload");
    let named =
        answer(request.header("content-type", "multipart/form-data; boundary=b").body(extended)).await.expect(200);
    assert_eq!(named["original_name"], "é.txt");
    // A client that disconnects during its upload.
    let (address, token) = (acme.admin.address().to_owned(), acme.admin.token.clone().unwrap());
    let sent = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /api/files/upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 9000000\r\ncontent-type: multipart/form-data; boundary=b\r\n\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"broken\"\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![7; 6_000_000]).unwrap();
    });
    sent.await.unwrap();
    until("nothing is left behind", async || objects(acme.company).len() == 16).await;
    let rows: i64 = acme.value("select count(*) from files where tenant_id = $1", &[&acme.company]).await;
    assert_eq!(rows, 16);
    for who in [acme.lone().await, acme.super_admin().await] {
        assert_eq!(upload(&who, "x", "x", &[]).await.detail(403), "No company associated with user");
    }
}

/// When a client disconnects, what it has begun is finished: there is a row with its content, or neither.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_client_goes_away_is_whole_or_nothing() {
    let acme = World::new().await;
    let watch = db::connect(&admin_url()).await.unwrap();
    // The second upload finds the name taken.
    for _ in 0..2 {
        let lock =
            format!("begin; set local app.company_id = '{}'; select app.lock_name('file', 'late.txt')", acme.company);
        acme.db.batch_execute(&lock).await.unwrap();
        let before = objects(acme.company).len();
        let form =
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"late.txt\"\r\n\r\nlate\r\n--b--\r\n";
        let mut stream = acme.member.begin("/api/files/upload", "multipart/form-data; boundary=b", form.len()).await;
        stream.write_all(form.as_bytes()).await.unwrap();
        waiting_for(&acme.db, &watch).await;
        assert_eq!(objects(acme.company).len(), before + 1);
        leave(stream).await;
        acme.db.batch_execute("commit").await.unwrap();
        until("one file with its content", async || {
            names(&acme.admin, "/api/files/").await == ["late.txt"] && objects(acme.company).len() == 1
        })
        .await;
    }
    let file = acme.admin.get("/api/files/").await.expect(200)[0].clone();
    assert_eq!(download(&acme.member, &file, &[]).await.text().await.unwrap(), "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_content_stays_when_the_connection_is_lost_at_the_commit() {
    let lost = LostCommit::of("files").await;
    let who = lost.world.member.clone();
    lost.lose(async move { upload(&who, "a.txt", "a", &[]).await }).await.expect(503);
    assert_eq!(upload(&lost.world.member, "a.txt", "again", &[]).await.status, 400, "it is there");
    let file = lost.world.admin.get("/api/files/").await.expect(200)[0].clone();
    assert_eq!(download(&lost.world.admin, &file, &[]).await.text().await.unwrap(), "a");
    lost.own.drop().await;
}

/// Clients that send a byte now and then delay nobody, not even their own companies.
#[tokio::test(flavor = "multi_thread")]
async fn slow_uploads_of_many_companies_hold_up_nobody() {
    let (mut slow_ones, acme, other) = (Vec::new(), World::new().await, World::new().await);
    for _ in 0..7 {
        slow_ones.push(World::new().await);
    }
    #[expect(clippy::async_yields_async, reason = "an upload goes on by itself once its handler waits for the body")]
    let slow = |of: &World, path: &str| {
        let (sender, path) = (of.member.clone(), path.to_owned());
        async move {
            let mut stream = sender.begin(&path, "multipart/form-data; boundary=b", 4_000_000).await;
            let head = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"slow.csv\"\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            tokio::spawn(async move {
                let mut answer = Vec::with_capacity(4096);
                while tokio::time::timeout(Duration::from_millis(500), stream.read_buf(&mut answer)).await.is_err() {
                    stream.write_all(b"x").await.unwrap();
                }
                String::from_utf8_lossy(&answer).into_owned()
            })
        }
    };
    let (upload_path, import_path, picture_path) =
        ("/api/files/upload", "/api/contacts/upload-csv", "/api/users/me/avatar");
    let senders = slow_ones.iter().chain([&acme]).flat_map(|of| {
        [upload_path, upload_path, upload_path, upload_path, import_path, picture_path].map(|path| slow(of, path))
    });
    // All of them are there when the server waits for their bodies.
    let senders = futures_util::future::join_all(senders).await;
    for who in [&other.admin, &acme.admin] {
        upload(who, "quick.txt", "quick", &[]).await.expect(200);
        let table = "email,first_name,last_name\nada@x.example,Ada,L\n";
        who.upload(import_path, "a.csv", "text/csv", table).await.expect(200);
        who.upload(picture_path, "a.png", "image/png", PNG).await.expect(200);
    }
    assert!(senders.iter().all(|sender| !sender.is_finished()), "it was waited until one of theirs was given up");
    for sender in senders {
        let answer = sender.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("too long to arrive"), "{answer}");
    }
}

/// Content is stored under the company's id, and so is the row.
#[tokio::test]
async fn who_moves_while_a_file_goes_up_uploads_it_again() {
    let table = "email,first_name,last_name\nada@x.example,Ada,L\n";
    moves("/api/files/upload", "a.txt", ["x".repeat(20_000), "y".repeat(20_000)], "/api/files/").await;
    let more = (0..2_000).map(|n| format!("p{n}@x.example,P,L\n")).collect();
    moves("/api/contacts/upload-csv", "a.csv", [table.to_owned(), more], "/api/contacts/").await;
}

/// A user uploads a file in two parts, and moves to another company in between.
async fn moves(path: &str, name: &str, [first, rest]: [String; 2], list: &str) {
    let (acme, other) = (World::new().await, World::new().await);
    let first = format!("--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{first}");
    let rest = format!("{rest}\r\n--b--\r\n");
    // The right to upload is checked before the body is read.
    let mut stream = acme.member.begin(path, "multipart/form-data; boundary=b", first.len() + rest.len()).await;
    stream.write_all(first.as_bytes()).await.unwrap();
    let moved = "update users set company_id = $2 where id = $1";
    acme.db.execute(moved, &[&acme.member.id, &other.company]).await.unwrap();
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    for of in [&acme.admin, &other.admin] {
        assert_eq!(of.get(list).await.expect(200), json!([]));
    }
}

#[tokio::test]
async fn files_are_listed_changed_and_deleted() {
    let acme = World::new().await;
    let place = folder(&acme.admin, "F", None).await;
    let contact = acme.contact("A", "B").await;
    let first = acme.admin.post("/api/files/", json!({"name": "first", "category": "c", "folder_id": place["id"], "contact_id": contact["id"], "tags": ["t"]})).await.expect(200);
    assert_eq!(
        (&first["size"], &first["original_name"], &first["contact_id"]),
        (&json!(null), &json!("first"), &contact["id"])
    );
    assert_eq!(download(&acme.admin, &first, &[]).await.status(), 404, "it has no content");
    acme.member.post("/api/files/", json!({"name": "second", "category": "c", "folder_id": null})).await.expect(200);
    acme.member.post("/api/files/", json!({"name": "third", "tags": null})).await.expect(200);
    let listed = async |query: &str| names(&acme.admin, &format!("/api/files/?{query}")).await.join(" ");
    assert_eq!(listed("").await, "third second first");
    assert_eq!(listed("category=c").await, "second first");
    assert_eq!(listed("category=C").await, "");
    assert_eq!(listed(&format!("folder_id={}", id(&place))).await, "first");
    assert_eq!(listed(&format!("folder_id={}&category=d", id(&place))).await, "");
    assert_eq!(listed("skip=1&limit=1").await, "second");
    acme.admin.get("/api/files/?folder_id=x").await.expect(422);
    let path = format!("/api/files/{}", id(&first));
    let edit = json!({"name": "renamed", "category": null, "description": "D", "tags": [], "status": "archived", "folder_id": "malformed",
        "object_key": "x", "size": 9, "company_id": Uuid::now_v7(), "owner_id": acme.member.id});
    let changed = acme.member.patch(&path, edit).await.expect(200);
    assert_eq!(
        (
            &changed["name"],
            &changed["category"],
            &changed["description"],
            &changed["tags"],
            &changed["status"],
            &changed["size"]
        ),
        (&json!("renamed"), &json!(null), &json!("D"), &json!([]), &json!("archived"), &json!(null))
    );
    assert_eq!((&changed["folder_id"], &changed["original_name"]), (&place["id"], &json!("first")));
    let same = acme.member.patch(&path, json!({"name": null, "tags": null})).await.expect(200);
    assert_eq!((&same["name"], &same["tags"]), (&json!("renamed"), &json!([])));
    let new = json!({"name": "G", "tags": null});
    let made = acme.member.post("/api/files/folders", new).await.expect(200);
    let same = json!({"name": null, "tags": null});
    let same = acme.member.patch(&format!("/api/files/folders/{}", id(&made)), same).await.expect(200);
    assert_eq!((&same["name"], &same["tags"]), (&json!("G"), &json!([])));
    assert_eq!(acme.member.put(&path, json!({"folder_id": ""})).await.expect(200)["folder_id"], json!(null));
    assert_eq!(acme.member.put(&path, json!({"folder_id": place["id"]})).await.expect(200)["folder_id"], place["id"]);
    assert_eq!(acme.member.put(&path, json!({"folder_id": Uuid::now_v7()})).await.detail(404), "Folder not found");
    acme.member.delete(&path).await.expect(200);
    for gone in [
        acme.admin.get(&path).await,
        acme.admin.patch(&path, json!({})).await,
        acme.admin.delete(&path).await,
        acme.admin.get(&format!("{path}/download")).await,
    ] {
        assert_eq!(gone.detail(404), "File not found");
    }
    for (field, what) in [("folder_id", "Folder"), ("contact_id", "Contact"), ("deal_id", "Deal")] {
        let new = json!({"name": "x", field: Uuid::now_v7()});
        assert_eq!(acme.admin.post("/api/files/", new).await.detail(404), format!("{what} not found"));
    }
    assert_eq!(acme.lone().await.get("/api/files/").await.detail(403), "No company associated with user");
}

#[tokio::test]
async fn folders_hold_folders_and_files() {
    let acme = World::new().await;
    let top = acme
        .admin
        .post("/api/files/folders", json!({"name": "Top", "description": "D", "tags": ["t"]}))
        .await
        .expect(200);
    assert_eq!(
        (&top["status"], &top["parent_id"], &top["size"], &top["tags"]),
        (&json!("active"), &json!(null), &json!(null), &json!(["t"]))
    );
    for long in [json!({"description": "é".repeat(20_001)}), json!({"tags": ["é".repeat(256)]})] {
        acme.admin.put(&format!("/api/files/folders/{}", id(&top)), long.clone()).await.expect(422);
        let mut new = long;
        new["name"] = json!("Long");
        acme.admin.post("/api/files/folders", new).await.expect(422);
    }
    let (b, a) = (folder(&acme.admin, "b", Some(&top)).await, folder(&acme.member, "a", Some(&top)).await);
    folder(&acme.member, "a", Some(&top)).await;
    upload(&acme.admin, "1", "12345", &[("folder_id", id(&b))]).await.expect(200);
    let gone = upload(&acme.admin, "2", "123", &[("folder_id", id(&b))]).await.expect(200);
    acme.admin.delete(&format!("/api/files/{}", id(&gone))).await.expect(200);
    assert_eq!(names(&acme.admin, "/api/files/folders").await, ["Top"]);
    let below = format!("/api/files/folders?parent_id={}", id(&top));
    assert_eq!(names(&acme.admin, &below).await, ["a", "a", "b"]);
    assert_eq!(acme.admin.get(&below).await.expect(200)[2]["size"], json!(5));
    let path = |f: &Value| format!("/api/files/folders/{}", id(f));
    let changed = acme
        .member
        .put(&path(&a), json!({"name": "c", "description": "D", "status": "archived", "tags": ["x"]}))
        .await
        .expect(200);
    assert_eq!(
        (&changed["name"], &changed["parent_id"], &changed["status"]),
        (&json!("c"), &top["id"], &json!("archived"))
    );
    assert_eq!(acme.member.patch(&path(&a), json!({"parent_id": b["id"]})).await.expect(200)["parent_id"], b["id"]);
    for (moved, target) in [(&top, &top), (&top, &b), (&top, &a), (&b, &a)] {
        assert!(
            acme.member
                .patch(&path(moved), json!({"parent_id": target["id"]}))
                .await
                .detail(400)
                .contains("into itself")
        );
    }
    assert_eq!(
        acme.member.patch(&path(&a), json!({"parent_id": Uuid::now_v7()})).await.detail(404),
        "Folder not found"
    );
    assert_eq!(acme.member.patch(&path(&b), json!({"parent_id": ""})).await.expect(200)["parent_id"], json!(null));
    acme.member.patch(&path(&b), json!({"parent_id": top["id"]})).await.expect(200);
    assert_eq!(
        acme.admin.post("/api/files/folders", json!({"name": "x", "parent_id": Uuid::now_v7()})).await.detail(404),
        "Folder not found"
    );

    // Deleting a folder deletes its tree with all files, and nothing else.
    upload(&acme.admin, "deep", "1", &[("folder_id", id(&a))]).await.expect(200);
    upload(&acme.admin, "outside", "1", &[]).await.expect(200);
    assert_eq!(usage(&acme.admin).await, (3, 7));
    acme.member.delete(&path(&top)).await.expect(200);
    assert_eq!(names(&acme.admin, "/api/files/").await, ["outside"]);
    assert_eq!(names(&acme.admin, "/api/files/folders").await, Vec::<String>::new());
    assert_eq!(usage(&acme.admin).await, (1, 1));
    for folder in [&top, &a, &b] {
        assert_eq!(acme.admin.delete(&path(folder)).await.detail(404), "Folder not found");
    }
    assert_eq!(upload(&acme.admin, "late", "1", &[("folder_id", id(&a))]).await.detail(404), "Folder not found");
}

/// A colleague who deletes a folder does not see the historical rows in it.
#[tokio::test]
async fn historical_files_and_folders_stay_when_a_colleague_deletes_their_folder() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let file = "insert into files (tenant_id, company_id, owner_id, name, original_name) values ($1, null, $2, $3, 'F') returning id";
    let below =
        "insert into folders (tenant_id, company_id, owner_id, name) values ($1, null, $2, 'Below') returning id";
    let folder_id =
        async |file: Uuid| acme.admin.get(&format!("/api/files/{file}")).await.expect(200)["folder_id"].clone();
    let delete =
        async |who: &Person, gone: &Value| who.delete(&format!("/api/files/folders/{}", id(gone))).await.expect(200);

    let top = folder(&acme.admin, "Top", None).await;
    let (kept, below): (Uuid, Uuid) = (
        acme.value(file, &[&acme.company, &acme.admin.id, &"kept"]).await,
        acme.value(below, &[&acme.company, &acme.admin.id]).await,
    );
    let deep: Uuid = acme.value(file, &[&acme.company, &acme.admin.id, &"deep"]).await;
    let into = json!({"folder_id": top["id"]});
    acme.admin.patch(&format!("/api/files/{kept}"), into.clone()).await.expect(200);
    acme.admin.patch(&format!("/api/files/folders/{below}"), json!({"parent_id": top["id"]})).await.expect(200);
    acme.admin.patch(&format!("/api/files/{deep}"), json!({"folder_id": below})).await.expect(200);
    upload(&acme.member, "seen", "1", &[("folder_id", id(&top))]).await.expect(200);
    delete(&acme.member, &top).await;
    assert_eq!((folder_id(kept).await, folder_id(deep).await), (json!(null), json!(below)));
    assert_eq!(names(&acme.admin, "/api/files/folders").await, ["Below"]);
    assert_eq!(names(&acme.admin, "/api/files/").await, ["deep", "kept"]);
    assert_eq!(acme.admin.get("/api/files/").await.expect(200)[1]["folder_id"], json!(null));

    // The migration moves rows that were left in a deleted folder earlier.
    let lost = "update files set folder_id = $2 where id = $1";
    acme.db.execute(lost, &[&kept, &id(&top).parse::<Uuid>().unwrap()]).await.unwrap();
    let lost = "update folders set parent_id = $2 where id = $1";
    acme.db.execute(lost, &[&below, &id(&top).parse::<Uuid>().unwrap()]).await.unwrap();
    let migration = include_str!("../../migrations/V0072__kept_as_it_was.sql");
    let repair = &migration[migration.find("set role ringfence_platform").unwrap()..];
    acme.db.batch_execute(repair).await.unwrap();
    assert_eq!(folder_id(kept).await, json!(null));
    assert_eq!(names(&acme.admin, "/api/files/folders").await, ["Below"]);

    // The colleague's own files are deleted with the folder.
    let mine = folder(&acme.member, "Mine", None).await;
    acme.admin.patch(&format!("/api/files/{kept}"), json!({"folder_id": mine["id"]})).await.expect(200);
    delete(&acme.admin, &mine).await;
    acme.admin.get(&format!("/api/files/{kept}")).await.expect(404);
    drop(acme);
    own.drop().await;
}

/// No other user would find it there.
#[tokio::test]
async fn what_is_the_companys_goes_into_no_historical_folder() {
    let acme = World::new().await;
    let old = "insert into folders (tenant_id, company_id, owner_id, name) values ($1, null, $2, $3) returning id";
    let old_file = "insert into files (tenant_id, company_id, owner_id, name, original_name) values ($1, null, $2, 'Mine', 'F') returning id";
    let (member, other) = (&acme.member, acme.person("company_user").await);
    let hidden: Uuid = acme.value(old, &[&acme.company, &member.id, &"Old"]).await;
    let below: Uuid = acme.value(old, &[&acme.company, &member.id, &"Older"]).await;
    let mine: Uuid = acme.value(old_file, &[&acme.company, &member.id]).await;
    let shared = folder(&other, "Shared", None).await;
    let plan = upload(&other, "plan", "1", &[("folder_id", id(&shared))]).await.expect(200);
    let (plan_path, shared_path) = (format!("/api/files/{}", id(&plan)), format!("/api/files/folders/{}", id(&shared)));
    let into = json!({"folder_id": hidden, "name": "Sub", "parent_id": hidden});
    for refused in [
        upload(member, "new", "1", &[("folder_id", &hidden.to_string())]).await,
        member.post("/api/files/", into.clone()).await,
        member.post("/api/files/folders", into.clone()).await,
        member.patch(&plan_path, into.clone()).await,
        member.put(&shared_path, into.clone()).await,
    ] {
        assert_eq!(refused.detail(404), "Folder not found");
    }
    // Historical rows may be in either folder, and other users do not see them there.
    let (mine, below) = (format!("/api/files/{mine}"), format!("/api/files/folders/{below}"));
    for place in [json!(hidden), shared["id"].clone()] {
        member.patch(&mine, json!({"folder_id": place})).await.expect(200);
        member.patch(&below, json!({"parent_id": place})).await.expect(200);
    }
    let in_shared = format!("/api/files/folders?parent_id={}", id(&shared));
    assert_eq!((names(member, &in_shared).await, names(&other, &in_shared).await), (vec!["Older".to_owned()], vec![]));
    assert_eq!(names(&other, "/api/files/").await, ["plan"]);

    // From before this was refused, or during a backfill: the company's rows stay when the folder is deleted.
    let id_of = |row: &Value| id(row).parse::<Uuid>().unwrap();
    acme.db.execute("update folders set parent_id = $2 where id = $1", &[&id_of(&shared), &hidden]).await.unwrap();
    let loose = upload(&other, "loose", "1", &[]).await.expect(200);
    acme.db.execute("update files set folder_id = $2 where id = $1", &[&id_of(&loose), &hidden]).await.unwrap();
    member.patch(&plan_path, json!({"folder_id": shared["id"], "name": "the plan"})).await.expect(200);
    member.patch(&format!("/api/files/{}", id(&loose)), json!({"folder_id": hidden})).await.expect(200);
    member.patch(&shared_path, json!({"parent_id": hidden})).await.expect(200);
    member.delete(&format!("/api/files/folders/{hidden}")).await.expect(200);
    assert_eq!(names(&other, "/api/files/folders").await, ["Shared"]);
    assert_eq!(names(&other, "/api/files/").await, ["loose", "the plan"]);
    let loose = other.get(&format!("/api/files/{}", id(&loose))).await.expect(200);
    assert_eq!(loose["folder_id"], Value::Null);
}

#[tokio::test]
async fn moves_that_cross_make_no_circle_and_no_upload_is_lost_in_a_deleted_folder() {
    let acme = World::new().await;
    for n in 0..10 {
        let (a, b) = (folder(&acme.admin, "a", None).await, folder(&acme.admin, "b", None).await);
        let (pa, pb) = (format!("/api/files/folders/{}", id(&a)), format!("/api/files/folders/{}", id(&b)));
        let (one, other) = tokio::join!(
            acme.admin.patch(&pa, json!({"parent_id": b["id"]})),
            acme.member.patch(&pb, json!({"parent_id": a["id"]}))
        );
        assert_eq!([one.status, other.status].iter().filter(|s| **s == 200).count(), 1, "{} {}", one.text, other.text);
        let c = folder(&acme.admin, "c", None).await;
        let (name, place) = (format!("file {n}"), [("folder_id", id(&c))]);
        let path = format!("/api/files/folders/{}", id(&c));
        let (up, gone) = tokio::join!(upload(&acme.member, &name, "x", &place), acme.admin.delete(&path));
        gone.expect(200);
        assert!([200, 404].contains(&up.status), "{}", up.text);
    }
    let lost = "select count(*) from files x join folders f on f.id = x.folder_id where x.tenant_id = $1 and f.is_deleted and not x.is_deleted";
    assert_eq!(acme.value::<i64>(lost, &[&acme.company]).await, 0);
}

#[tokio::test]
async fn usage_is_right_whoever_changes_the_rows() {
    let (acme, other) = (World::new().await, World::new().await);
    upload(&acme.admin, "1", "12345", &[]).await.expect(200);
    upload(&acme.admin, "2", "123", &[]).await.expect(200);
    assert_eq!(usage(&other.admin).await, (0, 0));
    acme.db.execute("update files set size = size * 2 where tenant_id = $1", &[&acme.company]).await.unwrap();
    assert_eq!(usage(&acme.admin).await, (2, 16));
    acme.db.execute("delete from files where tenant_id = $1 and name = '2'", &[&acme.company]).await.unwrap();
    assert_eq!(usage(&acme.admin).await, (1, 10));
    acme.db.execute("update files set is_deleted = true where tenant_id = $1", &[&acme.company]).await.unwrap();
    assert_eq!(usage(&acme.admin).await, (0, 0));
}

/// A historical file belongs to its owner, and counts once the company gets it.
#[tokio::test]
async fn a_historical_file_counts_once_it_is_the_companys() {
    let acme = World::new().await;
    let historical = "insert into files (tenant_id, company_id, owner_id, name, original_name, size) values ($1, null, $2, 'F', 'F', 12345) returning id";
    let id: Uuid = acme.value(historical, &[&acme.company, &acme.admin.id]).await;
    assert_eq!(usage(&acme.member).await, (0, 0));
    acme.db.execute("update files set company_id = tenant_id where id = $1", &[&id]).await.unwrap();
    assert_eq!(usage(&acme.member).await, (1, 12_345));
    acme.db.execute("update files set company_id = null where id = $1", &[&id]).await.unwrap();
    assert_eq!(usage(&acme.member).await, (0, 0));
}

#[tokio::test]
async fn a_sweep_deletes_what_no_file_needs() {
    let (acme, other) = (World::new().await, World::new().await);
    let live = upload(&acme.admin, "live", "1", &[]).await.expect(200);
    let recent = upload(&acme.admin, "recent", "2", &[]).await.expect(200);
    let old = upload(&acme.admin, "old", "3", &[]).await.expect(200);
    let theirs = upload(&other.admin, "theirs", "4", &[]).await.expect(200);
    for file in [&recent, &old] {
        acme.admin.delete(&format!("/api/files/{}", id(file))).await.expect(200);
    }
    let age = "update files set deleted_at = now() - interval '31 days' where id::text = $1";
    acme.db.execute(age, &[&id(&old)]).await.unwrap();
    let folder = format!("{}/files/{}", env!("CARGO_TARGET_TMPDIR"), acme.company);
    let (orphan, part) = (format!("{folder}/{}", Uuid::now_v7()), format!("{folder}/{}#1", Uuid::now_v7()));
    for path in [&orphan, &part, &format!("{folder}/not-ours.txt")] {
        std::fs::write(path, "x").unwrap();
    }
    // A separate store: the objects in the shared one are too new.
    let root = format!("{}/swept-{}", env!("CARGO_TARGET_TMPDIR"), Uuid::new_v4());
    for company in [acme.company, other.company] {
        std::fs::create_dir_all(format!("{root}/{company}")).unwrap();
        for name in objects(company) {
            std::fs::copy(
                format!("{}/files/{company}/{name}", env!("CARGO_TARGET_TMPDIR")),
                format!("{root}/{company}/{name}"),
            )
            .unwrap();
        }
    }
    let config = Config { storage_url: Some(format!("file://{root}")), ..config() };
    // Objects of another store below this one, and names that this program does not use.
    let [below, above] = [format!("copy/{}/{}", acme.company, Uuid::now_v7()), Uuid::now_v7().to_string()];
    let elsewhere =
        [below, above, format!("{}/{}", acme.company, Uuid::now_v7().simple())].map(|key| format!("{root}/{key}"));
    for path in &elsewhere {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let app = App::new(Db::new(&api_url(), 2).unwrap(), config).unwrap();
    let left = || {
        let mut names: Vec<String> = std::fs::read_dir(format!("{root}/{}", acme.company))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let before = left();
    assert_eq!(before.len(), 7);
    let swept = sweep_files::sweep(&app.db, &app.storage, 30, false, |_| ()).await.unwrap();
    assert_eq!((swept.deleted, left()), (0, before.clone()), "all is young");
    let later = SystemTime::now() + Duration::from_secs(60);
    let sweep =
        async |dry_run| sweep_files::sweep_before(later, &app.db, &app.storage, 30, dry_run, |_| ()).await.unwrap();
    let would = sweep(true).await;
    assert_eq!((would.deleted, would.bytes, left()), (2, 2, before));
    assert_eq!(sweep(false).await, would);
    let mut expected = vec![id(&live).to_owned(), id(&recent).to_owned(), "not-ours.txt".to_owned()];
    expected.push(elsewhere[2].rsplit('/').next().unwrap().to_owned());
    expected.sort();
    assert!(elsewhere.iter().all(|path| std::path::Path::new(path).exists()));
    assert_eq!(left(), expected);
    assert!(std::path::Path::new(&format!("{root}/{}/{}", other.company, id(&theirs))).exists());
    std::fs::remove_dir_all(root).unwrap();
    for path in [orphan, part, format!("{folder}/not-ours.txt")] {
        std::fs::remove_file(path).unwrap();
    }
}

/// Another database neither sweeps nor erases objects.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_one_databases() {
    let (own, other) = (OwnDatabase::new().await, OwnDatabase::new().await);
    let config = Config { worker: Switch::Off, ..config() };
    let acme = World::served(&own, config).await;
    let [old, gone] = ["old", "gone"].map(async |name| upload(&acme.admin, name, "x", &[]).await.expect(200));
    let (old, gone) = (old.await, gone.await);
    let store = std::path::PathBuf::from(store_of(&own.api).trim_start_matches("file://"));
    let place = |file: &Value| store.join(acme.company.to_string()).join(id(file));
    let object = std::fs::File::options().write(true).open(place(&old)).unwrap();
    object.set_modified(SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60)).unwrap();
    let at_the_store = |database: &OwnDatabase, arguments: &[&str]| {
        let mut command = configured(database, arguments);
        command.env("RINGFENCE_STORAGE_URL", store_of(&own.api));
        if arguments[0] == "files" {
            command.env("RINGFENCE_DEVELOPMENT", "false");
            command.env_remove("RINGFENCE_JWT_SECRET").env_remove("RINGFENCE_SECRET_KEY");
        }
        let output = run(command, "");
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let archive = format!("{}/{}.zip", env!("CARGO_TARGET_TMPDIR"), Uuid::new_v4().simple());
    let (exported, said) = at_the_store(&own, &["archive", "export", "--company", &acme.name, "--to", &archive]);
    assert!(exported, "{said}");
    let twin = db::connect(&other.admin).await.unwrap();
    twin.execute("insert into companies (id, name) values ($1, 'Twin')", &[&acme.company]).await.unwrap();
    // At first the store has no mark of its owner; the sweep by its own database marks it again.
    std::fs::remove_file(store.join("ringfence-database")).unwrap();
    for _ in 0..2 {
        for arguments in
            [&["files", "sweep"][..], &["serve"], &["worker"], &["doctor"], &["archive", "import", &archive]]
        {
            let (done, said) = at_the_store(&other, arguments);
            assert!(!done && said.contains("`ringfence files adopt`"), "{arguments:?}: {said}");
        }
        let (done, said) = at_the_store(&other, &["erase", "company", "Twin", "--yes"]);
        assert!(done && !said.contains("objects"), "{said}");
        assert!(place(&old).exists());
        twin.execute("insert into companies (id, name) values ($1, 'Twin')", &[&acme.company]).await.unwrap();
        let (done, said) = at_the_store(&own, &["files", "sweep"]);
        assert!(done && said.contains("2 objects looked at, 0 deleted"), "{said}");
    }
    assert!(at_the_store(&own, &["doctor"]).1.contains("ok      store of files"));
    // Of several simultaneous claims, one succeeds.
    let empty = format!("file://{}/claimed-{}", env!("CARGO_TARGET_TMPDIR"), Uuid::new_v4());
    let empty = Storage::open(&empty).unwrap();
    let claims = futures_util::future::join_all((0..8).map(|_| empty.claim(Uuid::new_v4()))).await;
    let owners: std::collections::BTreeSet<Uuid> = claims.into_iter().map(Result::unwrap).collect();
    assert_eq!(owners.len(), 1);

    // A deliberate adoption succeeds, and says first what would be deleted. A server of the other database notices.
    let told = "2 objects are in the store. This database does not know 2 of them";
    for (arguments, is_done) in [(&["files", "adopt"][..], false), (&["files", "adopt", "--dry-run"], true)] {
        let (done, said) = at_the_store(&other, arguments);
        assert!(done == is_done && said.contains(told), "{said}");
        assert!(is_done || said.contains("say --yes"), "{said}");
    }
    let (done, said) = at_the_store(&own, &["files", "sweep"]);
    assert!(done, "{said}");
    let (done, said) = at_the_store(&other, &["files", "adopt", "--yes"]);
    assert!(done && said.contains(told), "{said}");
    let (done, said) = at_the_store(&own, &["files", "sweep"]);
    assert!(!done && said.contains("`ringfence files adopt`"), "{said}");
    let ready = async || acme.admin.get("/readyz").await;
    until("the server sees it", async || ready().await.status == 503).await;
    assert_eq!(ready().await.body["detail"], json!("the store of files is another database's"));
    upload(&acme.admin, "more", "x", &[]).await.expect(502);
    assert!(at_the_store(&own, &["files", "adopt", "--yes"]).0);
    until("the server is ready again", async || ready().await.status == 200).await;
    upload(&acme.admin, "more", "x", &[]).await.expect(200);
    // Missing objects do not prevent an erasure.
    std::fs::remove_file(place(&gone)).unwrap();
    let (done, said) = at_the_store(&own, &["erase", "company", &acme.name, "--yes"]);
    assert!(done && said.contains("2 objects") && said.contains("3 files"), "{said}");
    assert!(!place(&old).exists());
    std::fs::remove_file(archive).unwrap();
    drop((acme, twin));
    own.drop().await;
    other.drop().await;
}

/// A server may start while the store's owner is unknown, and accepts no files until it is known.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_before_the_store_has_said_whose_it_is() {
    let own = OwnDatabase::new().await;
    let mark = std::path::PathBuf::from(store_of(&own.api).trim_start_matches("file://")).join("ringfence-database");
    std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
    std::fs::write(&mark, "it cannot be read").unwrap();
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let identity: Uuid = acme.value("select id from ops.database_identity", &[]).await;
    let refused = async |why: &str| {
        let said = upload(&acme.admin, "new", "x", &[]).await.detail(502);
        assert_eq!(said, "The store of files does not work right now: try again later");
        assert_eq!(acme.admin.get("/readyz").await.expect(503)["detail"], json!(why));
    };
    refused("the store of files cannot be used yet").await;
    std::fs::write(&mark, Uuid::new_v4().to_string()).unwrap();
    refused("the store of files is another database's").await;
    assert_eq!(std::fs::read_dir(mark.parent().unwrap()).unwrap().count(), 1);
    std::fs::write(&mark, identity.to_string()).unwrap();
    until("files are taken", async || upload(&acme.admin, "new", "x", &[]).await.status == 200).await;
    acme.admin.get("/readyz").await.expect(200);
    drop(acme);
    own.drop().await;
}

/// What is below the place of a volume that is not mounted is an empty folder, and so is what a mistyped address names.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_is_not_taken_for_the_one_that_is_missing() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let ready = async || acme.admin.get("/readyz").await;
    ready().await.expect(200);
    let store = std::path::PathBuf::from(store_of(&own.api).trim_start_matches("file://"));
    let volume = store.with_added_extension("volume");
    let at_the_store = |arguments: &[&str]| {
        let output = run(configured(&own, arguments), "");
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let refused = || {
        for arguments in [&["serve"][..], &["worker"], &["files", "sweep"], &["doctor"]] {
            let (done, said) = at_the_store(arguments);
            let named = format!("the store of files at file://{} is empty", store.display());
            assert!(
                !done && said.contains(&named) && said.contains("`ringfence files adopt`"),
                "{arguments:?}: {said}"
            );
        }
    };
    // Also before the first file, since the first one would be lost.
    std::fs::rename(&store, &volume).unwrap();
    std::fs::create_dir(&store).unwrap();
    until("the server sees it", async || ready().await.status == 503).await;
    assert_eq!(ready().await.body["detail"], json!("the store of files is empty, and no new one"));
    upload(&acme.admin, "late", "x", &[]).await.expect(502);
    refused();
    std::fs::remove_dir(&store).unwrap();
    std::fs::rename(&volume, &store).unwrap();
    until("the server is ready again", async || ready().await.status == 200).await;
    let file = upload(&acme.admin, "kept", "x", &[]).await.expect(200);

    // A database that an older program has served has a file, and nothing says that it has had a store.
    std::fs::rename(&store, &volume).unwrap();
    acme.db.batch_execute("update ops.database_identity set has_store = false").await.unwrap();
    std::fs::create_dir(&store).unwrap();
    refused();
    let (done, said) = at_the_store(&["erase", "person", &acme.member.email, "--yes"]);
    assert!(done, "{said}");
    assert_eq!(std::fs::read_dir(&store).unwrap().count(), 0);
    // Who says so on purpose has the empty one, and the log names what is not in it.
    let (done, said) = at_the_store(&["files", "adopt", "--yes"]);
    assert!(done, "{said}");
    until("the server is ready with it", async || ready().await.status == 200).await;
    assert_eq!(download(&acme.admin, &file, &[]).await.status(), 404);
    assert!(has_warned("the content of a file is not in the store of files") && has_warned(id(&file)));
    upload(&acme.admin, "new", "x", &[]).await.expect(200);
    std::fs::remove_dir_all(volume).unwrap();
    drop(acme);
    own.drop().await;
}

/// A store that can be read and not written to is told at the start, with its address.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_write_to_its_store_is_not_ready() {
    let own = OwnDatabase::new().await;
    // Another user, for root writes to any folder; in a place that this user reaches.
    let user = socket(&own.admin);
    let folder = user.join(Uuid::new_v4().simple().to_string());
    folder_like(&user, &folder);
    let (store, program, log) = (folder.join("store"), folder.join("ringfence"), folder.join("log"));
    folder_like(&user, &store);
    std::fs::copy(env!("CARGO_BIN_EXE_ringfence"), &program).unwrap();
    let storage_url = format!("file://{}", store.display());
    let storage = Storage::open(&storage_url).unwrap();
    store_owner::adopt(&db::connect(&own.admin).await.unwrap(), &storage).await.unwrap();
    let may = |mode: u32| std::fs::set_permissions(&store, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    may(0o555);
    let mut command = as_owner(&user, &program);
    let configured = configured(&own, &["serve"]);
    command.envs(configured.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("RINGFENCE_STORAGE_URL", &storage_url).env("RUST_LOG", "error").current_dir(&folder);
    command.arg("serve").stderr(std::fs::File::create(&log).unwrap());
    let (mut served, base) = serve(&mut command);
    let acme = World::alone_at(&own, &base).await;
    assert_eq!(acme.admin.get("/readyz").await.expect(503)["detail"], json!("the store of files cannot be used yet"));
    upload(&acme.admin, "a", "x", &[]).await.expect(502);
    let said = std::fs::read_to_string(&log).unwrap();
    let told = format!("nothing can be written to the store of files at {storage_url}");
    assert!(said.contains(&told) && said.contains("Permission denied"), "{said}");
    may(0o777);
    until("the server is ready", async || acme.admin.get("/readyz").await.status == 200).await;
    upload(&acme.admin, "a", "x", &[]).await.expect(200);
    served.kill().unwrap();
    served.wait().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    drop(acme);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_needs_a_folder_for_temporary_files_and_a_providers_address() {
    let own = OwnDatabase::new().await;
    for (settings, told) in [
        (&[("TMPDIR", "/nowhere")][..], "no file can be written to the folder /nowhere, which TMPDIR names"),
        (&[("RINGFENCE_STORAGE_URL", "s3://bucket/"), ("AWS_ENDPOINT", "foo")], "AWS_ENDPOINT: \"foo\" is no address"),
        (
            &[("RINGFENCE_STORAGE_URL", "az://account/bucket/"), ("AZURE_STORAGE_ENDPOINT", "foo")],
            "AZURE_STORAGE_ENDPOINT: \"foo\" is no address",
        ),
    ] {
        let mut command = configured(&own, &["serve"]);
        command.envs(settings.iter().copied());
        let refused = run(command, "");
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(told) && !said.contains("panicked"), "{settings:?}: {said}");
    }
    own.drop().await;
}

/// What could not be written to its end leaves nothing that would have to be deleted.
#[tokio::test]
async fn an_object_that_is_not_there_need_not_be_deleted() {
    log::watch();
    let folder = format!("{}/gone-{}", env!("CARGO_TARGET_TMPDIR"), Uuid::new_v4());
    let (store, tasks) = (Storage::open(&format!("file://{folder}")).unwrap(), tokio_util::task::TaskTracker::new());
    let key = format!("{}/{}", Uuid::new_v4(), Uuid::new_v4());
    let mut writing = store.write(&key, &tasks).await.unwrap();
    writing.finish().await.unwrap();
    std::fs::remove_file(format!("{folder}/{key}")).unwrap();
    writing.discard();
    tasks.close();
    tasks.wait().await;
    assert!(!has_warned("an object stays"));
    std::fs::remove_dir_all(folder).unwrap();
}

/// Administrators run commands as root, and the server runs as another user.
#[tokio::test(flavor = "multi_thread")]
async fn what_root_makes_in_a_store_is_the_users_whose_store_it_is() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let nobody = 65_534;
    let own = OwnDatabase::new().await;
    let above = std::path::PathBuf::from(format!("{}/owned-{}", env!("CARGO_TARGET_TMPDIR"), Uuid::new_v4()));
    std::fs::create_dir(&above).unwrap();
    std::os::unix::fs::chown(&above, Some(nobody), Some(nobody)).unwrap();
    let (root, url) = (above.join("a/store"), format!("file://{}/a/store", above.display()));
    let company = World::within(&own.admin, "Looked at").await;
    for arguments in [
        &["files", "sweep", "--dry-run"][..],
        &["files", "adopt", "--dry-run"],
        &["erase", "person", &company.member.email, "--dry-run"],
        &["doctor"],
    ] {
        let mut command = configured(&own, arguments);
        command.env("RINGFENCE_STORAGE_URL", &url);
        let done = run(command, "");
        assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
        assert!(!above.join("a").exists(), "{arguments:?} makes a store");
    }
    let store = Storage::open(&url).unwrap();
    store.claim(Uuid::new_v4()).await.unwrap();
    let key = format!("{}/{}", company.company, Uuid::now_v7());
    let mut writing = store.write(&key, &tokio_util::task::TaskTracker::new()).await.unwrap();
    writing.finish().await.unwrap();
    writing.keep();
    for path in [
        &above.join("a"),
        &root,
        &root.join("ringfence-database"),
        &root.join(company.company.to_string()),
        &root.join(&key),
    ] {
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
        assert_eq!(owner, nobody, "{}", path.display());
    }
    std::fs::remove_dir_all(above).unwrap();
    drop(company);
    own.drop().await;
}

/// A store that speaks S3 over https, with a certificate of its own authority.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_in_an_s3_store() {
    let (own, authority) = (OwnDatabase::new().await, Authority::new());
    let root = std::path::PathBuf::from(format!("{}/s3-{}", env!("CARGO_TARGET_TMPDIR"), Uuid::new_v4()));
    std::fs::create_dir_all(root.join("bucket")).unwrap();
    let mut store = S3ServiceBuilder::new(FileSystem::new(&root).unwrap());
    store.set_auth(SimpleAuth::from_single("key", "the secret of the store"));
    let port = authority.serve("localhost", store.build()).await;
    let stored = |mut command: Command| {
        command.env("RINGFENCE_STORAGE_URL", "s3://bucket/crm").env("SSL_CERT_FILE", authority.file());
        command.env("AWS_ENDPOINT", format!("https://localhost:{port}")).env("AWS_REGION", "eu-central-1");
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "the secret of the store");
        command
    };
    let (mut served, base) = serve(&mut stored(configured(&own, &["serve"])));
    let acme = World::alone_at(&own, &base).await;
    let place = |of: &str| root.join(format!("bucket/crm/{}/{of}", acme.company));

    let small = upload(&acme.admin, "hello.txt", "hello", &[]).await.expect(200);
    assert_eq!(std::fs::read(place(id(&small))).unwrap(), b"hello");
    // Three parts.
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    upload(&acme.admin, "too-large.bin", bytes.clone(), &[]).await.expect(413);
    let bytes = &bytes[..10_400_000];
    let large = upload(&acme.admin, "large.bin", bytes, &[]).await.expect(200);
    let whole = download(&acme.member, &large, &[]).await;
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let part = download(&acme.member, &large, &[("range", "bytes=5242870-5242889")]).await;
    assert_eq!((part.status().as_u16(), part.bytes().await.unwrap().as_ref()), (206, &bytes[5_242_870..5_242_890]));
    let other = World::alone_at(&own, &base).await;
    assert_eq!(download(&other.admin, &large, &[]).await.status(), 404);

    // Objects without a use are deleted, and objects of others stay.
    let gone = upload(&acme.admin, "gone.txt", "gone", &[]).await.expect(200);
    acme.admin.delete(&format!("/api/files/{}", id(&gone))).await.expect(200);
    acme.db.execute("update files set deleted_at = now() - interval '31 days' where is_deleted", &[]).await.unwrap();
    let orphan = Uuid::now_v7().to_string();
    std::fs::write(place(&orphan), "x").unwrap();
    std::fs::write(root.join("bucket/not-ours"), "x").unwrap();
    for object in [id(&small), id(&large), id(&gone), &orphan] {
        let object = std::fs::File::options().write(true).open(place(object)).unwrap();
        object.set_modified(SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60)).unwrap();
    }
    let swept = run(stored(configured(&own, &["files", "sweep"])), "");
    assert!(swept.status.success(), "{}", text(&swept.stderr));
    let kept = [id(&small), id(&large), id(&gone), &orphan].map(|object| place(object).exists());
    assert_eq!(kept, [true, true, false, false], "{}", text(&swept.stdout));
    assert!(root.join("bucket/not-ours").exists());
    served.kill().unwrap();

    // A wrong key and an untrusted store are reported in time.
    for (name, value) in [("AWS_SECRET_ACCESS_KEY", "another"), ("SSL_CERT_FILE", "/dev/null")] {
        let (mut served, base) = serve(stored(configured(&own, &["serve"])).env(name, value));
        let refused = upload(&acme.admin.at(&base), "more.txt", "more", &[]).await;
        assert_eq!(refused.detail(502), "The store of files does not work right now: try again later");
        acme.admin.at(&base).get("/readyz").await.expect(503);
        served.kill().unwrap();
    }
    let rows: i64 = acme.value("select count(*) from files where not is_deleted", &[]).await;
    assert_eq!(rows, 2);
    let files = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.filter(|name| name.contains("upload")).count(), 0, "parts of the upload that was refused");
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_signed_document_is_noted_for_workflows() {
    let acme = World::new().await;
    acme.listen(&["document_signed"]).await;
    let contact = acme.contact("A", "B").await;
    let path = "/api/files/webhook/document-signed";
    let signed = json!({"document_id": "d1", "document_name": "Contract", "signer_email": "a@x.io", "contact_id": contact["id"],
        "owner_id": acme.admin.id, "signed_at": "2026-01-01T00:00:00"});
    let answer = acme.member.post(path, signed).await.expect(200);
    assert_eq!(answer["status"], json!("ok"));
    assert!(answer["message"].is_string());
    let seen: Value = acme
        .value(
            "select details from workflow_events where event = 'document_signed' and tenant_id = $1",
            &[&acme.company],
        )
        .await;
    assert_eq!((&seen["owner_id"], &seen["document_name"]), (&json!(acme.admin.id), &json!("Contract")));
    let odd =
        json!({"document_id": 7, "document_name": true, "signed_at": 1_767_225_600, "contact_id": "", "more": []});
    assert_eq!(acme.member.post(path, odd).await.expect(200)["status"], json!("ok"));
    let last = "select details from workflow_events where event = 'document_signed' and tenant_id = $1 order by id desc limit 1";
    let seen: Value = acme.value(last, &[&acme.company]).await;
    assert_eq!([&seen["document_id"], &seen["document_name"], &seen["signed_at"]], ["7", "true", "1767225600"]);
    for (field, bad) in [
        ("document_id", json!({"id": 7})),
        ("document_name", json!("x".repeat(256))),
        ("signer_email", json!(["a@x.io"])),
        ("signed_at", json!("\0")),
        ("contact_id", json!(7)),
        ("owner_id", json!("nobody")),
    ] {
        let answer = acme.member.post(path, json!({ field: bad })).await.expect(200);
        assert_eq!(answer["status"], json!("error"));
        assert!(answer["message"].as_str().unwrap().starts_with(field), "{answer}");
    }
    let noted = "select count(*) from workflow_events where event = 'document_signed' and tenant_id = $1";
    assert_eq!(acme.value::<i64>(noted, &[&acme.company]).await, 2);
    assert_eq!(acme.member.post(path, json!({"owner_id": Uuid::now_v7()})).await.detail(404), "User not found");
    assert_eq!(acme.member.post(path, json!({"contact_id": Uuid::now_v7()})).await.detail(404), "Contact not found");
}

/// The process needs little memory while a file goes up and down that is larger than that.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_streamed() {
    const SIZE: usize = 160 << 20;
    let acme = World::new().await;
    let above = format!("{}/large-{}", env!("CARGO_TARGET_TMPDIR"), Uuid::new_v4());
    let root = format!("{above}/files");
    let config =
        Config { storage_url: Some(format!("file://{root}")), upload_limit: bytesize::ByteSize::gib(1), ..config() };
    let who = acme.admin.at(&start_server(config, &api_url()));
    let peak = || -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
        line.split(' ').next().unwrap().parse::<usize>().unwrap() << 10
    };
    let before = peak();
    let chunk = bytes::Bytes::from(
        (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<u8>>(),
    );
    let chunks = futures_util::stream::iter((0..SIZE >> 20).map({
        let chunk = chunk.clone();
        move |_| Ok::<_, std::io::Error>(chunk.clone())
    }));
    let part = Part::stream_with_length(reqwest::Body::wrap_stream(chunks), SIZE as u64).file_name("large.bin");
    let made =
        answer(who.request("POST", "/api/files/upload").multipart(Form::new().part("file", part))).await.expect(200);
    assert_eq!(made["size"], json!(SIZE));
    let mode = |path| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
    assert_eq!(mode(&root) & 0o777, 0o700, "nobody else on the machine reads the files");
    assert_eq!(mode(&above) & 0o111, 0o111, "others have their way to what is beside them");
    let (mut response, mut hash, mut size) = (download(&who, &made, &[]).await, Sha256::new(), 0);
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    while let Some(bytes) = response.chunk().await.unwrap() {
        hash.update(&bytes);
        size += bytes.len();
    }
    let seen: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!((size, format!("\"{seen}\"")), (SIZE, etag));
    let grown = peak().saturating_sub(before);
    assert!(grown < 64 << 20, "the process grew by {} MiB", grown >> 20);
    std::fs::remove_dir_all(above).unwrap();
}
