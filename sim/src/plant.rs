//! Bugs that are put in on purpose, to prove that the checks can fail.

use std::fmt;

/// One bug, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The shipped behaviour.
    None,
    /// The source ships batches that are not yet durable.
    ShipBeyondDurable,
    /// A proof of equality does not look at leader epochs.
    DigestWithoutEpoch,
    /// The replica takes appends of a session that was superseded.
    SkipEpochCheck,
    /// The source begins a session at the end that it remembers, not at the replica's.
    RememberEnds,
    /// Cursors go out before their data and are shown unclamped.
    CursorsEarly,
    /// The replica takes batches beyond its end as if nothing were missing.
    AcceptMisaligned,
    /// The replica acknowledges what it has not synced.
    AckBeforeDurable,
    /// The replica knows topics by their names.
    NameForUuid,
    /// Status takes what was sent for what the replica holds.
    SentCountsAsHeld,
    /// Status counts records only: an empty topic or a gap that is missing is not told.
    OnlyRecordsCount,
    /// The source goes on sending after its half of the agreement was taken away.
    IgnoreRemoval,
    /// The source takes for known what the owner deleted before the session began.
    TellTrimsOnce,
    /// The source passes on its retention as if the owner had deleted those records.
    CarryRetention,
    /// The replica takes a topic from every link that offers it.
    TwoFeeders,
    /// The source sends a replica's own topics back to it, as if they were the source's.
    SendBack,
    /// A topic that comes by a link takes the place of one of the same name.
    ConflictOverwrites,
    /// The source acknowledges what it has sent to a synchronous replica that has not answered.
    AckBeforeReplica,
    /// The source goes on without a synchronous replica, and nothing durable says so.
    DegradeInMemory,
    /// After a restart the source shows everything before its replicas in force are heard.
    ForgetWatermarks,
    /// The source declares a gap up to its log start, which may lie within a batch.
    GapWithinBatch,
    /// Nobody tells a replica which cursors were deleted.
    KeepDeletedCursors,
    /// A source goes on writing in its term, though it is told of a higher one.
    IgnoreHigherTerm,
    /// What is set aside is not kept.
    LoseSetAside,
    /// Two terms of one number are taken for one.
    TermsByNumber,
    /// A source hands over before its replica has everything.
    OfferEarly,
    /// A source takes back what the replica may be about to take.
    TakeBackOffered,
    /// Nobody tells a replica what was compacted before it came.
    CompactedUntold,
    /// Readers of what is committed see up to the high watermark.
    StableIsWatermark,
    /// The cursors of a transaction move at once, whatever comes of it.
    CursorsAtOnce,
    /// A replica hears of no commit before its markers.
    DecisionsUntold,
}

impl Plant {
    /// Every bug.
    pub const ALL: &[Self] = &[
        Self::ShipBeyondDurable,
        Self::DigestWithoutEpoch,
        Self::SkipEpochCheck,
        Self::RememberEnds,
        Self::CursorsEarly,
        Self::AcceptMisaligned,
        Self::AckBeforeDurable,
        Self::NameForUuid,
        Self::IgnoreRemoval,
        Self::TellTrimsOnce,
        Self::CarryRetention,
        Self::SentCountsAsHeld,
        Self::OnlyRecordsCount,
        Self::TwoFeeders,
        Self::SendBack,
        Self::ConflictOverwrites,
        Self::AckBeforeReplica,
        Self::DegradeInMemory,
        Self::ForgetWatermarks,
        Self::GapWithinBatch,
        Self::KeepDeletedCursors,
        Self::IgnoreHigherTerm,
        Self::LoseSetAside,
        Self::TermsByNumber,
        Self::OfferEarly,
        Self::TakeBackOffered,
        Self::CompactedUntold,
        Self::StableIsWatermark,
        Self::CursorsAtOnce,
        Self::DecisionsUntold,
    ];

    /// The topology in which it shows soon; empty for any.
    pub const fn shows_in(self) -> &'static str {
        match self {
            // Two terms of one number take three streams.
            Self::TermsByNumber => "fail-over in a mesh",
            // A name that two have given, and a way round by which each hears of the other's.
            Self::ConflictOverwrites => "loop of three",
            Self::IgnoreHigherTerm
            | Self::LoseSetAside
            | Self::OfferEarly
            | Self::TakeBackOffered
            | Self::DecisionsUntold => "fail-over of a pair",
            _ => "",
        }
    }

    /// The rule that catches it.
    pub const fn caught_by(self) -> &'static str {
        match self {
            Self::None => "",
            Self::ShipBeyondDurable => "I3",
            Self::DigestWithoutEpoch => "verify tells the truth",
            Self::SkipEpochCheck | Self::IgnoreRemoval => "I6",
            Self::CursorsEarly => "I4",
            Self::SentCountsAsHeld | Self::OnlyRecordsCount => "I9",
            Self::TwoFeeders => "one feeder",
            Self::SendBack => "not sent back",
            Self::ConflictOverwrites | Self::IgnoreHigherTerm => "I5",
            Self::AcceptMisaligned | Self::NameForUuid | Self::CompactedUntold => "I2",
            Self::TellTrimsOnce => "trims are carried",
            Self::CarryRetention | Self::LoseSetAside => "I8",
            Self::OfferEarly | Self::TakeBackOffered => "a hand-over loses nothing",
            Self::AckBeforeReplica | Self::DegradeInMemory => "I1 in force",
            Self::ForgetWatermarks => "watermark",
            Self::GapWithinBatch | Self::KeepDeletedCursors | Self::TermsByNumber => {
                "both sides become alike"
            }
            Self::DecisionsUntold => "a transaction is whole",
            Self::StableIsWatermark => "readers see what is committed",
            Self::CursorsAtOnce => "cursors move with their commit",
            Self::AckBeforeDurable | Self::RememberEnds => "ack means durable",
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
