//! The module's tables, step by step.

use crate::db::Line;

/// The module's migrations.
pub const LINE: Line = Line {
    name: "upload",
    sqlite: &[
        (
            1,
            "upload",
            include_str!("../../migrations/sqlite/upload/0001_upload.sql"),
        ),
        (
            2,
            "ended_by",
            include_str!("../../migrations/sqlite/upload/0002_ended_by.sql"),
        ),
        (
            3,
            "sweeps",
            include_str!("../../migrations/sqlite/upload/0003_sweeps.sql"),
        ),
        (
            4,
            "forestalled_by_owner",
            include_str!("../../migrations/sqlite/upload/0004_forestalled_by_owner.sql"),
        ),
        (
            5,
            "interrupted",
            include_str!("../../migrations/sqlite/upload/0005_interrupted.sql"),
        ),
        (
            6,
            "protocol",
            include_str!("../../migrations/sqlite/upload/0006_protocol.sql"),
        ),
        (
            7,
            "open_by_owner",
            include_str!("../../migrations/sqlite/upload/0007_open_by_owner.sql"),
        ),
    ],
    postgres: &[
        (
            1,
            "upload",
            include_str!("../../migrations/postgres/upload/0001_upload.sql"),
        ),
        (
            2,
            "ended_by",
            include_str!("../../migrations/postgres/upload/0002_ended_by.sql"),
        ),
        (
            3,
            "sweeps",
            include_str!("../../migrations/postgres/upload/0003_sweeps.sql"),
        ),
        (
            4,
            "forestalled_by_owner",
            include_str!("../../migrations/postgres/upload/0004_forestalled_by_owner.sql"),
        ),
        (
            5,
            "interrupted",
            include_str!("../../migrations/postgres/upload/0005_interrupted.sql"),
        ),
        (
            6,
            "protocol",
            include_str!("../../migrations/postgres/upload/0006_protocol.sql"),
        ),
        (
            7,
            "open_by_owner",
            include_str!("../../migrations/postgres/upload/0007_open_by_owner.sql"),
        ),
    ],
};
