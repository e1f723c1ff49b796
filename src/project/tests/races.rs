//! Changes that meet. Each pair is tried often, and whichever comes first, answers, rows, events and
//! access must tell one story.
pub(super) async fn suite(_: &super::World) {}
