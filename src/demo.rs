//! Demo data.
/// stub
pub struct Login {
    /// e
    pub email: String,
    /// p
    pub password: String,
    /// c
    pub company: String,
    /// r
    pub role: String,
}
/// stub
pub async fn load(_: &str) -> anyhow::Result<Vec<Login>> {
    Ok(vec![])
}
/// stub
pub async fn generate(_: &str, _: u32, _: u64, _: u64) -> anyhow::Result<()> {
    Ok(())
}
