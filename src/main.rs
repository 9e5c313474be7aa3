//! The program: the server and the commands of its operators.
fn main() {}
