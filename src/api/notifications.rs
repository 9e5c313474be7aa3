//! A user's own notifications, with or without a company.

use super::prelude::*;

routes! {
    /// The caller's notifications, newest first
    user get "/api/notifications/" => list;
    /// Number of unread notifications
    user get "/api/notifications/unread-count" => unread_count;
    /// Marks a notification as read
    user post "/api/notifications/{notification_id}/mark-read" => mark_read;
    /// Marks all notifications as read
    user post "/api/notifications/mark-all-read" => mark_all_read;
    /// Deletes a notification
    user delete "/api/notifications/{notification_id}" => delete;
    /// Deletes all notifications
    user delete "/api/notifications/" => delete_all;
}

row! {
    /// Something the user should know.
    pub struct Notification {
        id: Uuid,
        title: String,
        message: String,
        kind as "type": String,
        read: bool,
        created_at: Time,
        link: Option<String>,
    }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// Only unread notifications (default false).
    #[serde(default, deserialize_with = "wire::flag")]
    unread_only: bool,
}

row! {
    /// A number of notifications.
    pub struct Count { count: i64, }
}

async fn list(db: UserDb, Query(filter): Query<Filter>, page: Paging<50>) -> Result<Paged<Notification>> {
    if filter.unread_only {
        return page.list(&db, list!("notifications/unread").planned_once(), &[]).await;
    }
    page.list(&db, list!("notifications/list").planned_once(), &[]).await
}

async fn unread_count(db: UserDb) -> Result<Written<Count>> {
    db.one(sql!("notifications/unread_count"), &[]).await
}

async fn mark_read(db: UserDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.one::<Notification>(sql!("notifications/mark_read"), &[&id]).await?;
    Ok(message("Notification marked as read"))
}

async fn mark_all_read(db: UserDb) -> Result<Json<Message>> {
    db.all::<Uuid>(sql!("notifications/mark_all_read"), &[]).await?;
    Ok(message("All notifications marked as read"))
}

async fn delete(db: UserDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    db.one::<Notification>(sql!("notifications/delete"), &[&id]).await?;
    Ok(message("Notification deleted"))
}

async fn delete_all(db: UserDb) -> Result<Json<Message>> {
    db.all::<Uuid>(sql!("notifications/delete_all"), &[]).await?;
    Ok(message("All notifications deleted"))
}
